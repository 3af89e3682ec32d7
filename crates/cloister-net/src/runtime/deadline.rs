//! Deadlines that move while the thread of the node is awake anyway.
//!
//! A timer that fires wakes the thread of the node. It does so twice as a rule, since tokio's wheel keeps a timer that is further away
//! than 64 ms in a slot of 64 ms, and looks at it once when that slot begins. On an idle node most deadlines only watch for a silence, and
//! each message of a peer moves them. So they are computed anew with each message, for which the thread is awake already, and none fires
//! while peers send. It costs each message one poll of each task that waits here.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// A shorter time is not slept.
const LEAST: Duration = Duration::from_millis(1);

/// There is one node in a process, and one thread that takes its messages in.
static RECEIVED: Notify = Notify::const_new();

/// A peer's message is taken in. To be called on the runtime of the node.
pub(crate) fn note_received() {
    RECEIVED.notify_waiters();
}

/// Waits until `left` is over: how long it is to the deadline. It is computed anew with each message that is taken in.
pub(crate) async fn wait(mut left: impl FnMut() -> Duration) {
    loop {
        let received = RECEIVED.notified();
        let left = left();
        if left < LEAST {
            return;
        }
        let _ = timeout(left, received).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_deadline_is_computed_anew_with_each_message() {
        let (left, computed) = (Cell::new(Duration::from_secs(3600)), Cell::new(0));
        let waiting = wait(|| {
            computed.set(computed.get() + 1);
            left.get()
        });
        let messages = async {
            for before in 1..=10 {
                // Other tests of this process may take messages in, too.
                assert!(computed.get() >= before, "{} times after {} messages", computed.get(), before - 1);
                note_received();
                tokio::task::yield_now().await;
            }
            left.set(Duration::ZERO);
            note_received();
        };
        tokio::join!(biased; waiting, messages);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_passes_without_a_message() {
        let (began, span) = (Instant::now(), Duration::from_millis(20));
        wait(|| span.saturating_sub(began.elapsed())).await;
        assert!(began.elapsed() >= span - LEAST, "it ended early: {:?}", began.elapsed());
    }
}
