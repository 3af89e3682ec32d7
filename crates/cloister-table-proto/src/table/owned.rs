//! What the owner of a slot knows of it.

use std::collections::VecDeque;

use super::decide::Loss;
use super::nodes::{NodeMap, NodeSet, Peer};
use crate::label::{Label, Seen, Stamp};
use crate::operation::{Bytes, Operation, Token};

/// A slot that this node owns in the present view.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// Whether it is decided where the content comes from.
    pub(super) decided: bool,
    /// Whether the content is on its way here.
    pub(super) pulls: bool,
    /// The nodes that have the content, or lack only its last writes, and have not confirmed that it is that of the view.
    pub(super) relabels: NodeMap<Claimed>,
    /// The members that have not confirmed that they know what was seen before the view.
    pub(super) informs: NodeSet,
    /// All complete copies were gone.
    pub(super) loss: Option<Loss>,
    pub(super) is_loss_reported: bool,
    /// A member knew what was seen up to the view before.
    pub(super) is_known: bool,
    /// It waits for one of them.
    pub(super) waits_for_copy: bool,
    /// The content is here.
    pub(super) ready: bool,
    /// It is ready, its view is installed, and what it begins from is sealed.
    pub(super) serves: bool,
    /// Whether members get what will have been seen.
    pub(super) is_sealing: bool,
    /// What all members are to know to have been seen.
    pub(super) seal: Seen,
    /// The members that have not confirmed that they know.
    pub(super) unsealed: NodeSet,
    /// The other nodes with a copy.
    pub(super) replicas: NodeMap<Replica>,
    /// Nodes that have content of the slot which is no copy.
    pub(super) leftovers: NodeSet,
    /// Writes that not every copy has, in order.
    pub(super) pending: VecDeque<Pending>,
    /// The number of the last write that every complete copy has.
    pub(super) committed: u64,
    /// The number of the last write at the last tick.
    pub(super) at_last_tick: u64,
}

/// Content that another node reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed {
    pub(super) reported: Stamp,
    /// The label of the content of the view, and that of its last write.
    pub(super) label: Label,
    pub(super) written: Label,
    /// Whether it lacks the last writes.
    pub(super) lags: bool,
    /// Whether it is a copy from now on.
    pub(super) counts: bool,
}

/// Another node's copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    pub(super) role: Role,
    /// The number of the last write that it has.
    pub(super) acked: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It fetches the content, and gets new writes if it `streams`.
    Learns { streams: bool },
    /// It fetches the content for a planned view.
    Warms { streams: bool, done: bool },
    /// No write is acknowledged without it; it does not know that.
    Joins,
    /// No write is acknowledged without it, and it knows that.
    Counts,
    /// It has been asked to drop its copy.
    Leaves,
}

/// A write that not every copy has, or an answer that waits for the writes before it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) operation: Option<Operation>,
    /// The value of the key before.
    pub(super) before: Option<Bytes>,
    pub(super) answers: Vec<(Token, Bytes)>,
}

impl Role {
    /// Whether no write is acknowledged without it.
    pub(super) fn is_waited_for(self) -> bool {
        matches!(self, Role::Joins | Role::Counts | Role::Leaves)
    }

    /// Whether it gets new writes.
    pub(super) fn gets_writes(self) -> bool {
        match self {
            Role::Learns { streams } | Role::Warms { streams, .. } => streams,
            Role::Joins | Role::Counts => true,
            Role::Leaves => false,
        }
    }
}

impl Owned {
    /// Whether a node lacks the last writes of the content from which the view begins.
    pub(super) fn has_lagging(&self) -> bool {
        self.relabels.values().any(|claimed| claimed.lags)
    }

    /// Whether it is served, all copies have all of it, and no other node has to answer anything.
    pub(super) fn is_settled(&self) -> bool {
        let waits = |replica: &Replica| replica.role != Role::Counts;
        self.serves
            && self.pending.is_empty()
            && self.relabels.iter().next().is_none()
            && self.informs.is_empty()
            && self.unsealed.is_empty()
            && self.leftovers.is_empty()
            && !self.replicas.values().any(waits)
    }

    /// The link to a peer is closed: a copy that is being made starts again from what it has.
    pub(super) fn stop_stream(&mut self, peer: Peer) {
        let Some(replica) = self.replicas.get_mut(peer) else { return };
        match replica.role {
            Role::Learns { .. } => replica.role = Role::Learns { streams: false },
            // A node that warms up need not be a member: no view follows if it ends.
            Role::Warms { .. } => {
                self.replicas.remove(peer);
            }
            Role::Joins | Role::Counts | Role::Leaves => {}
        }
    }

    /// A write is under way. Most slots have one at a time, so there is room for one, and for half as many again where there are more.
    pub(super) fn push(&mut self, pending: Pending) {
        let under_way = self.pending.len();
        if under_way == self.pending.capacity() {
            self.pending.reserve_exact((under_way / 2).max(1));
        }
        self.pending.push_back(pending);
    }

    /// The value of a key that every complete copy has, if a later one is under way.
    pub(super) fn committed_value(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        let writes =
            |pending: &&Pending| pending.operation.as_ref().is_some_and(|operation| *operation.key == *key);
        self.pending.iter().find(writes).map(|pending| &pending.before)
    }
}
