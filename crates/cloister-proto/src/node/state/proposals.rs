//! Proposed views: the promised one, one that may not be promised yet, and the one of this node's own round.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::PersistState;
use crate::name::NodeId;
use crate::settings::Timing;
use crate::time::Time;
use crate::view::View;

/// The view that this node has promised to install at a commit.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Promise {
    pub(crate) view: Arc<View>,
    pub(crate) proposer: NodeId,
    pub(crate) since: Time,
    /// Whether it is acknowledged: no listener holds it, and it is persisted if it must be.
    pub(crate) prepared: bool,
    /// How far it is persisted.
    pub(crate) persist_state: PersistState,
}

/// A proposal that this node may not promise yet.
#[derive(Clone, Debug, Hash)]
pub(crate) struct PendingProposal {
    pub(crate) view: Arc<View>,
    pub(crate) proposer: NodeId,
    pub(crate) since: Time,
}

/// A view that this node has proposed.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Round {
    pub(crate) view: Arc<View>,
    pub(crate) started_at: Time,
    pub(crate) promised: BTreeSet<NodeId>,
    pub(crate) acked: BTreeSet<NodeId>,
}

impl Round {
    pub(crate) fn ends(&self, timing: &Timing) -> Time {
        self.started_at + timing.rehash_timeout + 3 * timing.heartbeat_every
    }

    pub(crate) fn waits_for(&self) -> Vec<NodeId> {
        self.view.ids().filter(|id| !self.acked.contains(id)).cloned().collect()
    }

    pub(crate) fn is_answered_by_all(&self, answers: &BTreeSet<NodeId>) -> bool {
        answers.len() == self.view.members().len()
    }
}
