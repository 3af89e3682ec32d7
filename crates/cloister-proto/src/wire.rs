//! What nodes say to each other, and its bytes.
//!
//! Protocol buffers, so that fields can be added without breaking a rolling update. Bytes from a peer are
//! hostile: every length is bounded and every decode ends in a `Result`.

mod frame;
mod lives;

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use thiserror::Error;

pub use lives::Lives;

use crate::hello::{Hello, Refusal};
use crate::memory::Memory;
use crate::name::{NameError, NodeId};
use crate::settings::LONGEST;
use crate::view::{Epoch, View};

/// The longest frame, in bytes.
pub const MAX_FRAME_LEN: usize = 1 << 20;

/// The most members in one message.
pub const MAX_MEMBERS: usize = 4096;

/// The most views that one goodbye hands over.
pub const MAX_BASES: usize = 256;

/// The most earlier lives that one node remembers.
pub const MAX_FORMER: usize = 256;

/// The most tags of one node.
pub const MAX_TAGS: usize = 32;

/// The longest tag, in bytes.
pub const MAX_TAG_LEN: usize = 64;

/// The greatest epoch that is taken from a peer: half of the range, reached by the clock in the year 2248.
pub const MAX_EPOCH: Epoch = Epoch::from_u64(1 << 63);

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// The first word on a new link. Never reaches the core's state machine.
    Hello(Hello),
    /// The last word on a link that does not fit. Never reaches the core's state machine.
    Refused(Refusal),
    /// I live, and this is how things are here.
    Heartbeat(Heartbeat),
    /// Let this be the next view. Its sender is the proposer.
    Propose(View),
    /// A member's word on a proposal.
    Reply {
        /// The epoch of the proposal.
        epoch: Epoch,
        /// What the member says.
        answer: Answer,
    },
    /// Every member has prepared: install.
    Commit {
        /// The epoch of the proposal.
        epoch: Epoch,
    },
    /// You have the name of an older node that lives: end.
    DuplicateName {
        /// The older node.
        older: NodeId,
    },
}

/// A member's word on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// I take part in no earlier view any more; my listeners are being told.
    Promise,
    /// None of my listeners holds it: I am prepared.
    Ack,
    /// No: I have promised this higher epoch.
    Overtaken(Epoch),
    /// No: I am on my way out.
    Leaving,
}

/// I live, and this is how things are here.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Heartbeat {
    /// The sender's clock when it sent this, in nanoseconds; rises with each heartbeat on a link.
    pub sent: u64,
    /// The newest `sent` that the sender has handled from the receiver; 0 for none.
    pub echo: u64,
    /// For how long the sender's process has run.
    pub age: Duration,
    /// Whom the sender hears.
    pub reach: Reach,
    /// The epoch of the last view the sender installed; zero for none ever.
    pub installed: Epoch,
    /// The highest epoch it has promised.
    pub promised: Epoch,
    /// Whether it is prepared for `promised`.
    pub prepared: bool,
    /// It claims nothing from views at or below this epoch.
    pub retired: Epoch,
    /// The highest epoch it has heard of.
    pub highest: Epoch,
    /// What its wall clock shows, in milliseconds since the Unix epoch; 0 from builds that do not say.
    pub unix_ms: u64,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether it waits for its first lease and would like an answer at once. Answers do not ask.
    pub asks: bool,
    /// How many nodes its cluster counts, by its own count; 0 for a node that was in none.
    pub size: usize,
    /// Its newest view: the one it installed last, or one that it acknowledged since; zero for none.
    pub base: Epoch,
    /// Whether it can neither follow its views nor begin a cluster with the nodes that it hears.
    pub objects: bool,
    /// Goodbyes that the receiver has not been sent before.
    pub goodbyes: Vec<Goodbye>,
    /// Earlier lives of the sender's process which the views that it remembers name. They have ended.
    pub former: Vec<NodeId>,
}

/// That a node has left in order, and what it hands over.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Goodbye {
    /// The node.
    pub life: NodeId,
    /// The view that it installed last, and those that it acknowledged since. A view without members is the one of this
    /// epoch that the receiver has installed.
    pub bases: Vec<View>,
}

/// Whom a node hears.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Reach {
    /// These nodes, itself included, in order of age.
    Nodes(Arc<[NodeId]>),
    /// The same as in the heartbeat before, with this hash.
    Same(u64),
}

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// More bytes than a frame may have.
    #[error("a frame of {len} bytes is over the limit of {MAX_FRAME_LEN}")]
    TooLong {
        /// How many there were.
        len: usize,
    },
    /// Not protocol buffers, or fields of other types.
    #[error("a frame is malformed: {0}")]
    Malformed(String),
    /// A field that must be there is not.
    #[error("a frame lacks `{0}`")]
    Missing(&'static str),
    /// A kind of message of a later protocol, or none.
    #[error("a frame of an unknown kind")]
    UnknownKind,
    /// A node name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More elements than a collection may have.
    #[error("`{field}` has {len} elements, over the limit of {most}")]
    TooMany {
        /// The collection.
        field: &'static str,
        /// How many there were.
        len: usize,
        /// How many there may be.
        most: usize,
    },
    /// An epoch that no clock can have reached.
    #[error("epoch {0} is out of range")]
    Epoch(u64),
    /// A lease that no node can be configured to have: who grants it could not be left out of a view for as long.
    #[error("a lease of {0:?} is over the limit of {LONGEST:?}")]
    Lease(Duration),
}

impl Memory {
    /// The bytes of this memory, for a file.
    pub fn encode(&self) -> Vec<u8> {
        frame::MemoryFrame::from(self).encode_to_vec()
    }

    /// The memory that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Memory, WireError> {
        let frame = frame::MemoryFrame::decode(bytes);
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.memory()
    }
}

impl Message {
    /// The bytes of this message, without a length prefix.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = frame::Frame::from(self).encode_to_vec();
        if let Message::Hello(hello) = self {
            bytes.extend(frame::beyond(&hello.beyond));
        }
        bytes
    }

    /// The message that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        Self::decode_with(bytes.to_vec(), &mut Lives::default())
    }

    /// The message that `bytes` stand for. Ids that are in `lives` are taken from there, others are added.
    pub fn decode_with(bytes: Vec<u8>, lives: &mut Lives) -> Result<Message, WireError> {
        if bytes.len() > MAX_FRAME_LEN {
            return Err(WireError::TooLong { len: bytes.len() });
        }
        let frame = frame::Frame::decode(Bytes::from(bytes));
        frame.map_err(|e| WireError::Malformed(e.to_string()))?.message(lives)
    }

    /// A word for logs and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Hello(_) => "hello",
            Message::Refused(_) => "refused",
            Message::Heartbeat(_) => "heartbeat",
            Message::Propose(_) => "propose",
            Message::Reply { answer: Answer::Promise, .. } => "promise",
            Message::Reply { answer: Answer::Ack, .. } => "ack",
            Message::Reply { .. } => "nack",
            Message::Commit { .. } => "commit",
            Message::DuplicateName { .. } => "duplicate_name",
        }
    }
}
