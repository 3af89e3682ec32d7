//! Writes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a key, a value or an answer, which are shared and not copied.
pub type Bytes = Arc<[u8]>;

/// Names an operation of a client, so that it is done once however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationId {
    /// The incarnation of the node that sends it.
    pub client: u64,
    /// Its number at that client.
    pub number: u64,
    /// The client repeats no operation below this number: their answers need not be kept.
    pub settled: u64,
}

/// A write of one key, as the owner of its slot numbered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number in the view.
    pub number: u64,
    /// The key.
    pub key: Bytes,
    /// The new value; `None` removes the key.
    pub value: Option<Bytes>,
    /// What names it at its client, with the answer, if it may be repeated.
    pub id: Option<(OperationId, Bytes)>,
}

/// What a write makes of a key, from the function that is given to [`Table::write`](crate::Table::write).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The key stays as it is.
    Keep {
        /// What the client is answered.
        answer: Bytes,
    },
    /// The key gets this value.
    Insert {
        /// The new value.
        value: Bytes,
        /// What the client is answered.
        answer: Bytes,
    },
    /// The key is removed.
    Remove {
        /// What the client is answered.
        answer: Bytes,
    },
}

/// Whether a write was done is not known: its view ended before every copy had it. From the next view on it is done for good or
/// was never done; repeating it under the same [`OperationId`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertain;

/// The answers of one client that may be asked for again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Operations below are not repeated.
    pub settled: u64,
    /// By number.
    pub answers: BTreeMap<u64, Bytes>,
}
