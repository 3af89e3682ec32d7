//! What this node has sent to its peers and has to send.

use std::collections::BTreeSet;

use crate::name::NodeId;
use crate::time::Time;
use crate::view::Epoch;

/// Heartbeats: what was sent last, and what is pending.
#[derive(Clone, Debug, Hash)]
pub(crate) struct HeartbeatSender {
    /// When the next broadcast is due.
    pub(crate) next_broadcast: Time,
    /// The state in the last broadcast.
    pub(crate) last_sent: BroadcastState,
    /// When the last broadcast was.
    pub(crate) last_broadcast: Time,
    /// When the oldest node was sent the reachability last.
    pub(crate) last_report: Time,
    /// Peers that get a heartbeat at once.
    pub(crate) pending: BTreeSet<NodeId>,
}

/// The state that matters to all peers: a change of it is broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BroadcastState {
    pub(crate) reachability: u64,
    pub(crate) installed: Epoch,
    pub(crate) released_epoch: Epoch,
    pub(crate) leaving: bool,
    pub(crate) objects: bool,
    pub(crate) goodbyes: u64,
    /// How often the size that it reports got smaller.
    pub(crate) size: u64,
    /// The number of what it announces, and whether that is ready.
    pub(crate) intent: (u64, bool),
    pub(crate) warms: bool,
    pub(crate) drains: bool,
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
            size: 0,
            intent: (0, false),
            warms: false,
            drains: false,
        };
        Self {
            next_broadcast: now,
            last_sent: said,
            last_broadcast: now,
            last_report: now,
            pending: BTreeSet::new(),
        }
    }

    /// Whether all peers have been sent that this node leaves.
    pub(crate) fn has_announced_leaving(&self) -> bool {
        self.last_sent.leaving
    }

    pub(crate) fn queue(&mut self, peer: &NodeId) {
        self.pending.insert(peer.clone());
    }
}
