//! The duration of calls that actors of the same node answer: less than a microsecond, of which a look at the clock is a part.
//!
//! ```text
//! call:      timed  like   like   …  like   timed  like   longer than a tick: timed   like  …
//! counted:     1      1      1         1      1      1              1                   1
//! ```
//!
//! Each call is counted, and each that takes longer than a tick of the kernel's timer is timed. Of those that are shorter each thread times
//! one in [`EACH`], and counts the ones after it as if they had taken as long.

use std::cell::Cell;
use std::time::Duration;

use cloister_proto::Time;

use super::ANSWERED;
use super::histogram::ThreadCounts;
use crate::clock::Clock;

/// Of so many calls within a tick one is timed.
const EACH: u8 = 16;

/// What one thread counts.
struct OwnCalls {
    counts: ThreadCounts,
    /// The bucket and the duration of the call that was timed, and for how many after it they count.
    last: Cell<((usize, u64), u8)>,
}

thread_local! {
    static OWN_CALLS: OwnCalls =
        OwnCalls { counts: ThreadCounts::of(&ANSWERED), last: Cell::new(((0, 0), 0)) };
}

/// An actor of this node has answered a call that began then.
#[inline]
pub fn answered_here(clock: Clock, began: Time) {
    let elapsed = || clock.now().since(began);
    let counted = OWN_CALLS.try_with(|calls| calls.count(clock.is_in_same_tick(began), elapsed));
    if counted.is_err() {
        // The thread is ending.
        ANSWERED.observe(elapsed());
    }
}

impl OwnCalls {
    #[inline]
    fn count(&self, is_short: bool, elapsed: impl FnOnce() -> Duration) {
        match self.last.get() {
            (like, left @ 1..) if is_short => {
                self.last.set((like, left - 1));
                self.counts.again(like);
            }
            _ => self.time(is_short, elapsed()),
        }
    }

    #[cold]
    fn time(&self, is_short: bool, took: Duration) {
        let like = self.counts.observe(took);
        if is_short {
            self.last.set((like, EACH - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::DurationHistogram;
    use super::*;

    #[test]
    fn each_call_is_counted_and_each_that_is_longer_than_a_tick_is_timed() {
        let histogram = DurationHistogram::new(&[0.001, 1.0]);
        let calls = OwnCalls { counts: ThreadCounts::of(&histogram), last: Cell::new(((0, 0), 0)) };
        let (short, long) = (Duration::from_micros(1), Duration::from_secs(2));
        let mut looks = 0;
        for number in 0..100 * u64::from(EACH) {
            calls.count(true, || {
                looks += 1;
                short
            });
            if number % 10 == 0 {
                calls.count(false, || long);
            }
        }
        assert_eq!(looks, 100, "one in {EACH}");
        let of_long = 100 * u64::from(EACH) / 10;
        let (buckets, sum) = histogram.total();
        assert_eq!(buckets, [100 * u64::from(EACH), 0, of_long]);
        assert_eq!(sum, 1_000 * 100 * u64::from(EACH) + 2_000_000_000 * of_long);
    }
}
