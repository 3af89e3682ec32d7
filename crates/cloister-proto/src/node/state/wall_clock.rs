//! What a node makes of the wall clock.

/// What a node makes of the wall clock. Both times are what a wall clock would have shown at the start of the process.
#[derive(Clone, Debug, Hash)]
pub(crate) struct WallClock {
    /// The wall clock of this node, as read last.
    pub(crate) reading: u64,
    /// The latest of the epochs that this node has accepted. A clock that is set back takes no epoch back.
    pub(crate) accepted: u64,
}

impl WallClock {
    pub(crate) fn new(unix_ms: u64) -> Self {
        Self { reading: unix_ms, accepted: 0 }
    }
}
