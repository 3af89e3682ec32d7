//! Which nodes this node reaches, and of which the next view should consist.

use std::sync::Arc;

use crate::name::NodeId;
use crate::time::Time;

/// Whom this node hears, itself included, in order of age.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Reachability {
    pub(crate) nodes: Arc<[NodeId]>,
    pub(crate) hash: u64,
    pub(crate) version: u64,
}

/// Whom the cluster should consist of, as far as this node can tell.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Candidate {
    pub(crate) nodes: Vec<NodeId>,
    /// Whether this node is in it.
    pub(crate) includes_self: bool,
    /// Whether somebody is heard, or heard of, who is not in it.
    pub(crate) is_incomplete: bool,
    /// Whether a report has changed since it was computed.
    pub(crate) stale: bool,
    /// Not to be computed again before: a storm of reports must not eat the processor.
    pub(crate) not_before: Time,
    pub(crate) changed_at: Time,
    /// When it changed for the first time since the last round.
    pub(crate) unsettled_since: Option<Time>,
    /// Since when it has not contained this node, or has been too small to stand.
    pub(crate) left_out_since: Option<Time>,
}

impl Candidate {
    /// Whether all of `ids`, which come in order of age, are in it.
    pub(crate) fn contains_all<'a>(&self, mut ids: impl Iterator<Item = &'a NodeId>) -> bool {
        let mut nodes = self.nodes.iter();
        ids.all(|id| nodes.any(|node| node == id))
    }
}
