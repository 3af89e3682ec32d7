//! Entities of a node that is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloister::Config;
use cloister_entity::{
    Context, Durability, Entities, Entity, EntityError, EntityOptions, Failure, HandlerError, TimerId,
};
use cloister_table::TableError;
use cloister_testkit::alone;
use cloister_testkit::wait::until_async;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::start;

/// A counter that can be spoilt.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    alarms: Vec<String>,
    #[serde(default)]
    timer: Option<TimerId>,
    #[serde(deserialize_with = "not_unreadable")]
    unreadable: bool,
    #[serde(default, serialize_with = "not_unwritable")]
    unwritable: bool,
}

/// A `Serialize` with a defect.
fn not_unwritable<S: Serializer>(unwritable: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    assert!(!unwritable, "a defect of the serializer");
    serializer.serialize_bool(false)
}

/// A state of a release that this one cannot read.
fn not_unreadable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match bool::deserialize(deserializer)? {
        true => Err(serde::de::Error::custom("written by a later release")),
        false => Ok(false),
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum CounterMessage {
    Add(u64),
    Get,
    Fail,
    Panic,
    Hang,
    BecomeUnreadable,
    BecomeUnwritable,
    Grow(usize),
    In(Duration, String),
    Alarm(String),
    Cancel,
    Alarms,
    Forget,
    AddAndForget(u64),
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
            CounterMessage::Get => {}
            CounterMessage::Fail => {
                self.count += 100;
                "not a number".parse::<u64>()?;
            }
            CounterMessage::Panic => {
                self.count += 100;
                panic!("as the test wants it");
            }
            CounterMessage::Hang => {
                self.count += 100;
                std::future::pending::<()>().await;
            }
            CounterMessage::BecomeUnreadable => self.unreadable = true,
            CounterMessage::BecomeUnwritable => {
                self.count += 100;
                self.unwritable = true;
            }
            CounterMessage::Grow(bytes) => self.alarms.push("x".repeat(bytes)),
            CounterMessage::In(after, text) => {
                self.timer = Some(context.schedule(after, &CounterMessage::Alarm(text))?);
            }
            CounterMessage::Alarm(text) => self.alarms.push(format!("{} {text}", context.key())),
            CounterMessage::Cancel => {
                let timer = self.timer.take().ok_or_else(|| HandlerError::new("no timer"))?;
                return Ok(context.cancel(timer).into());
            }
            CounterMessage::Alarms => return Ok(self.alarms.len() as u64),
            CounterMessage::Forget => context.forget(),
            CounterMessage::AddAndForget(count) => {
                self.count += count;
                context.forget();
            }
        }
        Ok(self.count)
    }
}

fn failure(answer: Result<u64, EntityError>) -> Failure {
    let Err(EntityError::Failed { entity: "counter", node: Some(_), epoch: Some(_), failure, .. }) = answer
    else {
        panic!("{answer:?}")
    };
    failure
}

/// One process is one node, so all is in one test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_of_a_node_that_is_alone() {
    alone!();
    let options = EntityOptions::default()
        .idle(Duration::from_millis(400))
        .handler_timeout(Duration::from_millis(200))
        .max_state_bytes(10_000);
    let (cloister, counters) = start::<Counter>(Config::new("alone"), options).await;
    what_fails_leaves_the_state_that_was_written(&counters).await;
    a_message_that_was_not_applied_comes_back(&counters).await;
    a_state_that_cannot_be_read_is_kept(&counters).await;
    timers_fire_once_and_not_when_cancelled(&counters).await;
    what_only_reads_writes_nothing_and_what_is_idle_is_no_object(&counters).await;
    one_key_is_handled_one_after_the_other(&counters).await;
    cloister.leave().await;
    let late = counters.call("a", CounterMessage::Get).await;
    assert!(matches!(&late, Err(error @ EntityError::Table(_)) if !error.may_be_done()), "{late:?}");

    let options = EntityOptions::default()
        .durability(Durability::Lazy(Duration::from_millis(200)))
        .idle(Duration::from_millis(300))
        .timeout(Duration::from_secs(3));
    let (cloister, counters) = start::<Counter>(Config::new("lazy"), options).await;
    what_is_written_lazily_is_written(&counters).await;
    cloister.leave().await;

    let (config, options) = (Config::new("full").table_bytes(16 << 20), EntityOptions::default());
    let (cloister, counters) = start::<Counter>(config, options.max_state_bytes(4 << 20)).await;
    a_node_that_is_full_refuses(&counters).await;
    cloister.leave().await;
}

async fn a_node_that_is_full_refuses(counters: &Entities<Counter>) {
    // How many bytes there are is counted now and then, so a few more than five may get in.
    let mut number = 0;
    let failed = loop {
        match counters.call(&format!("large{number}"), CounterMessage::Grow(3 << 20)).await {
            Ok(_) => number += 1,
            failed => break failure(failed),
        }
        assert!(number < 50, "50 states of 3 MiB are within a limit of 16 MiB");
    };
    assert!(matches!(failed, Failure::Full { max: 0x0100_0000, .. }), "{failed}");
    assert_eq!(counters.call("a", CounterMessage::Add(7)).await, Ok(7));
}

async fn what_fails_leaves_the_state_that_was_written(counters: &Entities<Counter>) {
    assert_eq!(counters.call("a", CounterMessage::Add(7)).await, Ok(7));
    let failed = failure(counters.call("a", CounterMessage::Fail).await);
    assert_eq!(failed, Failure::Error("invalid digit found in string".to_owned()));
    let failed = failure(counters.call("a", CounterMessage::Panic).await);
    assert_eq!(failed, Failure::Panicked("as the test wants it".to_owned()));
    let failed = failure(counters.call("a", CounterMessage::Hang).await);
    assert_eq!(failed, Failure::TimedOut(Duration::from_millis(200)));
    let failed = failure(counters.call("a", CounterMessage::Grow(20_000)).await);
    assert!(matches!(failed, Failure::TooLarge { len: 20_000.., max: 10_000 }), "{failed}");
    // Timers are part of it.
    let mut scheduled = 0;
    let failed = loop {
        match counters.call("a", CounterMessage::In(Duration::from_secs(3_600), "x".repeat(1_000))).await {
            Ok(_) => scheduled += 1,
            failed => break failure(failed),
        }
        assert!(scheduled < 20, "20 timers with 1000 bytes each are within a limit of 10000");
    };
    assert!(matches!(failed, Failure::TooLarge { len: 10_000.., max: 10_000 }), "{failed}");
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    let failed = failure(counters.call("a", CounterMessage::BecomeUnwritable).await);
    assert_eq!(failed, Failure::Panicked("a defect of the serializer".to_owned()));
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    // What is too large is not sent, and a key is not too long.
    let large = counters.call("a", CounterMessage::In(Duration::ZERO, "x".repeat(20_000))).await;
    assert!(large.unwrap_err().to_string().contains("over the limit of 10000"));
    assert!(
        counters
            .call(&"k".repeat(2_000), CounterMessage::Get)
            .await
            .unwrap_err()
            .to_string()
            .contains("the key \"kkk")
    );
    // It begins anew when it is forgotten.
    assert_eq!(counters.call("a", CounterMessage::Forget).await, Ok(7));
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(0));
    // So it does if nothing was written before.
    assert_eq!(counters.call("a", CounterMessage::AddAndForget(5)).await, Ok(5));
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(0));
}

async fn a_message_that_was_not_applied_comes_back(counters: &Entities<Counter>) {
    assert_eq!(counters.try_call("back", CounterMessage::Add(7)).await.unwrap(), 7);
    let failed = counters.try_call("back", CounterMessage::Fail).await.unwrap_err();
    assert!(matches!(failed.message, Some(CounterMessage::Fail)), "{failed:?}");
    // As many wait as may, and a few more.
    let busy = Arc::new(AtomicUsize::new(0));
    // They take two seconds, in which a busy machine sends all of them.
    let hangs: Vec<_> = (0..10)
        .map(|_| {
            let counters = counters.clone();
            tokio::spawn(async move { counters.call("back", CounterMessage::Hang).await })
        })
        .collect();
    let casts: Vec<_> = (0..1_100)
        .map(|_| {
            let (counters, busy) = (counters.clone(), Arc::clone(&busy));
            tokio::spawn(async move {
                let mut message = CounterMessage::Add(1);
                while let Err(failed) = counters.try_cast("back", message).await {
                    assert!(matches!(failed.error, EntityError::Table(TableError::Busy { .. })), "{failed}");
                    busy.fetch_add(1, Ordering::Relaxed);
                    message = failed.message.expect("it comes back");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    for cast in casts {
        cast.await.unwrap();
    }
    for hang in hangs {
        assert!(hang.await.unwrap().is_err());
    }
    until_async("all are added", async || counters.call("back", CounterMessage::Get).await == Ok(1_107))
        .await;
    assert!(busy.load(Ordering::Relaxed) > 0, "the inbox was full");
}

async fn a_state_that_cannot_be_read_is_kept(counters: &Entities<Counter>) {
    assert_eq!(counters.call("spoilt", CounterMessage::BecomeUnreadable).await, Ok(0));
    // Until it is loaded again it does not show.
    until_async("no entity is an object", async || counters.active() == 0).await;
    for message in [CounterMessage::Get, CounterMessage::Add(1), CounterMessage::Forget] {
        let failed = failure(counters.call("spoilt", message).await);
        assert!(matches!(&failed, Failure::State(cause) if cause.contains("a later release")), "{failed}");
    }
    assert!(counters.local_keys().any(|key| key == "spoilt"), "its state is still there");
}

async fn timers_fire_once_and_not_when_cancelled(counters: &Entities<Counter>) {
    let soon = |text: &str| CounterMessage::In(Duration::from_millis(50), text.to_owned());
    counters.call("t", soon("first")).await.unwrap();
    counters.call("t", soon("second")).await.unwrap();
    assert_eq!(
        counters.call("t", CounterMessage::Cancel).await,
        Ok(1),
        "the second is there, and is cancelled"
    );
    counters.call("t", soon("third")).await.unwrap();
    // In an hour, so the last one is not due now.
    counters.call("t", CounterMessage::In(Duration::from_secs(3_600), "late".to_owned())).await.unwrap();
    let alarms = async || counters.call("t", CounterMessage::Alarms).await.unwrap();
    until_async("two timers have fired", async || alarms().await == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alarms().await, 2, "each once");
    counters.call("t", CounterMessage::Forget).await.unwrap();
    // A cast is accepted, and handled later.
    counters.cast("t", CounterMessage::Add(3)).await.unwrap();
    assert_eq!(counters.call("t", CounterMessage::Get).await, Ok(3), "in order");
    counters.call("t", CounterMessage::Forget).await.unwrap();
}

async fn what_only_reads_writes_nothing_and_what_is_idle_is_no_object(counters: &Entities<Counter>) {
    let before = counters.len().await.unwrap();
    for number in 0..100 {
        assert_eq!(counters.call(&format!("new{number}"), CounterMessage::Get).await, Ok(0));
    }
    assert_eq!(counters.len().await, Ok(before), "nothing was written for what was read");
    assert!(counters.active() > 0, "those of a moment ago are objects");
    until_async("no entity is an object", async || counters.active() == 0).await;
}

async fn one_key_is_handled_one_after_the_other(counters: &Entities<Counter>) {
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let counters = counters.clone();
            tokio::spawn(async move { counters.call("one", CounterMessage::Add(1)).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, (1..=200).collect::<Vec<_>>(), "each has seen those before");
}

async fn what_is_written_lazily_is_written(counters: &Entities<Counter>) {
    assert_eq!(counters.call("a", CounterMessage::Add(7)).await, Ok(7));
    assert_eq!(counters.len().await, Ok(0), "it is not written yet");
    until_async("it is written", async || counters.len().await == Ok(1)).await;
    assert_eq!(counters.call("a", CounterMessage::Get).await, Ok(7));
    // What a timer has changed is written, too, after what the message has that set it.
    counters.call("t", CounterMessage::In(Duration::from_millis(600), "late".to_owned())).await.unwrap();
    until_async("no entity is an object", async || counters.active() == 0).await;
    assert_eq!(counters.call("t", CounterMessage::Alarms).await, Ok(1));
    // What cannot be written is not answered with `Ok`, and the entity works on.
    let failed = failure(counters.call("b", CounterMessage::BecomeUnwritable).await);
    assert_eq!(failed, Failure::Panicked("a defect of the serializer".to_owned()));
    assert_eq!(counters.call("b", CounterMessage::Get).await, Ok(0));
}
