//! What this node has sent to its peers, and has to send.

use std::collections::BTreeSet;

use crate::name::NodeId;
use crate::time::Time;
use crate::view::Epoch;

/// What this node has said and has to say.
#[derive(Clone, Debug, Hash)]
pub(crate) struct HeartbeatSender {
    /// When the next heartbeat to all is due.
    pub(crate) next_broadcast: Time,
    /// What was said last, as far as it matters to all.
    pub(crate) last_sent: BroadcastState,
    /// When that was.
    pub(crate) last_broadcast: Time,
    /// When the oldest was told a reach last.
    pub(crate) last_report: Time,
    /// Peers that should hear at once.
    pub(crate) pending: BTreeSet<NodeId>,
}

/// What matters to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BroadcastState {
    pub(crate) reachability: u64,
    pub(crate) installed: Epoch,
    pub(crate) released_epoch: Epoch,
    pub(crate) leaving: bool,
    pub(crate) objects: bool,
    pub(crate) goodbyes: u64,
}

impl HeartbeatSender {
    pub(crate) fn new(now: Time) -> Self {
        let said = BroadcastState {
            reachability: 0,
            installed: Epoch::ZERO,
            released_epoch: Epoch::ZERO,
            leaving: false,
            objects: false,
            goodbyes: 0,
        };
        Self {
            next_broadcast: now,
            last_sent: said,
            last_broadcast: now,
            last_report: now,
            pending: BTreeSet::new(),
        }
    }

    /// Whether all have been told that this node leaves.
    pub(crate) fn has_announced_leaving(&self) -> bool {
        self.last_sent.leaving
    }

    pub(crate) fn queue(&mut self, peer: &NodeId) {
        self.pending.insert(peer.clone());
    }
}
