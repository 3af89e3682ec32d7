//! Reproducible randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::report;

/// A generator with a printed seed. `CLOISTER_TEST_SEED` repeats a run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// With a seed of its own, or as `CLOISTER_TEST_SEED` says.
    pub fn new(what: &str) -> Self {
        let given = std::env::var("CLOISTER_TEST_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("CLOISTER_TEST_SEED is a number"));
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seed = given.unwrap_or_else(clock);
        report(&format!("{what}: CLOISTER_TEST_SEED={seed}"));
        Self(seed)
    }

    /// A number less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
