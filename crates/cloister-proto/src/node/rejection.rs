//! What a node does not believe of a peer, though the peer has authenticated itself.

use std::collections::BTreeMap;

use super::state::{Node, Rejection};

impl Node {
    /// How often each thing was not believed since this node began. Some of it is ordinary: an answer that comes
    /// when its round is over, for one.
    pub fn rejections(&self) -> &BTreeMap<Rejection, u64> {
        &self.rejections
    }

    pub(super) fn reject(&mut self, what: Rejection) {
        let count = self.rejections.entry(what).or_default();
        *count = count.saturating_add(1);
    }
}
