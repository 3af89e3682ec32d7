//! The clock of this host, as the core reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use cloister_proto::Time;

/// A monotonic clock that keeps running while the machine is suspended, where the system has one.
///
/// On Linux this is `CLOCK_BOOTTIME`: a lease cannot outlive a closed lid. Elsewhere it is
/// [`std::time::Instant`], which may stand still during a suspension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The present moment. Never goes backwards, costs one system call without a switch to the kernel.
    pub fn now(self) -> Time {
        Time::from_nanos(nanos())
    }

    /// The wall clock, in milliseconds since the Unix epoch; 0 for one that shows an earlier time. It may be set at any time.
    pub(crate) fn unix_ms(self) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forwards() {
        let first = Clock.now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(Clock.now().since(first) >= std::time::Duration::from_millis(1));
    }
}
