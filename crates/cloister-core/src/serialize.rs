//! Obstacles and the states of peers as serde writes them. The other types are written by `cloister-proto`.

use serde::{Serialize, Serializer};

use crate::handle::{Obstacle, PeerState};

impl Serialize for Obstacle {
    /// The sentence that [`Display`](std::fmt::Display) gives, as `/readyz` lists it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PeerState {
    /// The name that [`as_str`](PeerState::as_str) gives, as `/members` shows it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
