//! A named ring.

use std::sync::Arc;

use cloister_proto::NodeId;

use super::Shared;

/// A ring over the members that have certain tags; answers as [`Cloister`](crate::Cloister) does for the ring over all.
///
/// [`Cloister::ring`](crate::Cloister::ring) has an example.
#[derive(Clone, Debug)]
pub struct NamedRing {
    shared: Arc<Shared>,
    name: Arc<str>,
}

impl NamedRing {
    pub(crate) fn new(shared: Arc<Shared>, name: Arc<str>) -> Self {
        Self { shared, name }
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members of the ring, the oldest first.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        snapshot.ring(Some(&self.name)).map(|ring| ring.members().to_vec()).unwrap_or_default()
    }

    /// How many slots each member of the ring owns, the oldest first. Costs a pass over all slots.
    pub fn slot_counts(&self) -> Vec<(NodeId, usize)> {
        self.shared.snapshot().slot_counts(Some(&self.name))
    }

    /// The owner of `key`; `None` before the first view, and while no member has the tags.
    pub fn whois(&self, key: impl AsRef<[u8]>) -> Option<NodeId> {
        self.shared.owner(Some(&self.name), key.as_ref())
    }

    /// The owner of `key` and the members that come next, `n` at most.
    pub fn owners(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        let ring = snapshot.ring(Some(&self.name));
        ring.map(|ring| ring.owners(key.as_ref(), n).into_iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether this node owns `key` at this very moment.
    pub fn is_mine(&self, key: impl AsRef<[u8]>) -> bool {
        self.shared.look(|snapshot| snapshot.is_mine(Some(&self.name), key.as_ref(), self.shared.clock()))
    }
}
