use std::sync::{Mutex, OnceLock};

use cloister_table::service::Committed;
use cloister_testkit::alone;

use super::*;
use crate::store::{Store, StoreFuture};
use crate::testing::{Around, Node, Sum};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_applied_before_the_entity_was_forgotten_is_not_applied_again() {
    alone!();
    let lazily = Durability::Lazy(std::time::Duration::from_secs(3_600));
    let options = EntityOptions::default().durability(lazily);
    let mut node = Node::start("forgotten", options.table.clone()).await;
    node.settles_nothing().await;
    let around = Around::new(options, |_: &str, _: &str| {});
    let (add, forget, add_two) = (node.sent(&7_u64).await, node.sent(&0_u64).await, node.sent(&2_u64).await);
    let with = around.surroundings(&node.table);
    let object = &mut None::<Object<Sum>>;
    let mut answer = async |message: &Accepted| match handle(object, &with, message).await {
        Turn::Done(answer) => answer::read::<u64>(&answer).unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!([answer(&add).await, answer(&forget).await], [7, 7]);
    // Each is answered as it was then, and changes nothing.
    assert_eq!([answer(&add).await, answer(&forget).await], [7, 7]);
    assert_eq!(answer(&add_two).await, 2);
    assert_eq!([answer(&add).await, answer(&add_two).await], [7, 2]);
    assert_eq!(node.table.read(&node.key), Some(None), "nothing is written for an hour");
    node.cloister.leave().await;
}

/// A store of one state. While it is saved for the first time, the row is written by another node.
#[derive(Clone, Default)]
struct Overtaken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    saved: Mutex<Option<Vec<u8>>>,
    first: OnceLock<()>,
    table: OnceLock<ServiceTable>,
}

impl Inner {
    /// Gives the row another timer.
    async fn write(&self) {
        let (table, key) = (self.table.get().unwrap(), Bytes::from(encode("key").unwrap()));
        let before = table.read(&key).unwrap();
        let mut timers = before.as_ref().map(|row| row::read(row).unwrap().1).unwrap_or_default();
        let due = if before.is_none() { 1 } else { u64::MAX };
        timers.add(now(), due, encode(&5_u64).unwrap().into());
        let row = Some(row::write(&[], &timers).unwrap().into());
        let message = Accepted::own(key, Bytes::default());
        assert!(matches!(table.commit(&message, before, row, Bytes::default()).await, Committed::Done(_)));
    }
}

impl Store for Overtaken {
    fn load<'a>(&'a self, _: EntityId<'a>, _: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move { Ok(self.0.saved.lock().unwrap().clone()) })
    }

    fn save<'a>(&'a self, _: EntityId<'a>, _: Epoch, state: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            *self.0.saved.lock().unwrap() = state;
            if self.0.first.set(()).is_ok() {
                self.0.write().await;
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_is_applied_once_though_its_state_was_saved_in_the_store_and_its_row_was_not_written() {
    alone!();
    let store = Overtaken::default();
    let options = EntityOptions::default().store(store.clone());
    let mut node = Node::start("overtaken", options.table.clone()).await;
    assert!(store.0.table.set(node.table.clone()).is_ok());
    let add = node.sent(&2_u64).await;
    // A timer that is due.
    store.0.write().await;
    let around = Around::new(options, |_: &str, _: &str| {});
    let with = around.surroundings(&node.table);
    let object = &mut None::<Object<Sum>>;
    let timer = handle_timer(object, &with, &node.key, &mut Paused::default()).await;
    assert!(matches!(timer, Turn::Uncertain), "its row was written meanwhile: {timer:?}");
    // It is tried again, by this node or by the next owner.
    for _ in 0..2 {
        let again = handle_timer(object, &with, &node.key, &mut Paused::default()).await;
        assert!(matches!(&again, Turn::Done(answer) if answer::failed(answer).is_none()), "{again:?}");
    }
    let Turn::Done(answer) = handle(object, &with, &add).await else { panic!("not added") };
    assert_eq!(answer::read::<u64>(&answer).unwrap(), Ok(7), "five by the timer, once");
    let row = node.table.read(&node.key).unwrap().unwrap();
    assert_eq!(row::due(&row), Some(u64::MAX), "the other timer is there");
    node.cloister.leave().await;
}
