//! What the actors of a table are sent.

use std::fmt;
use std::sync::Arc;

use cloister_core::Message;
use ractor::RpcReplyPort;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that travel as bytes, not as a list of numbers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Arc<[u8]>);

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

/// What the actor of a table takes, from this node and from others.
#[derive(Debug, Message)]
#[message(crate = "cloister_core", name = "cloister.table")]
pub(crate) enum TableMessage {
    /// From a shard of this table at another node to the same shard here.
    Peer {
        /// The incarnation of the sender.
        from: u64,
        shard: u8,
        bytes: Blob,
    },
    /// An operation, to the owner of its key.
    Operate { request: Request, reply: RpcReplyPort<Answer> },
    /// How many entries are owned here in the view of this epoch.
    Count { epoch: u64, reply: RpcReplyPort<Option<u64>> },
    /// Answered when what came before it was taken in.
    Turn { reply: RpcReplyPort<()> },
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
            Operation::Insert(value) => value.0.len(),
            Operation::Swap { expected, new } => of(expected) + of(new),
            Operation::Update { function, argument } => function.len() + argument.0.len(),
        };
        self.key.0.len() + operation
    }
}

/// What names an operation; see [`OperationId`](cloister_table_proto::OperationId).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RequestId {
    pub(crate) client: u64,
    pub(crate) number: u64,
    pub(crate) settled: u64,
}

/// What is done with a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Operation {
    Get,
    Insert(Blob),
    Remove,
    Swap { expected: Option<Blob>, new: Option<Blob> },
    Update { function: String, argument: Blob },
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
}

/// What an operation has found or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The value that is there, or was there before.
    Value(Option<Blob>),
    Swapped,
    /// The key has another value than the expected one.
    Other(Option<Blob>),
    /// What the function returned.
    Returned(Blob),
    UnknownFunction,
    /// The function failed, and the key is as it was.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_travel_as_bytes_and_are_read_from_a_list_of_numbers_too() {
        let bytes = vec![200_u8; 1_000];
        let encoded = rmp_serde::to_vec_named(&Blob::from(bytes.clone())).unwrap();
        assert!(encoded.len() < 1_010, "{} bytes", encoded.len());
        assert_eq!(rmp_serde::from_slice::<Blob>(&encoded).unwrap(), Blob::from(bytes.clone()));
        let list = rmp_serde::to_vec_named(&bytes).unwrap();
        assert_eq!(rmp_serde::from_slice::<Blob>(&list).unwrap(), Blob::from(bytes));
    }
}
