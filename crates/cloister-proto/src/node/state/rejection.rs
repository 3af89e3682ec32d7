//! Why a message is rejected.

/// Why a message of a peer, or a part of one, was ignored. Counted by the node, see [`Node::rejections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
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

impl Rejection {
    /// All of them.
    pub const ALL: [Rejection; 9] = [
        Rejection::LinkClosed,
        Rejection::Replayed,
        Rejection::EpochAhead,
        Rejection::ForeignProposal,
        Rejection::OldProposal,
        Rejection::ForeignRound,
        Rejection::EchoAhead,
        Rejection::OutOfPlace,
        Rejection::ForeignName,
    ];

    /// A word for a counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Rejection::LinkClosed => "link_closed",
            Rejection::Replayed => "replayed",
            Rejection::EpochAhead => "epoch_ahead",
            Rejection::ForeignProposal => "foreign_proposal",
            Rejection::OldProposal => "old_proposal",
            Rejection::ForeignRound => "foreign_round",
            Rejection::EchoAhead => "echo_ahead",
            Rejection::OutOfPlace => "out_of_place",
            Rejection::ForeignName => "foreign_name",
        }
    }
}
