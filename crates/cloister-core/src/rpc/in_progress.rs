//! The calls that a node that leaves waits for: those that its actors have got from other nodes and have not answered, and those that its program
//! has made itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many calls are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallsInProgress {
    received: Arc<Calls>,
    made: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    number: AtomicUsize,
    none_is_left: Notify,
}

/// One call, until this is dropped.
#[derive(Debug)]
pub struct CallInProgress(Arc<Calls>);

impl CallsInProgress {
    /// An actor gets a call.
    pub(crate) fn begin(&self) -> CallInProgress {
        CallInProgress::of(&self.received)
    }

    /// This node makes a call to another. What it makes while it stops is not counted, so that a task that never ends does not hold it: what
    /// is asked then is asked for the sake of a call that is counted.
    pub(crate) fn begin_own(&self, stops: impl FnOnce() -> bool) -> Option<CallInProgress> {
        let call = CallInProgress::of(&self.made);
        // After it is counted: a stop that is not seen here sees it.
        (!stops()).then_some(call)
    }

    /// How many there are: those of other nodes, and own ones.
    pub(crate) fn numbers(&self) -> (usize, usize) {
        (self.received.number(), self.made.number())
    }

    /// Waits until there is none.
    pub(crate) async fn wait_for_none(&self) {
        tokio::join!(self.received.wait_for_none(), self.made.wait_for_none());
    }
}

impl CallInProgress {
    fn of(calls: &Arc<Calls>) -> Self {
        calls.number.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(calls))
    }
}

impl Calls {
    fn number(&self) -> usize {
        self.number.load(Ordering::SeqCst)
    }

    async fn wait_for_none(&self) {
        loop {
            let none_is_left = self.none_is_left.notified();
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
        assert_eq!((calls.numbers(), waiting.is_finished()), ((1, 0), false));
        drop(second);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_a_node_has_made_is_waited_for_unless_it_stopped_before() {
        let calls = CallsInProgress::default();
        assert!(calls.begin_own(|| true).is_none());
        calls.wait_for_none().await;
        let made = calls.begin_own(|| {
            assert_eq!(calls.numbers(), (0, 1), "it is counted first");
            false
        });
        let waiting = tokio::spawn({
            let calls = calls.clone();
            async move { calls.wait_for_none().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(made);
        waiting.await.unwrap();
    }
}
