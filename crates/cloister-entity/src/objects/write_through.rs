//! When states of `Durability::Lazy` are written before each answer: from the announcement of a round on, until its view has begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much longer, if an announcement is withdrawn. Each round withdraws its own when it begins, and a node may hear of that a moment
/// before it promises the view: what it answers meanwhile must be written, since its key may move.
const GRACE: Duration = Duration::from_secs(10);

/// Whether states are written before each answer.
#[derive(Debug, Default)]
pub(super) struct WriteThrough {
    is_on: AtomicBool,
    /// When that ends by itself. Locked before `is_on` is changed.
    until: Mutex<Option<Instant>>,
}

impl WriteThrough {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A round is announced.
    pub(super) fn begin(&self) {
        *self.until() = None;
        self.is_on.store(true, Ordering::Release);
    }

    /// What was announced is withdrawn.
    pub(super) fn withdraw(&self, now: Instant) {
        self.until().get_or_insert(now + GRACE);
    }

    /// A view has ended or begun.
    pub(super) fn end(&self) {
        let mut until = self.until();
        *until = None;
        self.is_on.store(false, Ordering::Release);
    }

    pub(super) fn is_on(&self, now: impl FnOnce() -> Instant) -> bool {
        if !self.is_on.load(Ordering::Acquire) {
            return false;
        }
        let mut until = self.until();
        if until.is_some_and(|until| now() >= until) {
            *until = None;
            self.is_on.store(false, Ordering::Release);
        }
        self.is_on.load(Ordering::Acquire)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use cloister_table::service::Service;
    use serde::{Deserialize, Serialize};

    use super::super::Objects;
    use super::*;
    use crate::context::Context;
    use crate::entity::{Entity, HandlerError};
    use crate::options::EntityOptions;
    use crate::views::Views;

    #[derive(Default, Serialize, Deserialize)]
    pub(in crate::objects) struct Nothing;

    impl Entity for Nothing {
        const NAME: &'static str = "nothing";
        type Message = ();
        type Reply = ();

        async fn handle(&mut self, _: &mut Context<'_, Self>, (): ()) -> Result<(), HandlerError> {
            Ok(())
        }
    }

    #[test]
    fn entities_hear_that_what_was_announced_is_withdrawn() {
        let objects = Objects::<Nothing>::new(EntityOptions::default(), Arc::<Views>::default());
        objects.writes_through.begin();
        objects.withdrawn();
        assert!(objects.writes_through.is_on(Instant::now));
        assert!(!objects.writes_through.is_on(|| Instant::now() + GRACE));
    }

    #[test]
    fn states_are_written_at_once_until_the_view_begins_or_a_while_after_the_announcement_is_withdrawn() {
        let (now, through) = (Instant::now(), WriteThrough::default());
        let is_on = |after: Duration| through.is_on(|| now + after);
        let day = Duration::from_secs(86_400);
        assert!(!is_on(day));
        through.begin();
        assert!(is_on(day));
        through.end();
        assert!(!is_on(day));
        // What is announced anew counts, and not what was withdrawn.
        through.begin();
        through.withdraw(now);
        through.begin();
        assert!(is_on(day));
        through.withdraw(now);
        through.withdraw(now + GRACE);
        assert!(is_on(GRACE - Duration::from_millis(1)));
        assert!(!is_on(GRACE));
        assert!(!is_on(Duration::ZERO), "it is over");
    }
}
