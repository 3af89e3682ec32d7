//! Why a message is rejected.

/// Why a message of a peer, or a part of one, was rejected. Counted by the node, see [`Node::rejections`](super::Node::rejections).
///
/// ```
/// use cloister_proto::Rejection;
///
/// for rejection in Rejection::ALL {
///     println!("cloister_rejected_total{{reason=\"{}\"}}", rejection.as_str());
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// It came by a link that is closed.
    LinkClosed,
    /// A heartbeat is not newer than the last one.
    Replayed,
    /// An epoch lies further ahead of the wall clock than any clock is plausibly off.
    EpochAhead,
    /// A proposal does not come from the oldest of its members, or this node is none of them.
    ForeignProposal,
    /// A proposal is older than a pending one.
    OldProposal,
    /// A reply or a commit belongs to no round under way.
    ForeignRound,
    /// It echoes what this node has not sent.
    EchoAhead,
    /// A message of the handshake, which is over.
    OutOfPlace,
    /// It reports an older node of this node's name, and there is none.
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

    /// The label of the counter.
    #[must_use]
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
