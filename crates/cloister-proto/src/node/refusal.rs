//! What a node does not believe of a peer, though the peer has authenticated itself.

use std::collections::BTreeMap;

use super::Node;

/// Why a message of a peer, or a part of one, was ignored. Counted by the node, see [`Node::refusals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Disbelief {
    /// It came by a link that is closed.
    LinkClosed,
    /// A heartbeat is not newer than the last one.
    Replayed,
    /// An epoch lies further ahead of the wall clock than any clock is off.
    EpochAhead,
    /// A proposal does not come from the oldest of its members, or this node is none of them.
    ForeignProposal,
    /// A proposal is older than one that this node thinks about.
    OldProposal,
    /// An answer or a commit belongs to no round that is under way here.
    ForeignRound,
    /// It echoes what this node has not said.
    EchoAhead,
    /// A word of the handshake, which is over.
    OutOfPlace,
    /// It says that an older node has this node's name, and that is not so.
    ForeignName,
}

impl Disbelief {
    /// All of them.
    pub const ALL: [Disbelief; 9] = [
        Disbelief::LinkClosed,
        Disbelief::Replayed,
        Disbelief::EpochAhead,
        Disbelief::ForeignProposal,
        Disbelief::OldProposal,
        Disbelief::ForeignRound,
        Disbelief::EchoAhead,
        Disbelief::OutOfPlace,
        Disbelief::ForeignName,
    ];

    /// A word for a counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Disbelief::LinkClosed => "link_closed",
            Disbelief::Replayed => "replayed",
            Disbelief::EpochAhead => "epoch_ahead",
            Disbelief::ForeignProposal => "foreign_proposal",
            Disbelief::OldProposal => "old_proposal",
            Disbelief::ForeignRound => "foreign_round",
            Disbelief::EchoAhead => "echo_ahead",
            Disbelief::OutOfPlace => "out_of_place",
            Disbelief::ForeignName => "foreign_name",
        }
    }
}

impl Node {
    /// How often each thing was not believed since this node began. Some of it is ordinary: an answer that comes
    /// when its round is over, for one.
    pub fn refusals(&self) -> &BTreeMap<Disbelief, u64> {
        &self.refusals
    }

    pub(super) fn disbelieve(&mut self, what: Disbelief) {
        let count = self.refusals.entry(what).or_default();
        *count = count.saturating_add(1);
    }
}
