//! The lease as readers see it: one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloister_proto::Time;

/// No lease now; one may be granted.
const NONE: u64 = 0;

/// The incarnation is over: no lease is granted any more. It lies in the past, like every time up to it, so that readers need no case
/// for it.
const OVER: u64 = 1;

/// Until when a node may act as a member of one view, in nanoseconds of its clock.
///
/// Grants come from the monitor, the end from the thread that closes the incarnation, perhaps at the same time. Both are
/// one exchange of one word: a reader never sees a lease that was granted after the end.
#[derive(Debug, Default)]
pub(crate) struct Lease(AtomicU64);

impl Lease {
    /// Whether it is held at the moment that `now` tells, as [`Node::holds_lease`](cloister_proto::Node::holds_lease) says it. The clock
    /// is read last, so that a thread that stood still before does not act by an old time.
    #[inline]
    pub(crate) fn holds(&self, now: impl FnOnce() -> Time) -> bool {
        let until = self.0.load(Ordering::SeqCst);
        now() < Time::from_nanos(until)
    }

    /// How much of it is left at the moment that `now` tells; zero if it is not held.
    pub(crate) fn left(&self, now: impl FnOnce() -> Time) -> Duration {
        let until = self.0.load(Ordering::SeqCst);
        Time::from_nanos(until).since(now())
    }

    /// Sets it, or takes it away with `None`; does nothing after [`Lease::end`].
    pub(crate) fn grant(&self, until: Option<Time>) {
        let until = until.map_or(NONE, Time::as_nanos);
        // A lease until the first nanosecond of the clock is none.
        let until = if until == OVER { NONE } else { until };
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now != OVER).then_some(until));
    }

    /// Takes it away for good.
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::SeqCst);
    }

    /// Whether it was taken away for good.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst) == OVER
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const LATER: Time = Time::from_nanos(u64::MAX);
    const NOW: Time = Time::from_nanos(1_000);

    #[test]
    fn a_lease_is_held_until_it_ends_or_is_taken_away() {
        let lease = Lease::default();
        assert!(!lease.holds(|| NOW));
        lease.grant(Some(Time::from_nanos(1_001)));
        assert!(lease.holds(|| NOW));
        assert!(!lease.holds(|| Time::from_nanos(1_001)));
        assert_eq!(lease.left(|| NOW), Duration::from_nanos(1));
        assert_eq!(lease.left(|| Time::from_nanos(1_002)), Duration::ZERO);
        lease.grant(None);
        assert_eq!(lease.left(|| NOW), Duration::ZERO);
        assert!(!lease.holds(|| NOW));
        lease.grant(Some(LATER));
        assert!(lease.holds(|| NOW));
    }

    #[test]
    fn after_the_end_nothing_is_granted_any_more() {
        let lease = Lease::default();
        lease.grant(Some(LATER));
        lease.end();
        assert!(lease.is_over());
        for until in [Some(LATER), None, Some(Time::from_nanos(OVER)), Some(LATER)] {
            lease.grant(until);
            assert!(lease.is_over());
            assert!(!lease.holds(|| NOW));
        }
    }

    #[test]
    fn a_lease_that_was_always_over_does_not_end_the_incarnation() {
        let lease = Lease::default();
        lease.grant(Some(Time::from_nanos(OVER)));
        assert!(!lease.is_over());
        lease.grant(Some(LATER));
        assert!(lease.holds(|| NOW));
    }

    /// One thread grants without pause, another ends the lease and looks at once. Not once does it see one afterwards.
    #[test]
    fn no_reader_sees_a_lease_that_was_granted_after_the_end() {
        for _ in 0..500 {
            let (lease, start) = (Lease::default(), Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2_000 {
                        lease.grant(Some(LATER));
                    }
                });
                start.wait();
                lease.end();
                for _ in 0..2_000 {
                    assert!(!lease.holds(|| NOW), "it was over");
                }
            });
            assert!(lease.is_over());
        }
    }
}
