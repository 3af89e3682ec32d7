//! What a message was answered under `Durability::Lazy` stays, whatever becomes of those after it. On a node that is alone.

use std::time::Duration;

use cloister::Config;
use cloister_entity::{Context, Durability, Entity, EntityError, EntityOptions, Failure, HandlerError};
use cloister_testkit::alone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::start;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    grown: Vec<String>,
    #[serde(default, serialize_with = "not_unwritable")]
    unwritable: bool,
}

/// A `Serialize` with a defect.
fn not_unwritable<S: Serializer>(unwritable: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    assert!(!unwritable, "a defect of the serializer");
    serializer.serialize_bool(false)
}

/// A variant of a later release.
fn not_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    <()>::deserialize(deserializer)?;
    Err(serde::de::Error::custom("sent by a later release"))
}

#[derive(Debug, Serialize, Deserialize)]
enum CounterMessage {
    Add(u64),
    Get,
    Grow(usize),
    Grown,
    NotKnown(#[serde(deserialize_with = "not_known")] ()),
    Fail,
    Panic,
    Hang,
    BecomeUnwritable,
    /// In so many milliseconds, adds 100, and fails.
    FailIn(u64),
}

impl Entity for Counter {
    const NAME: &'static str = "counter";
    type Message = CounterMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: CounterMessage,
    ) -> Result<u64, HandlerError> {
        match message {
            CounterMessage::Add(count) => self.count += count,
            CounterMessage::Get | CounterMessage::NotKnown(()) => {}
            CounterMessage::Grow(bytes) => self.grown.push("x".repeat(bytes)),
            CounterMessage::Grown => return Ok(self.grown.len() as u64),
            CounterMessage::Fail => {
                self.count += 100;
                return Err(HandlerError::new("as the test wants it"));
            }
            CounterMessage::Panic => {
                self.count += 100;
                panic!("as the test wants it");
            }
            CounterMessage::Hang => {
                self.count += 100;
                std::future::pending::<()>().await;
            }
            CounterMessage::BecomeUnwritable => {
                self.count += 100;
                self.unwritable = true;
            }
            CounterMessage::FailIn(ms) => {
                context.schedule(Duration::from_millis(ms), &CounterMessage::Fail)?;
            }
        }
        Ok(self.count)
    }
}

fn lazy(after: Duration) -> EntityOptions {
    EntityOptions::default().durability(Durability::Lazy(after))
}

fn failure(answer: Result<u64, EntityError>) -> Failure {
    let Err(EntityError::Failed { failure, .. }) = answer else { panic!("{answer:?}") };
    failure
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_and_not_written_stays_though_a_later_message_fails() {
    alone!();
    let options = lazy(Duration::from_secs(3_600)).handler_timeout(Duration::from_millis(200));
    let (cloister, counters) = start::<Counter>(Config::new("lazy_failures"), options).await;
    assert_eq!(counters.call("a", CounterMessage::Add(7)).await, Ok(7));
    let failed = failure(counters.call("a", CounterMessage::NotKnown(())).await);
    assert!(matches!(failed, Failure::Message(_)), "{failed}");
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    for message in [CounterMessage::Fail, CounterMessage::Panic, CounterMessage::Hang] {
        failure(counters.call("a", message).await);
        assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    }
    let failed = failure(counters.call("a", CounterMessage::BecomeUnwritable).await);
    assert_eq!(failed, Failure::Panicked("a defect of the serializer".to_owned()));
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    // So it is with the message of a timer, which stays to be tried again.
    assert_eq!(counters.call("a", CounterMessage::FailIn(50)).await, Ok(7));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counters.call("a", CounterMessage::Add(1)).await, Ok(8));
    assert_eq!(counters.len().await, Ok(0), "nothing is written for an hour");
    cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_to_be_written_later_is_not_answered_with_ok() {
    alone!();
    let options = lazy(Duration::from_millis(50)).max_state_bytes(10_000);
    let (cloister, counters) = start::<Counter>(Config::new("lazy_large"), options).await;
    let mut grown = 0;
    let failed = loop {
        match counters.call("a", CounterMessage::Grow(1_000)).await {
            Ok(_) => grown += 1,
            failed => break failure(failed),
        }
        assert!(grown < 100, "a state of 100 KB is within a limit of 10 KB");
    };
    assert!(matches!(failed, Failure::TooLarge { len: 10_000.., max: 10_000 }), "{failed}");
    // Longer than until it is written.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(counters.call("a", CounterMessage::Grown).await, Ok(grown));
    cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_room_when_it_is_written_later_stays_and_the_next_change_is_refused() {
    alone!();
    let options = lazy(Duration::from_millis(50)).max_state_bytes(4 << 20);
    let (cloister, counters) =
        start::<Counter>(Config::new("lazy_full").table_bytes(16 << 20), options).await;
    let keys: Vec<String> = (0..20).map(|number| format!("large{number}")).collect();
    for key in &keys {
        assert_eq!(counters.call(key, CounterMessage::Grow(3 << 20)).await, Ok(0));
    }
    // Longer than until they are written.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    for key in &keys {
        assert_eq!(counters.call(key, CounterMessage::Grown).await, Ok(1), "{key}");
    }
    let mut full = 0;
    for key in &keys {
        let grown = match counters.call(key, CounterMessage::Add(1)).await {
            Ok(count) => count,
            failed => {
                let failed = failure(failed);
                assert!(matches!(failed, Failure::Full { max: 0x0100_0000, .. }), "{failed}");
                full += 1;
                0
            }
        };
        assert_eq!(counters.call(key, CounterMessage::Get).await, Ok(grown), "{key}");
        assert_eq!(counters.call(key, CounterMessage::Grown).await, Ok(1), "{key}");
    }
    assert!(full > 5, "{full} of 20 states of 3 MiB found no room in 16 MiB");
    cloister.leave().await;
}
