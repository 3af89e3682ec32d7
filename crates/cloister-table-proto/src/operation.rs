//! Writes.

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

/// What the shell names a write with, to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Whether a write was done is not known: its view ended before every copy had it. From the next view on it is done for good or
/// was never done; repeating it under the same [`OperationId`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertain;

/// The answers of one client that may be asked for again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Operations below are not repeated.
    pub settled: u64,
    /// By number, in order.
    pub answers: Vec<(u64, Bytes)>,
}

impl Answers {
    pub(crate) fn get(&self, number: u64) -> Option<&Bytes> {
        let at = self.answers.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.answers[at].1)
    }

    /// Keeps the answer of an operation, and none that are settled.
    pub(crate) fn add(&mut self, id: OperationId, answer: Bytes) {
        let settled = self.settled.max(id.settled);
        self.settled = settled;
        self.answers.retain(|(number, _)| *number >= settled);
        if id.number < settled {
            return;
        }
        if self.answers.is_empty() {
            // Most clients have one write of a slot under way.
            self.answers.reserve_exact(1);
        }
        self.insert(id.number, answer);
    }

    /// Answers that another node has kept. What is settled here stays so.
    pub(crate) fn take_over(&mut self, other: Self) {
        self.settled = self.settled.max(other.settled);
        other.answers.into_iter().for_each(|(number, answer)| self.insert(number, answer));
        let settled = self.settled;
        self.answers.retain(|(number, _)| *number >= settled);
    }

    fn insert(&mut self, number: u64, answer: Bytes) {
        match self.answers.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => self.answers[at].1 = answer,
            Err(at) => self.answers.insert(at, (number, answer)),
        }
    }
}
