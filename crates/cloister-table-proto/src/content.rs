//! The content of a slot.

use crate::operation::{Answers, Bytes, Operation, OperationId};
use crate::rows::Rows;

/// The entries of a slot, and the answers of operations that clients may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    rows: Rows,
    /// By client, in order. There are few: a tree would take 700 bytes for the first.
    pub(crate) clients: Vec<(u64, Answers)>,
    bytes: usize,
}

impl Content {
    /// The value of a key. A small one is copied.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.rows.get(key)
    }

    /// The entries, in order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the answers that are kept are all for these clients.
    #[must_use]
    pub fn is_of_clients(&self, clients: &[u64]) -> bool {
        self.clients.iter().all(|(client, _)| clients.contains(client))
    }

    /// The answer of an operation that was applied.
    pub(crate) fn answer(&self, id: OperationId) -> Option<&Bytes> {
        self.clients.get(self.place_of(id.client).ok()?)?.1.get(id.number)
    }

    /// Whether its client repeats an operation no more, as far as is known here. Then it is not known whether it was applied.
    #[must_use]
    pub fn is_settled(&self, id: OperationId) -> bool {
        let its = self.place_of(id.client).ok().and_then(|at| self.clients.get(at));
        its.is_some_and(|(_, answers)| id.number < answers.settled)
    }

    pub(crate) fn apply(&mut self, operation: &Operation) {
        match &operation.value {
            Some(value) => self.insert(&operation.key, value),
            None => self.remove(&operation.key),
        }
        if let Some((id, answer)) = &operation.id {
            let at = self.place_of(id.client).unwrap_or_else(|at| {
                // Most slots have one client at a time.
                self.clients.reserve_exact(1);
                self.clients.insert(at, (id.client, Answers::default()));
                at
            });
            self.clients[at].1.add(*id, answer.clone());
        }
    }

    /// Where the answers of a client are, or would be.
    fn place_of(&self, client: u64) -> Result<usize, usize> {
        self.clients.binary_search_by_key(&client, |(client, _)| *client)
    }

    /// Answers that another node has kept.
    pub(crate) fn take_over(&mut self, clients: Vec<(u64, Answers)>) {
        for (client, mut its) in clients {
            its.answers.sort_by_key(|(number, _)| *number);
            match self.place_of(client) {
                Ok(at) => self.clients[at].1 = its,
                Err(at) => self.clients.insert(at, (client, its)),
            }
        }
    }

    pub(crate) fn insert(&mut self, key: &Bytes, value: &Bytes) {
        let before = self.rows.insert(key, value);
        self.bytes += key.len() + value.len();
        self.bytes -= before.unwrap_or_default();
    }

    fn remove(&mut self, key: &[u8]) {
        self.bytes -= self.rows.remove(key).unwrap_or_default();
    }

    /// Forgets the answers of clients that are gone: they repeat nothing any more.
    pub(crate) fn retain_clients(&mut self, is_there: impl Fn(u64) -> bool) {
        self.clients.retain(|(client, _)| is_there(*client));
    }

    /// The entries whose keys come after `cursor`, up to about `max` bytes but at least one, and whether they are the last.
    pub(crate) fn chunk(&self, cursor: Option<&Bytes>, max: usize) -> (Vec<(Bytes, Bytes)>, bool) {
        self.rows.chunk(cursor.map(|cursor| &**cursor), max)
    }
}
