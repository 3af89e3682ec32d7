//! Seeded random numbers: the same seed, the same run. The recorded seeds of the simulator depend on this sequence.

/// A small generator (splitmix64: Steele, Lea and Flood, 2014); fast and good enough for faults.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The numbers that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `min` up to, but not including, `end`; `min` when the range is empty.
    pub fn between(&mut self, min: u64, end: u64) -> u64 {
        if end <= min { min } else { min + self.next_u64() % (end - min) }
    }

    /// An index below `len`, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        (self.next_u64() % len as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next_u64() % 100 < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}
