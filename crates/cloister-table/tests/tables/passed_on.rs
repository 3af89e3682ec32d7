//! A service that passes messages on, on a node that is alone: it passes them on to itself.

use std::sync::{Arc, Mutex};

use cloister::{Config, ManagerArguments};
use cloister_core::Slot;
use cloister_table::TableOptions;
use cloister_table::service::{
    Accepted, Bytes, Committed, Delivery, Planned, Service, ServiceTable, decode, encode,
};
use cloister_testkit::alone;
use tokio::sync::mpsc;

/// Writes each message behind those before it, unless it knows it. What it is told to is accepted without a word to its sender, and put
/// aside.
struct Lines {
    work: mpsc::UnboundedSender<(ServiceTable, Accepted)>,
    aside: mpsc::UnboundedSender<Accepted>,
    /// Messages whose first sending is put aside.
    unheard: Mutex<Vec<Bytes>>,
}

impl Service for Lines {
    fn deliver(&self, table: &ServiceTable, delivery: Delivery) {
        let mut unheard = self.unheard.lock().unwrap();
        match unheard.iter().position(|message| *message == delivery.message) {
            Some(at) => {
                unheard.remove(at);
                self.aside.send(delivery.accept_unheard()).unwrap();
            }
            None => self.work.send((table.clone(), delivery.accept().0)).unwrap(),
        }
    }

    fn serves(&self, _: &ServiceTable, _: Slot, _: &mut dyn Iterator<Item = (&[u8], &[u8])>) {}

    fn ended(&self) {}

    fn planned(&self, _: &ServiceTable, planned: Planned) {
        drop(planned);
    }

    fn reset(&self) {}
}

/// Handles messages one after the other.
async fn work(
    mut work: mpsc::UnboundedReceiver<(ServiceTable, Accepted)>,
    done: mpsc::UnboundedSender<String>,
) {
    while let Some((table, message)) = work.recv().await {
        let text = String::from_utf8(message.message.to_vec()).unwrap();
        if !table.is_committed(&message) {
            let before = table.read(&message.key).unwrap();
            let mut lines: Vec<String> = before.as_ref().map(|row| decode(row).unwrap()).unwrap_or_default();
            lines.push(text.clone());
            let row = Some(encode(&lines).unwrap().into());
            assert_eq!(
                table.commit(&message, before, row, Bytes::default()).await,
                Committed::Done(Bytes::default())
            );
        }
        done.send(text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_acceptance_was_lost_is_applied_once_though_it_is_passed_on_and_sent_again() {
    alone!();
    let (to_work, works) = mpsc::unbounded_channel();
    let (aside, mut put_aside) = mpsc::unbounded_channel();
    let (to_done, mut done) = mpsc::unbounded_channel();
    let lines = Arc::new(Lines { work: to_work, aside, unheard: Mutex::default() });
    let mut arguments = ManagerArguments::new(Config::new("passing")).unwrap();
    let service: Arc<dyn Service> = Arc::clone(&lines) as _;
    let table = ServiceTable::define(&mut arguments, "lines", TableOptions::default(), service).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    tokio::spawn(work(works, to_done));

    let key = encode("key").unwrap();
    let send = async |text: &str| table.send(&key, text.as_bytes().to_vec(), true).await.unwrap();
    let put_aside_first = |text: &str| lines.unheard.lock().unwrap().push(text.as_bytes().into());

    // Its sender sends it again, and goes on: what it sends next says which messages it repeats no more. Then it is passed on, twice,
    // since the acceptance of that is lost, too.
    put_aside_first("first");
    send("first").await;
    let first = put_aside.recv().await.unwrap();
    send("second").await;
    put_aside_first("first");
    table.pass_on(&first).await.unwrap();
    let again = put_aside.recv().await.unwrap();
    table.pass_on(&again).await.unwrap();

    // It is passed on before its sender sends it again.
    put_aside_first("third");
    let sent = tokio::spawn({
        let (table, key) = (table.clone(), key.clone());
        async move { table.send(&key, b"third".to_vec(), true).await.unwrap() }
    });
    let third = put_aside.recv().await.unwrap();
    table.pass_on(&third).await.unwrap();
    sent.await.unwrap();

    send("fourth").await;
    let mut handled = 0;
    while done.recv().await.is_some_and(|text| text != "fourth") {
        handled += 1;
    }
    assert_eq!(handled, 1 + 1 + 2 + 2, "first, second, first passed on twice, third sent and passed on");
    let row = table.read(&key).unwrap().unwrap();
    assert_eq!(decode::<Vec<String>>(&row).unwrap(), ["first", "second", "third", "fourth"]);
    cloister.leave().await;
}
