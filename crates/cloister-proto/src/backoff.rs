//! Exponential back-off, and the random numbers of its jitter.

use std::time::Duration;

/// The wait after `failures` failures without jitter: `min` after the first, then twice as long each time, at most `max`.
#[must_use]
pub fn exponential(min: Duration, max: Duration, failures: u32) -> Duration {
    min.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(max)
}

/// A generator (xorshift64: Marsaglia, 2003) for jitter. Not for secrets. The same seed gives the same numbers.
#[derive(Clone, Debug, Hash)]
pub struct Xorshift(u64);

impl Xorshift {
    /// The numbers that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // A state of zero would stay zero for ever.
        Self(seed | 1)
    }

    /// The next number, which is not zero.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Doubling waits with jitter, from a minimum to a maximum.
///
/// The random numbers come from the seed, so that a run can be repeated.
#[derive(Clone, Debug, Hash)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    random: Xorshift,
}

impl Backoff {
    /// Waits that begin at `min`, double each time and stay at `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max, step: min, random: Xorshift::new(seed) }
    }

    /// The next wait: between half of the step and the whole of it.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.max);
        let half = step / 2;
        half + half.mul_f64((self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Begins again at the minimum.
    pub fn reset(&mut self) {
        self.step = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_begin_again() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(min, max, 7);
        for turn in 0..10 {
            let step = exponential(min, max, turn + 1);
            let wait = backoff.next_wait();
            assert!(wait >= step / 2 && wait <= step, "wait {turn} was {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= min);
    }

    #[test]
    fn the_wait_after_many_failures_is_the_maximum() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let waits = [1, 2, 6, 7, u32::MAX].map(|failures| exponential(min, max, failures).as_millis());
        assert_eq!(waits, [100, 200, 3200, 5000, 5000]);
    }
}
