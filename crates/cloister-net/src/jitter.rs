//! Random numbers of the link layer: jitter.

use std::num::NonZeroU64;
use std::time::Duration;

use cloister_proto::backoff::Xorshift;

use crate::links::error::LinkError;

/// What makes the jitter of this process its own; fails when the system has no randomness to give.
pub(crate) fn seed() -> Result<NonZeroU64, LinkError> {
    loop {
        let number = getrandom::u64().map_err(|cause| LinkError::Randomness(cause.to_string()))?;
        if let Some(number) = NonZeroU64::new(number) {
            return Ok(number);
        }
    }
}

/// Spreads waits, so that nodes that failed together do not try again together. Not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(Xorshift);

impl Jitter {
    /// A sequence that is determined by `seed`.
    pub(crate) fn new(seed: NonZeroU64) -> Self {
        Self(Xorshift::new(seed.get()))
    }

    /// Between three and five quarters of `span`.
    pub(crate) fn around(&mut self, span: Duration) -> Duration {
        let share = u32::try_from(self.0.next_u64() % 1024).unwrap_or(0);
        span * 3 / 4 + span * share / 2048
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter_and_varies() {
        let span = Duration::from_millis(400);
        let mut jitter = Jitter::new(NonZeroU64::MIN);
        let waits: Vec<Duration> = (0..1000).map(|_| jitter.around(span)).collect();
        assert!(waits.iter().all(|wait| (span * 3 / 4..=span * 5 / 4).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < span) && waits.iter().any(|wait| *wait > span));
    }
}
