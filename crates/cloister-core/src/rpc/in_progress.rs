//! The calls that actors of this node have got from other nodes and have not answered: a node that leaves waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many calls by key are with actors of this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallsInProgress(Arc<Calls>);

#[derive(Debug, Default)]
struct Calls {
    number: AtomicUsize,
    none_is_left: Notify,
}

/// One call, until this is dropped.
#[derive(Debug)]
pub(crate) struct CallInProgress(Arc<Calls>);

impl CallsInProgress {
    /// An actor gets a call.
    pub(crate) fn begin(&self) -> CallInProgress {
        self.0.number.fetch_add(1, Ordering::SeqCst);
        CallInProgress(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn number(&self) -> usize {
        self.0.number.load(Ordering::SeqCst)
    }

    /// Waits until there is none.
    pub(crate) async fn wait_for_none(&self) {
        loop {
            let none_is_left = self.0.none_is_left.notified();
            tokio::pin!(none_is_left);
            // Before the look, so that no end is missed.
            none_is_left.as_mut().enable();
            if self.number() == 0 {
                return;
            }
            none_is_left.await;
        }
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_is_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_last_call_that_ends_is_the_end_of_the_wait() {
        let calls = CallsInProgress::default();
        calls.wait_for_none().await;
        let (first, second) = (calls.begin(), calls.begin());
        let waiting = tokio::spawn({
            let calls = calls.clone();
            async move { calls.wait_for_none().await }
        });
        drop(first);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!((calls.number(), waiting.is_finished()) == (1, false));
        drop(second);
        waiting.await.unwrap();
    }
}
