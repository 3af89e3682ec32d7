//! Timers of which one fails, on a node that is alone.

use std::time::Duration;

use cloister::Config;
use cloister_entity::{Context, Durability, Entity, EntityOptions, HandlerError};
use cloister_testkit::alone;
use cloister_testkit::wait::until_async;
use serde::{Deserialize, Serialize};

use crate::start;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Bell {
    rung: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum BellMessage {
    Ring,
    Fail,
    /// Rings, or fails, after so many milliseconds.
    RingIn(u64),
    FailIn(u64),
    Rung,
}

impl Entity for Bell {
    const NAME: &'static str = "bell";
    type Message = BellMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: BellMessage,
    ) -> Result<u64, HandlerError> {
        let mut schedule = |ms, message| context.schedule(Duration::from_millis(ms), &message);
        match message {
            BellMessage::Ring => self.rung += 1,
            BellMessage::Fail => return Err(HandlerError::new("as the test wants it")),
            BellMessage::RingIn(ms) => drop(schedule(ms, BellMessage::Ring)?),
            BellMessage::FailIn(ms) => drop(schedule(ms, BellMessage::Fail)?),
            BellMessage::Rung => {}
        }
        Ok(self.rung)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_fails_again_and_again_holds_up_no_other_one_of_its_entity() {
    alone!();
    for durability in [Durability::Each, Durability::Lazy(Duration::from_secs(3_600))] {
        let options = EntityOptions::default().durability(durability);
        let (cloister, bells) = start::<Bell>(Config::new("timers"), options).await;
        // Two fail, and those that come later ring.
        for message in [
            BellMessage::FailIn(50),
            BellMessage::FailIn(60),
            BellMessage::RingIn(100),
            BellMessage::RingIn(1_500),
        ] {
            bells.call("a", message).await.unwrap();
        }
        // Messages meanwhile change nothing about that.
        let rung = async |count| bells.call("a", BellMessage::Rung).await == Ok(count);
        until_async("the first one has rung", async || rung(1).await).await;
        until_async("the second one has rung", async || rung(2).await).await;
        cloister.leave().await;
    }
}
