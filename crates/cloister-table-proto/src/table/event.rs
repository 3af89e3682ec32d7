//! What a table hears of, and what it has its shell do.

use cloister_proto::{Epoch, NodeId, Slot};

use super::holding::Discarded;
use crate::message::Message;
use crate::operation::{Bytes, Token, Uncertain};
use crate::placement::Placement;
use crate::settled::Settled;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The node has promised the view of this placement: it is being agreed on.
    Promised(Placement),
    /// The node is up in the view of this placement.
    Up(Placement),
    /// The node has lost its view and has promised none.
    Down,
    /// These copies are planned for the next view while the present one goes on; `None` when nothing is planned any more.
    Planned(Option<Placement>),
    /// The node leaves in order: it claims nothing any more, and hands over what it has.
    Leaves,
    /// The node has a link to a peer.
    Linked(NodeId),
    /// The node has lost its link to a peer.
    Unlinked(NodeId),
    /// A message of a peer's table came in.
    Received {
        /// The peer.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// The operator accepts that the slots that wait for their copies are lost: they go on empty.
    AcceptLoss,
    /// Clients have said this to other parts of the table at this node: the answers of what they do not repeat any more are dropped.
    Settled(Settled),
    /// Time has passed: what was not answered since the last tick is sent again. Writes are where they were lost, not where they are slow.
    Tick,
}

/// Something that the shell does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends a message to a peer's table, in order.
    Send {
        /// The peer.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Answers a write.
    Answer {
        /// What the shell named the write with.
        token: Token,
        /// What the write made of the key, once every complete copy has it.
        answer: Result<Bytes, Uncertain>,
    },
    /// This node serves the slot from now on: calls that wait for it can go on.
    Serves(Slot),
    /// Acknowledged writes of the slot are lost.
    Lost {
        /// The slot.
        slot: Slot,
        /// All complete copies were gone when its view began, and it goes on empty. Else that is not known: no member of the view knows
        /// all that was seen up to the view before. The slot goes on with what there is.
        is_certain: bool,
    },
    /// All complete copies of the slot were gone when its view began: it waits for one of them, see [`OnLoss::Wait`](crate::OnLoss::Wait).
    WaitsForCopy(Slot),
    /// The view of this epoch may begin, as far as this node is concerned.
    ReleaseView(Epoch),
    /// The planned round may begin, as far as this node is concerned.
    ReleasePlanned,
    /// This node may stop: what it had is elsewhere.
    ReleaseLeave,
    /// Content that this node has no more. To be dropped at leisure: it may have many rows.
    Discard(Discarded),
    /// The view of `epoch` follows a later one than the membership knows of: nodes that left had it, and handed over what it made. A client
    /// of this node that was no member of that view was forgotten in it, see [`Membership::follows`](crate::Membership::follows).
    Follows {
        /// The epoch of the present view.
        epoch: Epoch,
        /// The epoch of the view before it.
        predecessor: Epoch,
    },
}
