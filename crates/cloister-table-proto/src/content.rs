//! The content of a slot.

use std::collections::BTreeMap;

use crate::operation::{Answers, Bytes, Operation, OperationId};

/// The entries of a slot, and the answers of operations that clients may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub(crate) entries: BTreeMap<Bytes, Bytes>,
    pub(crate) clients: BTreeMap<u64, Answers>,
    bytes: usize,
}

impl Content {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.entries.get(key)
    }

    /// The entries, in order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.entries.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many answers are kept for clients that may repeat an operation.
    #[must_use]
    pub fn kept_answers(&self) -> usize {
        self.clients.values().map(|client| client.answers.len()).sum()
    }

    /// Whether the answers that are kept are all for these clients.
    #[must_use]
    pub fn is_of_clients(&self, clients: &[u64]) -> bool {
        self.clients.keys().all(|client| clients.contains(client))
    }

    /// The answer of an operation that was applied.
    pub(crate) fn answer(&self, id: OperationId) -> Option<&Bytes> {
        self.clients.get(&id.client)?.answers.get(&id.number)
    }

    pub(crate) fn apply(&mut self, operation: &Operation) {
        match &operation.value {
            Some(value) => self.insert(operation.key.clone(), value.clone()),
            None => self.remove(&operation.key),
        }
        if let Some((id, answer)) = &operation.id {
            let client = self.clients.entry(id.client).or_default();
            client.settled = client.settled.max(id.settled);
            client.answers.insert(id.number, answer.clone());
            let settled = client.settled;
            client.answers.retain(|number, _| *number >= settled);
        }
    }

    pub(crate) fn insert(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        let length = key.len();
        if let Some(before) = self.entries.insert(key, value) {
            self.bytes -= length + before.len();
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, value)) = self.entries.remove_entry(key) {
            self.bytes -= key.len() + value.len();
        }
    }

    /// Forgets the answers of clients that are gone: they repeat nothing any more.
    pub(crate) fn retain_clients(&mut self, is_there: impl Fn(u64) -> bool) {
        self.clients.retain(|client, _| is_there(*client));
    }

    /// The entries whose keys come after `cursor`, up to about `most` bytes but at least one, and whether they are the last.
    pub(crate) fn chunk(&self, cursor: Option<&Bytes>, most: usize) -> (Vec<(Bytes, Bytes)>, bool) {
        use std::ops::Bound;
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.entries.range::<Bytes, _>((from, Bound::Unbounded));
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while bytes < most {
            let Some((key, value)) = rest.next() else { return (chunk, true) };
            bytes += key.len() + value.len();
            chunk.push((key.clone(), value.clone()));
        }
        let is_last = rest.next().is_none();
        (chunk, is_last)
    }
}
