//! A runtime of a caller that ends before its call, on a node that is alone.

use std::sync::LazyLock;
use std::time::Duration;

use cloister::Config;
use cloister_entity::{Context, Entity, EntityOptions, HandlerError};
use cloister_testkit::alone;
use cloister_testkit::wait::until_async;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::start;

/// Whether a handler of [`CounterMessage::Block`] has begun, and whether it goes on.
static BLOCKED: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);
static OPEN: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
enum CounterMessage {
    Add,
    Block,
    AddIn(Duration),
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
            CounterMessage::Add => self.0 += 1,
            CounterMessage::Block => {
                BLOCKED.send_replace(true);
                OPEN.subscribe().wait_for(|open| *open).await?;
            }
            CounterMessage::AddIn(after) => drop(context.schedule(after, &CounterMessage::Add)?),
        }
        Ok(self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_goes_on_though_the_runtime_that_has_called_it_first_has_ended() {
    alone!();
    let options = EntityOptions::default().timeout(Duration::from_secs(20)).idle(Duration::from_millis(200));
    let (cloister, counters) = start::<Counter>(Config::new("runtimes"), options).await;
    // The first message of all: the clock begins with it, too.
    let other = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (caller, after) = (counters.clone(), Duration::from_millis(100));
    other.spawn(async move {
        caller.call("timed", CounterMessage::AddIn(after)).await.unwrap();
        caller.call("a", CounterMessage::Block).await
    });
    BLOCKED.subscribe().wait_for(|blocked| *blocked).await.unwrap();
    tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
    OPEN.send_replace(true);
    assert_eq!(counters.call("a", CounterMessage::Add).await, Ok(1));
    // The timer fires, and what is idle is dropped.
    until_async("no entity is an object", async || counters.active() == 0).await;
    assert_eq!(counters.call("timed", CounterMessage::Add).await, Ok(2));
    cloister.leave().await;
}
