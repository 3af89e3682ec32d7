//! What the core asks the shell to do.

use thiserror::Error;

use crate::change::Transition;
use crate::event::LinkId;
use crate::memory::Memory;
use crate::message::Message;
use crate::name::NodeId;

/// What the core asks the shell to do. The shell performs actions in order and does not answer.
#[derive(Clone, Debug, Hash)]
pub enum Action {
    /// Send a message; one that cannot be sent is lost, and the link will be reported closed.
    Send {
        /// By which link.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Close a link. The shell reports it closed, as any other.
    Close {
        /// Which one.
        link: LinkId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Connect to a peer that is not linked: dial its address at once, whatever discovery finds.
    Connect {
        /// The peer.
        peer: NodeId,
    },
    /// Notify listeners of a change. If the change holds a round, the shell reports
    /// [`Event::HoldReleased`](crate::Event::HoldReleased) when no listener holds it any more.
    Notify(Transition),
    /// Keep this over a restart of the process, in the place of all before; then report
    /// [`Event::Persisted`](crate::Event::Persisted). Comes only where [`Settings::memory`](crate::Settings::memory) is given.
    Persist {
        /// The number of the memory; each is greater than the one before. The last one may be kept alone.
        seq: u64,
        /// What is to be kept.
        memory: Memory,
    },
    /// This node, which drains ([`Event::Drain`](crate::Event::Drain)), may leave: the others have warmed up, or are not waited for.
    LeavePrepared,
    /// This node cannot go on.
    Fail(Fatal),
    /// This node has left; nothing follows.
    Stopped,
}

/// Why the core closes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// No byte came in for `unreachable_after`.
    Silent,
    /// Bytes came in, but no heartbeat: the peer's cluster part hangs.
    Hung,
    /// A younger process answers at the peer's address, and the peer sends nothing any more.
    Replaced,
    /// The peer has a name that a living member already has.
    DuplicateName,
}

impl CloseReason {
    /// A few words for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::Silent => "silent",
            CloseReason::Hung => "no heartbeat",
            CloseReason::Replaced => "replaced by a younger process",
            CloseReason::DuplicateName => "its name is taken",
        }
    }
}

/// Why a node cannot go on.
///
/// ```
/// use cloister_proto::Fatal;
///
/// fn report(fatal: &Fatal) {
///     eprintln!("the node cannot go on: {fatal}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fatal {
    /// An older node that lives has the same name.
    #[error(
        "two live nodes call themselves {}: the older is {older}, this one is {me}; \
         give this one an address of its own (`host`, `port`) or another `name`",
        me.name()
    )]
    DuplicateName {
        /// This node.
        me: NodeId,
        /// The node that had the name first.
        older: NodeId,
    },
}
