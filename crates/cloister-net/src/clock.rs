//! The clock of this host, as the core reads it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

impl Clock {
    /// The same moment as timers count it, whose clock may stand still during a suspension. It is right but for suspensions since
    /// [`sync`](Clock::sync).
    ///
    /// It costs less than a look at a second clock, which is why it is there.
    #[must_use]
    #[inline]
    pub fn instant_of(self, time: Time) -> Instant {
        ANCHOR.instant_of(time.as_nanos(), SUSPENDED.load(Ordering::Relaxed))
    }

    /// Takes account of all suspensions so far.
    pub fn sync(self) {
        SUSPENDED.store(suspended(), Ordering::Relaxed);
    }

    /// Whether less than a tick of the kernel's timer, 10 ms at most, has passed since then. It may say no after a shorter time. Where the system
    /// has no clock that counts ticks it always does.
    ///
    /// It costs an eighth of a look at the clock.
    #[must_use]
    #[inline]
    pub fn is_in_same_tick(self, since: Time) -> bool {
        ticks().is_some_and(|last| last <= since.as_nanos().saturating_sub(SUSPENDED.load(Ordering::Relaxed)))
    }
}

/// For how long the machine was suspended when [`Clock::sync`] looked.
static SUSPENDED: AtomicU64 = AtomicU64::new(0);

/// One moment on two clocks.
struct Anchor {
    /// On a clock that stands still during a suspension.
    awake: u64,
    instant: Instant,
}

impl Anchor {
    #[inline]
    fn instant_of(&self, nanos: u64, suspended: u64) -> Instant {
        let awake = nanos.saturating_sub(suspended);
        self.instant + Duration::from_nanos(awake.saturating_sub(self.awake))
    }
}

static ANCHOR: LazyLock<Anchor> = LazyLock::new(|| {
    Clock.sync();
    Anchor { awake: nanos().saturating_sub(SUSPENDED.load(Ordering::Relaxed)), instant: Instant::now() }
});

/// A thread that is stopped between the readings would make a suspension. Of a few the smallest is right.
#[cfg(target_os = "linux")]
fn suspended() -> u64 {
    let apart = |_| {
        let awake = nanos_of(rustix::time::ClockId::Monotonic);
        nanos().saturating_sub(awake)
    };
    (0..3).map(apart).min().unwrap_or(0)
}

/// No clock runs on.
#[cfg(not(target_os = "linux"))]
fn suspended() -> u64 {
    0
}

/// When the last tick was, on a clock that stands still during a suspension.
#[cfg(target_os = "linux")]
fn ticks() -> Option<u64> {
    Some(nanos_of(rustix::time::ClockId::MonotonicCoarse))
}

#[cfg(not(target_os = "linux"))]
fn ticks() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn nanos() -> u64 {
    nanos_of(rustix::time::ClockId::Boottime)
}

#[cfg(target_os = "linux")]
fn nanos_of(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn nanos() -> u64 {
    use std::sync::OnceLock;

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

    /// The look at the two clocks takes a moment.
    const APART: Duration = Duration::from_millis(50);

    #[test]
    fn a_moment_is_the_same_on_the_clock_of_timers() {
        Clock.sync();
        for span in [0, 1_000_000_000_u64, 3_600_000_000_000].map(Duration::from_nanos) {
            let (time, instant) = (Clock.now() + span, Instant::now() + span);
            let of_time = Clock.instant_of(time);
            let apart = of_time.max(instant) - of_time.min(instant);
            assert!(apart < APART, "{apart:?} after {span:?}");
        }
    }

    #[test]
    fn the_clock_of_timers_stands_still_during_a_suspension() {
        let anchor = Anchor { awake: 1_000, instant: Instant::now() };
        assert_eq!(anchor.instant_of(1_500, 0), anchor.instant + Duration::from_nanos(500));
        assert_eq!(anchor.instant_of(9_500, 8_000), anchor.instant + Duration::from_nanos(500));
        // What was measured a little wrong is no panic.
        assert_eq!(anchor.instant_of(8_000, 8_000), anchor.instant);
    }

    #[test]
    fn a_tick_ends_within_ten_milliseconds() {
        let since = Clock.now();
        std::thread::sleep(Duration::from_millis(11));
        assert!(!Clock.is_in_same_tick(since));
        // Of so many moments most are in the tick of the next look.
        let same = (0..1_000).filter(|_| Clock.is_in_same_tick(Clock.now())).count();
        assert!(same > 500 || !cfg!(target_os = "linux"), "{same}");
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
