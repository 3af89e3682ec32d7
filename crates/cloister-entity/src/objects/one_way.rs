//! Messages that were accepted here and whose senders wait for no answer. A node that leaves stays linked until there are none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloister_table::service::Leaving;

/// How many such messages there are, and what keeps the node linked until there are none.
#[derive(Debug, Default)]
pub(super) struct OneWays(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    leaving: Option<Arc<Leaving>>,
}

/// One of them, as long as it is there.
#[derive(Debug)]
pub(super) struct OneWay(Arc<OneWays>);

impl OneWays {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>) -> OneWay {
        self.lock().count += 1;
        OneWay(Arc::clone(self))
    }

    /// This node leaves.
    pub(super) fn leave(&self, leaving: Leaving) {
        let mut state = self.lock();
        let before = match state.count {
            0 => (state.leaving.take(), Some(Arc::new(leaving))),
            _ => (state.leaving.replace(Arc::new(leaving)), None),
        };
        // What follows from it does not run under the lock.
        drop(state);
        drop(before);
    }

    /// What messages are passed on by, if this node leaves.
    pub(super) fn leaving(&self) -> Option<Arc<Leaving>> {
        self.lock().leaving.clone()
    }

    /// This node begins a new incarnation.
    pub(super) fn reset(&self) {
        let before = self.lock().leaving.take();
        drop(before);
    }
}

impl Drop for OneWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.count -= 1;
        let over = if state.count == 0 { state.leaving.take() } else { None };
        drop(state);
        drop(over);
    }
}
