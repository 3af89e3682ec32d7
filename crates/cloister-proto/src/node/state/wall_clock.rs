//! The wall clock of a node, and the epochs that it has accepted.

/// The wall clock, and the latest accepted epoch. Both as of the start of the process.
#[derive(Clone, Debug, Hash)]
pub(crate) struct WallClock {
    /// The last reading of the wall clock.
    pub(crate) reading: u64,
    /// The latest accepted epoch. A clock that is set back takes no epoch back.
    pub(crate) accepted: u64,
}

impl WallClock {
    pub(crate) fn new(unix_ms: u64) -> Self {
        Self { reading: unix_ms, accepted: 0 }
    }
}
