//! What the actors of a table are sent.

use cloister_core::Message;
use cloister_table_proto::{Bytes, OperationId};
use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::options::encode;
use crate::watching::{Filter, Watched};

/// What the actor of a table takes, from this node and from others.
#[derive(Debug, Message)]
#[message(crate = "cloister_core", name = "cloister.table")]
pub(crate) enum TableMessage {
    /// From this table at the node of this incarnation.
    Packet { from: u64, packet: Packet },
    /// How many entries are owned here in the view of this epoch.
    Count { epoch: u64, reply: RpcReplyPort<Option<u64>> },
    /// The node of this incarnation watches, in the view of this epoch, what its filter has. A watch of the same number is over.
    Watch { from: u64, watch: u64, epoch: u64, filter: Filter },
    /// A watch is over.
    Unwatch { from: u64, watch: u64 },
    /// What a watcher has asked for.
    Watched { watched: Watched },
    /// The node of this incarnation leaves: it takes no entries any more.
    Leaves { from: u64 },
    /// What waits to be sent is sent.
    Flush,
    /// Answered when what came before it was taken in.
    Turn { reply: RpcReplyPort<()> },
}

/// What a table sends to another node at once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Packet {
    /// From shards, each to the same shard there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) batches: Vec<(u8, Blob)>,
    /// Operations, to the owner of their keys, with the numbers that their answers name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) requests: Vec<(u64, Request)>,
    /// The answers to such operations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) answers: Vec<(u64, Answer)>,
}

impl Packet {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.requests.is_empty() && self.answers.is_empty()
    }
}

/// An operation of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The view of the client.
    pub(crate) epoch: u64,
    pub(crate) key: Blob,
    /// What names it at its client if it may write.
    pub(crate) id: Option<RequestId>,
    pub(crate) operation: Operation,
}

impl Request {
    /// About how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        let of = |blob: &Option<Blob>| blob.as_ref().map_or(0, |blob| blob.0.len());
        let operation = match &self.operation {
            Operation::Get | Operation::Remove => 0,
            Operation::Insert { value, .. } => value.0.len(),
            Operation::Swap { expected, new } => of(expected) + of(new),
            Operation::Update { function, argument } => function.len() + argument.0.len(),
            Operation::Deliver { message, .. } => message.0.len(),
        };
        self.key.0.len() + operation
    }
}

/// What names an operation; see [`OperationId`](cloister_table_proto::OperationId).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestId {
    pub(crate) client: u64,
    pub(crate) number: u64,
    pub(crate) settled: u64,
}

impl From<RequestId> for OperationId {
    fn from(RequestId { client, number, settled }: RequestId) -> Self {
        Self { client, number, settled }
    }
}

/// What is done with a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Operation {
    Get,
    /// Its value is there for so many milliseconds; if that is `None`, for as long as the table says.
    Insert {
        value: Blob,
        for_ms: Option<u64>,
    },
    Remove,
    Swap {
        expected: Option<Blob>,
        new: Option<Blob>,
    },
    Update {
        function: String,
        argument: Blob,
    },
    /// A message for what runs at the owner.
    Deliver {
        message: Blob,
        one_way: bool,
        /// What names it at those that have sent it before, if it is passed on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<RequestId>,
    },
}

/// What the owner of a key says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A read, done.
    Done(Outcome),
    /// A write, done. The bytes are an [`Outcome`], as the copies keep them for when the client asks again.
    Written(Blob),
    /// It was not begun, for this reason, and may be sent again.
    Refused(String),
    /// It was begun in a view that has ended since.
    Uncertain,
    /// The table waits for a copy of the slot.
    Lost,
    /// Too much waits at the owner; it was not begun.
    Busy,
    /// The table has ended or begun anew, or its service has dropped the operation, which may have been done.
    Dropped,
}

impl Answer {
    /// About how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Answer::Done(
                Outcome::Value(Some(bytes)) | Outcome::Other(Some(bytes)) | Outcome::Returned(bytes),
            )
            | Answer::Written(bytes) => bytes.0.len(),
            Answer::Refused(cause) | Answer::Done(Outcome::Failed(cause)) => cause.len(),
            _ => 0,
        }
    }
}

/// What an operation has found or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The value that is there, or was there before.
    Value(Option<Blob>),
    Swapped,
    /// The key has another value than the expected one.
    Other(Option<Blob>),
    /// What the function returned, or what a message was answered.
    Returned(Blob),
    UnknownFunction,
    /// The function failed, and the key is as it was.
    Failed(String),
    /// Nothing here takes messages for keys.
    NoService,
    /// The tables of the owner have as many bytes as they may, and the key is as it was.
    Full {
        bytes: u64,
        #[serde(rename = "most")]
        max: u64,
    },
}

impl Outcome {
    /// As the copies keep it.
    pub(crate) fn encoded(&self) -> Bytes {
        // Bytes and text: it cannot fail.
        encode(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod golden;
