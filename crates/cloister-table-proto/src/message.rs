//! What tables of one name say to each other.

use std::sync::Arc;

use cloister_proto::{Epoch, Slot};

use crate::knowledge::Knowledge;
use crate::label::{Label, Seen, Stamp};
use crate::operation::{Answers, Bytes, Operation};
use crate::reports::SlotReports;

/// A view, with the incarnations of its members.
pub type ViewMembers = (Epoch, Vec<u64>);

/// What the table of one node says to that of another. Every message names the view in which its sender acts; a node that has
/// promised a later view, or was asked in one, ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The owner-to-be of these slots asks what the receiver has of them.
    Ask {
        /// The view.
        epoch: Epoch,
        /// Whether the receiver is a member of that view. Another node answers only if it leaves.
        member: bool,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// The answer to [`Message::Ask`].
    Reports {
        /// The view.
        epoch: Epoch,
        /// The greatest epoch of a view that the sender knows to be installed.
        installed: Epoch,
        /// That view and later ones that the sender promised, with the incarnations of their members; `None` if the sender does not
        /// take part.
        views: Option<Vec<ViewMembers>>,
        /// What the sender has; slots of which it has nothing and knows nothing are left out.
        reports: SlotReports,
    },
    /// Content that the receiver reported is that of the view, or lacks only the last writes.
    Relabel {
        /// The view.
        epoch: Epoch,
        /// The slots.
        slots: Vec<Relabel>,
    },
    /// The answer to [`Message::Relabel`].
    Relabelled {
        /// The view.
        epoch: Epoch,
        /// The slots that the sender has as they were named.
        slots: Vec<Slot>,
    },
    /// What was seen of slots before this view.
    Inform {
        /// The view.
        epoch: Epoch,
        /// The greatest epoch of an installed view before it that its owner has heard of.
        follows: Epoch,
        /// The slots.
        slots: Vec<(Slot, Seen)>,
    },
    /// The sender remembers it.
    Informed {
        /// The view.
        epoch: Epoch,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// The owner asks the receiver to fetch a slot from it.
    Learn {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
    },
    /// Asks for the content of a slot.
    Fetch {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The number of the attempt, which the answers repeat.
        attempt: u64,
        /// The content that the sender has already, at the beginning.
        have: Option<Label>,
        /// How much of it has arrived; `None` at the beginning.
        cursor: Option<Cursor>,
    },
    /// The answer to [`Message::Fetch`].
    Chunk {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The number of the attempt.
        attempt: u64,
        /// How much had arrived: it goes on from there.
        cursor: Option<Cursor>,
        /// The label of the content at the time of this chunk.
        label: Label,
        /// The label of its last write.
        written: Label,
        /// What it brings.
        body: ChunkBody,
    },
    /// A write, from the owner to a copy.
    Replicate {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The write.
        operation: Operation,
    },
    /// A copy has all writes up to this number.
    Replicated {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The number of the last one.
        number: u64,
    },
    /// From the write of this number on none is acknowledged without the receiver: its copy is complete.
    Count {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The number of the last write that was acknowledged without it.
        number: u64,
    },
    /// The sender's copy is complete.
    Counted {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
    },
    /// The receiver is to remember what will have been seen of these slots. Without a slot, it is asked whether what was sent before has come.
    Seal {
        /// The view.
        epoch: Epoch,
        /// The slots.
        slots: Vec<(Slot, Seen)>,
    },
    /// The sender remembers it.
    Sealed {
        /// The view.
        epoch: Epoch,
        /// The slots.
        slots: Vec<(Slot, Seen)>,
    },
    /// All copies of the slot are complete without the receiver: it drops its content.
    Release {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
    },
    /// The sender has dropped its content of the slot.
    Released {
        /// The view.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
    },
}

/// A slot whose content the receiver has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relabel {
    /// The slot.
    pub slot: Slot,
    /// What the receiver reported.
    pub reported: Stamp,
    /// The label of the content of the view.
    pub label: Label,
    /// The label of its last write.
    pub written: Label,
    /// The writes that the receiver lacks; `None` if it is to fetch the content.
    pub missing: Option<Vec<Operation>>,
}

/// What a node knows of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The slot.
    pub slot: Slot,
    /// The content that the node has.
    pub stamp: Stamp,
    /// What the node knows to have been seen of the slot.
    pub seen: Seen,
    /// Up to which view the node knows all that was seen.
    pub knows: Arc<Knowledge>,
}

impl SlotReport {
    /// Nothing is known of the slot.
    pub(crate) fn nothing(slot: Slot) -> Self {
        Self { slot, stamp: Stamp::NONE, seen: Seen::NOTHING, knows: Arc::default() }
    }
}

/// How much of a content has arrived: the answers come first, by client and number, then the entries, in order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The answers up to this one.
    Answer {
        /// Whose it is.
        client: u64,
        /// Its number; if there is none, the last one that its client does not repeat any more.
        number: u64,
    },
    /// All answers, and the entries up to this key.
    Key(Bytes),
}

/// What a [`Message::Chunk`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkBody {
    /// The writes that lead from what the receiver has to the content.
    Tail(Vec<Operation>),
    /// Entries, in order of their keys.
    Entries {
        /// Keys and values.
        entries: Vec<(Bytes, Bytes)>,
        /// The answers of operations that clients may repeat, before the entries.
        clients: Vec<(u64, Answers)>,
        /// Whether the content ends here.
        is_last: bool,
    },
}

impl Message {
    /// The view in which the sender acts.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Message::Ask { epoch, .. }
            | Message::Reports { epoch, .. }
            | Message::Relabel { epoch, .. }
            | Message::Relabelled { epoch, .. }
            | Message::Inform { epoch, .. }
            | Message::Informed { epoch, .. }
            | Message::Learn { epoch, .. }
            | Message::Fetch { epoch, .. }
            | Message::Chunk { epoch, .. }
            | Message::Replicate { epoch, .. }
            | Message::Replicated { epoch, .. }
            | Message::Count { epoch, .. }
            | Message::Counted { epoch, .. }
            | Message::Seal { epoch, .. }
            | Message::Sealed { epoch, .. }
            | Message::Release { epoch, .. }
            | Message::Released { epoch, .. } => *epoch,
        }
    }
}
