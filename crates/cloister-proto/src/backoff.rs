//! How long to wait before trying again.

use std::time::Duration;

/// Doubling waits with jitter, between a least and a most.
///
/// The random numbers come from the seed, so that a run can be repeated.
#[derive(Clone, Debug, Hash)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    random: u64,
}

impl Backoff {
    /// Waits that begin at `min`, double each time and stay at `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        // A state of zero would stay zero for ever.
        Self { min, max, step: min, random: seed | 1 }
    }

    /// The next wait: between half of the step and the whole of it.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.max);
        // xorshift64 (Marsaglia, 2003): not for secrets, but well spread.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = step / 2;
        half + half.mul_f64((self.random >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Begins again at the least wait.
    pub fn reset(&mut self) {
        self.step = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_again() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(min, max, 7);
        for turn in 0..10 {
            let step = (min * (1 << turn)).min(max);
            let wait = backoff.next_wait();
            assert!(wait >= step / 2 && wait <= step, "wait {turn} was {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= min);
    }
}
