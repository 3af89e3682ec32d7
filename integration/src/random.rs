//! Reproducible randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use cloister_testkit::random::Rng;

use crate::report;

/// A generator with a printed seed. `CLOISTER_TEST_SEED` repeats a run.
#[derive(Debug)]
pub struct Random(Rng);

impl Random {
    /// With a seed of its own, or as `CLOISTER_TEST_SEED` says.
    pub fn new(what: &str) -> Self {
        Self(generator(what))
    }

    /// A number less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }
}

/// A generator with a printed seed, as [`Random::new`] says.
pub(crate) fn generator(what: &str) -> Rng {
    let given = std::env::var("CLOISTER_TEST_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("CLOISTER_TEST_SEED is a number"));
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = given.unwrap_or_else(clock);
    report(&format!("{what}: CLOISTER_TEST_SEED={seed}"));
    Rng::new(seed)
}
