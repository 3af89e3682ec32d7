//! Rate limit of log lines that can repeat without end (rate-limited log), such as those that any process on the network can cause.

use std::time::{Duration, Instant};

/// The least time between two lines of one cause.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line a second through and counts the others.
#[derive(Debug, Default)]
pub struct LogLimiter {
    last: Option<Instant>,
    missed: u64,
}

impl LogLimiter {
    /// Whether a line may be written now; if so, how many were left out since the last.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < MIN_INTERVAL) {
            self.missed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_a_count_of_the_rest() {
        let start = Instant::now();
        let mut limiter = LogLimiter::default();
        assert_eq!(limiter.allow(start), Some(0));
        assert_eq!(limiter.allow(start + Duration::from_millis(1)), None);
        assert_eq!(limiter.allow(start + Duration::from_millis(999)), None);
        assert_eq!(limiter.allow(start + Duration::from_secs(1)), Some(2));
        assert_eq!(limiter.allow(start + Duration::from_secs(9)), Some(0));
    }
}
