//! The content of a slot.

use crate::message::Cursor;
use crate::operation::{Answers, Bytes, Operation, OperationId};
use crate::rows::Rows;

/// About how many bytes an answer takes in a message beside its own.
const ANSWER_BYTES: usize = 16;

/// A part of a content.
pub(crate) struct Chunk {
    pub(crate) clients: Vec<(u64, Answers)>,
    pub(crate) entries: Vec<(Bytes, Bytes)>,
    pub(crate) is_last: bool,
}

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

    /// Whether there is neither an entry nor an answer.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_empty() && self.is_without_clients()
    }

    /// Whether no answer is kept.
    pub(crate) fn is_without_clients(&self) -> bool {
        self.clients.is_empty()
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
        for (client, its) in clients {
            let at = self.place_of(client).unwrap_or_else(|at| {
                self.clients.insert(at, (client, Answers::default()));
                at
            });
            self.clients[at].1.take_over(its);
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

    /// What comes after `cursor`, up to about `max` bytes but at least an answer or an entry: answers, entries, and whether they are the
    /// last.
    pub(crate) fn chunk(&self, cursor: Option<&Cursor>, max: usize) -> Chunk {
        let (key, clients, bytes) = match cursor {
            Some(Cursor::Key(key)) => (Some(&**key), Vec::new(), 0),
            Some(Cursor::Answer { client, number }) => {
                let (clients, bytes) = self.answers_after(Some((*client, *number)), max);
                (None, clients, bytes)
            }
            None => {
                let (clients, bytes) = self.answers_after(None, max);
                (None, clients, bytes)
            }
        };
        let left = max.saturating_sub(bytes);
        let (entries, is_last) =
            if left == 0 && bytes > 0 { (Vec::new(), false) } else { self.rows.chunk(key, left) };
        Chunk { clients, entries, is_last }
    }

    /// The answers after one of a client and number, until they have `max` bytes; and how many they have.
    fn answers_after(&self, after: Option<(u64, u64)>, max: usize) -> (Vec<(u64, Answers)>, usize) {
        let (mut clients, mut bytes) = (Vec::new(), 0);
        let first = after.map_or(0, |(client, _)| self.clients.partition_point(|(its, _)| *its < client));
        for (client, its) in &self.clients[first..] {
            let after = after.filter(|(begun, _)| begun == client).map(|(_, number)| number);
            let mut part = Answers { settled: its.settled, answers: Vec::new() };
            for (number, answer) in its.answers.iter().filter(|(number, _)| after < Some(*number)) {
                if bytes >= max {
                    break;
                }
                bytes += ANSWER_BYTES + answer.len();
                part.answers.push((*number, answer.clone()));
            }
            if after.is_none() || !part.answers.is_empty() {
                bytes += ANSWER_BYTES;
                clients.push((*client, part));
            }
            if bytes >= max {
                break;
            }
        }
        (clients, bytes)
    }
}
