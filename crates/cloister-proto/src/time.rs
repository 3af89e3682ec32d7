//! The time of the core: a number that the shell hands in.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on this host's monotonic clock, in nanoseconds since an arbitrary origin.
///
/// Moments of two hosts cannot be compared. The shell takes it from a clock that keeps running while
/// the machine is suspended, so that a lease cannot outlive a closed lid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Time = Time(0);

    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_stop_at_both_ends_of_the_clock() {
        let second = Duration::from_secs(1);
        let (early, late) = (Time::from_nanos(5), Time::from_nanos(u64::MAX - 5));
        assert_eq!((early - second, late + second), (Time::ZERO, Time::from_nanos(u64::MAX)));
        assert_eq!((late + Duration::MAX, late - Duration::MAX), (Time::from_nanos(u64::MAX), Time::ZERO));
        assert_eq!(Time::from_nanos(1_500_000_000) - second, Time::from_nanos(500_000_000));
        assert_eq!((early.since(late), late.since(late - second)), (Duration::ZERO, second));
    }

    #[test]
    fn a_moment_is_shown_in_seconds_and_thousandths() {
        let texts = [0, 999_999, 1_000_000, 61_234_567_890].map(|nanos| Time::from_nanos(nanos).to_string());
        assert_eq!(texts, ["0.000s", "0.000s", "0.001s", "61.234s"]);
    }
}
