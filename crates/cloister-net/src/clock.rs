//! The clock of this host, as the core reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_proto::Time;

/// A monotonic clock that keeps running while the machine is suspended, where the system has one.
///
/// On Linux this is `CLOCK_BOOTTIME`: a lease cannot outlive a closed lid. Elsewhere it is
/// [`std::time::Instant`], which may stand still during a suspension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The present moment. Never goes backwards, costs one system call without a switch to the kernel.
    #[must_use]
    pub fn now(self) -> Time {
        Time::from_nanos(nanos())
    }

    /// The wall clock, in milliseconds since the Unix epoch; 0 for one that shows an earlier time. It may be set at any time.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(target_os = "linux")]
fn nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn nanos() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    // One nanosecond more, so that the first moment differs from `Time::ZERO`.
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Whether the machine stood still, as far as its clocks tell.
///
/// A virtual machine that is paused, moved to other hardware or restored from a snapshot resumes with a monotonic clock that
/// did not count the pause. Its wall clock is corrected, at once or gradually: then the two are further apart than before. Setting
/// the wall clock by hand has the same effect and cannot be distinguished. It costs no more than a lease that is earned anew.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// What the wall clock showed when the monotonic clock showed nothing.
    offset: i128,
}

impl Watch {
    /// Watches from now on.
    #[must_use]
    pub fn start() -> Self {
        Self { offset: Self::measure() }
    }

    /// By how much the wall clock has run ahead of the monotonic clock since the last look; zero if it has fallen behind.
    pub fn jump(&mut self) -> Duration {
        self.jump_to(Self::measure())
    }

    fn jump_to(&mut self, offset: i128) -> Duration {
        let ahead = offset - std::mem::replace(&mut self.offset, offset);
        Duration::from_nanos(u64::try_from(ahead.max(0)).unwrap_or(u64::MAX))
    }

    fn measure() -> i128 {
        // A thread that is stopped between the two readings would make a jump. Of a few pairs the closest is right.
        let pair = |_| {
            let (before, wall, after) = (nanos(), wall_nanos(), nanos());
            (after - before, wall - i128::from(after))
        };
        (0..3).map(pair).min_by_key(|(apart, _)| *apart).map_or(0, |(_, offset)| offset)
    }
}

fn wall_nanos() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forwards() {
        let first = Clock.now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(Clock.now().since(first) >= std::time::Duration::from_millis(1));
    }

    #[test]
    fn a_wall_clock_that_runs_ahead_is_a_jump_and_one_that_is_set_back_is_none() {
        let mut watch = Watch { offset: 1_000 };
        assert_eq!(watch.jump_to(1_000), Duration::ZERO);
        assert_eq!(watch.jump_to(3_500), Duration::from_nanos(2_500));
        assert_eq!(watch.jump_to(3_500), Duration::ZERO, "it is reported once");
        assert_eq!(watch.jump_to(500), Duration::ZERO);
        assert_eq!(watch.jump_to(600), Duration::from_nanos(100), "from where it was set to");
    }

    #[test]
    fn on_a_machine_that_runs_nothing_jumps() {
        let mut watch = Watch::start();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(1));
            assert!(watch.jump() < Duration::from_millis(20));
        }
    }
}
