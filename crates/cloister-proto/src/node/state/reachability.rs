//! Which nodes this node reaches, and the candidate members of the next view.

use std::sync::Arc;

use crate::name::NodeId;
use crate::time::Time;

/// The reachable nodes, this one included, in order of age.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Reachability {
    pub(crate) nodes: Arc<[NodeId]>,
    pub(crate) hash: u64,
    pub(crate) version: u64,
}

/// The candidate members of the next view, as far as this node knows.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Candidate {
    pub(crate) nodes: Vec<NodeId>,
    /// Whether this node is one of them.
    pub(crate) includes_self: bool,
    /// Whether a reachable or reported node is left out.
    pub(crate) is_incomplete: bool,
    /// Whether a report has changed since the last computation.
    pub(crate) stale: bool,
    /// Not computed again before this time, so that many reports do not take all of the processor.
    pub(crate) not_before: Time,
    pub(crate) changed_at: Time,
    /// When it changed first since the last round.
    pub(crate) unsettled_since: Option<Time>,
    /// Since when this node is not one of them, or they are too few to be viable.
    pub(crate) left_out_since: Option<Time>,
}

impl Candidate {
    /// Whether all of `ids`, which come in order of age, are candidate members.
    pub(crate) fn contains_all<'a>(&self, mut ids: impl Iterator<Item = &'a NodeId>) -> bool {
        let mut nodes = self.nodes.iter();
        ids.all(|id| nodes.any(|node| node == id))
    }
}
