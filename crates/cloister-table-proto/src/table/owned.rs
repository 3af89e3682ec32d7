//! What the owner of a slot knows of it.

use super::decide::Loss;
use super::nodes::{NodeMap, NodeSet, Peer};
use crate::label::{Label, Stamp};

/// A slot that this node owns in the present view.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The members that have not confirmed that they know.
    pub(super) unsealed: NodeSet,
    /// The other nodes with a copy.
    pub(super) replicas: NodeMap<Replica>,
    /// Nodes that have content of the slot which is no copy.
    pub(super) leftovers: NodeSet,
}

/// Content that another node reported.
#[derive(Clone, Copy, Debug, PartialEq)]
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Replica {
    pub(super) role: Role,
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

/// What changes what is known of a slot that nothing is written to. Slots that are alike change alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Ready,
    Pulled,
    /// Members get what will have been seen, and the slot waits for them or not. It is served if it waits for none.
    Seals(bool),
    /// The view writes.
    Writes,
    /// This node confirmed something.
    Informed(Peer),
    Relabelled(Peer),
    Sealed(Peer),
    Replicated(Peer),
    Counted(Peer),
    Released(Peer),
    /// This node is asked for something, or fetches the content.
    Learns(Peer),
    Warms(Peer),
    Streams(Peer),
    Leaves(Peer),
    /// Its link is closed.
    Unlinked(Peer),
    StopsWarming,
}

impl Role {
    /// Whether no write is acknowledged without it.
    pub(super) fn is_waited_for(self) -> bool {
        matches!(self, Role::Joins | Role::Counts | Role::Leaves)
    }

    /// Whether writes that it has not acknowledged are sent to it again.
    pub(super) fn is_sent_again(self) -> bool {
        matches!(self, Role::Joins | Role::Counts | Role::Warms { done: true, .. })
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

    /// Whether it is served, all nodes with copies that should have them have one, and no other node has to answer anything.
    pub(super) fn is_settled(&self) -> bool {
        let waits = |replica: &Replica| replica.role != Role::Counts;
        self.serves
            && self.relabels.iter().next().is_none()
            && self.informs.is_empty()
            && self.unsealed.is_empty()
            && self.leftovers.is_empty()
            && !self.replicas.values().any(waits)
    }

    /// Whether its content is here, and all members know what was seen of it.
    pub(super) fn may_be_ready(&self) -> bool {
        self.decided && !self.pulls && !self.waits_for_copy && self.informs.is_empty()
    }

    /// A member knows what was seen before the view.
    pub(super) fn informed(&mut self, from: Peer) {
        self.informs.remove(from);
        self.ready = self.ready || self.may_be_ready();
    }

    /// A node has the content as it was named.
    pub(super) fn relabelled(&mut self, from: Peer) {
        let Some(claimed) = self.relabels.remove(from) else { return };
        if claimed.counts && !self.replicas.contains(from) {
            self.replicas.insert(from, Replica { role: Role::Counts });
        }
    }

    pub(super) fn has_role(&self, peer: Peer, role: Role) -> bool {
        self.replicas.get(peer).is_some_and(|replica| replica.role == role)
    }

    pub(super) fn set_role(&mut self, peer: Peer, role: Role) {
        if let Some(replica) = self.replicas.get_mut(peer) {
            replica.role = role;
        }
    }

    /// A copy has all writes up to a number.
    pub(super) fn replicated(&mut self, peer: Peer) {
        let Some(replica) = self.replicas.get_mut(peer) else { return };
        match replica.role {
            Role::Learns { streams: true } => replica.role = Role::Joins,
            Role::Warms { streams, .. } => replica.role = Role::Warms { streams, done: true },
            Role::Learns { streams: false } | Role::Joins | Role::Counts | Role::Leaves => {}
        }
    }

    /// A copy that is being made at this node gets each write from now on.
    pub(super) fn streams_to(&mut self, peer: Peer) {
        if let Some(Role::Learns { streams } | Role::Warms { streams, .. }) =
            self.replicas.get_mut(peer).map(|replica| &mut replica.role)
        {
            *streams = true;
        }
    }

    /// Whether a copy that is being made at this node starts again if the link to it closes.
    pub(super) fn has_stream_to(&self, peer: Peer) -> bool {
        let makes =
            |replica: &Replica| matches!(replica.role, Role::Learns { streams: true } | Role::Warms { .. });
        self.replicas.get(peer).is_some_and(makes)
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
}
