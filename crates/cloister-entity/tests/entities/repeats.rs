//! Messages that are sent again while they wait at their entity, on a node that is alone.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloister::{Config, ManagerArguments};
use cloister_core::Slot;
use cloister_entity::{Context, DefineEntities, Durability, Entity, EntityOptions, HandlerError};
use cloister_table::service::encode;
use cloister_testkit::alone;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Whether a handler of [`CounterMessage::Block`] has begun, and whether it goes on.
static BLOCKED: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);
static OPEN: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

/// How often [`CounterMessage::Add`] was handled.
static ADDS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
enum CounterMessage {
    Add,
    Get,
    Block,
}

impl Entity for Counter {
    const NAME: &'static str = "counter";
    type Message = CounterMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        _: &mut Context<'_, Self>,
        message: CounterMessage,
    ) -> Result<u64, HandlerError> {
        match message {
            CounterMessage::Add => {
                ADDS.fetch_add(1, Ordering::SeqCst);
                self.0 += 1;
            }
            CounterMessage::Get => {}
            CounterMessage::Block => {
                BLOCKED.send_replace(true);
                OPEN.subscribe().wait_for(|open| *open).await?;
            }
        }
        Ok(self.0)
    }
}

fn slot(key: &str) -> Slot {
    Slot::of(&encode(key).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_is_applied_once_however_often_it_is_sent() {
    alone!();
    a_call_that_waits_is_applied_once(Durability::Each).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_is_applied_once_however_often_it_is_sent_where_changes_are_written_seldom() {
    alone!();
    a_call_that_waits_is_applied_once(Durability::Lazy(Duration::from_secs(60))).await;
}

async fn a_call_that_waits_is_applied_once(durability: Durability) {
    // Copies of a call are sent at 0, 3 and 6 s. It is given up after 7 s.
    let timeout = Duration::from_secs(7);
    let mut arguments = ManagerArguments::new(Config::new("repeats")).unwrap();
    let options =
        EntityOptions::default().timeout(timeout).handler_timeout(4 * timeout).durability(durability);
    let counters = arguments.entities::<Counter>(options).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();

    let call = |message| {
        let counters = counters.clone();
        tokio::spawn(async move { counters.call("hot", message).await })
    };
    let block = call(CounterMessage::Block);
    BLOCKED.subscribe().wait_for(|blocked| *blocked).await.unwrap();
    let add = call(CounterMessage::Add);
    for call in [block, add] {
        let given_up = call.await.unwrap().unwrap_err();
        assert!(given_up.may_be_done(), "{given_up}");
    }
    // Answers are forgotten slot by slot, when their client says that it repeats nothing up to there.
    let mate = (0..).map(|n| format!("mate{n}")).find(|key| slot(key) == slot("hot")).unwrap();
    assert_eq!(counters.call(&mate, CounterMessage::Add).await, Ok(1));
    OPEN.send_replace(true);
    let count = counters.call("hot", CounterMessage::Get).await.unwrap();
    assert!(count <= 1, "{durability:?}: applied {count} times");
    assert_eq!(ADDS.load(Ordering::SeqCst), 1 + count, "{durability:?}");
    cloister.leave().await;
}
