//! The content of a slot.

use crate::message::Cursor;
use crate::operation::{Answers, Bytes, Operation, OperationId};
use crate::rows::Rows;
use crate::settled::Settled;

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

    /// The bytes of all keys and values, and of the answers that are kept.
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
            self.bytes += answer.len();
            self.bytes -= self.clients[at].1.add(*id, answer.clone());
        }
    }

    /// Whether answers are kept that no client asks for any more.
    pub(crate) fn has_settled(&self, settled: &Settled) -> bool {
        self.clients.iter().any(|(client, its)| !its.is_settled_below(settled.of(*client)))
    }

    /// Drops the answers that no client asks for any more.
    pub(crate) fn settle(&mut self, settled: &Settled) {
        for (client, its) in &mut self.clients {
            self.bytes -= its.settle(settled.of(*client));
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
            self.bytes += its.bytes();
            self.bytes -= self.clients[at].1.take_over(its);
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
        let bytes = &mut self.bytes;
        self.clients.retain(|(client, its)| {
            let stays = is_there(*client);
            *bytes -= if stays { 0 } else { its.bytes() };
            stays
        });
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
            // What was not sent may have been dropped meanwhile.
            let settles = after.is_none_or(|number| number.saturating_add(1) < its.settled);
            if settles || !part.answers.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn recount(content: &Content) -> usize {
        let entries = content.entries().map(|(key, value)| key.len() + value.len());
        let answers = content.clients.iter().flat_map(|(_, its)| its.answers.iter());
        entries.sum::<usize>() + answers.map(|(_, answer)| answer.len()).sum::<usize>()
    }

    #[test]
    fn its_bytes_are_those_of_keys_values_and_answers() {
        let (mut content, mut other, mut settled) =
            (Content::default(), Content::default(), Settled::default());
        let mut random = 1_u64;
        for step in 1..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [what, key, client, length, lag, ..] = random.to_be_bytes();
            let id = OperationId {
                client: u64::from(client % 4),
                number: step,
                settled: step / (1 + u64::from(lag)),
            };
            let value = (what % 3 > 0).then(|| vec![1; usize::from(length)].into());
            let answer = vec![2; usize::from(lag)].into();
            let operation = Operation { number: step, key: [key].into(), value, id: Some((id, answer)) };
            let receiver = if what % 2 == 0 { &mut content } else { &mut other };
            receiver.apply(&operation);
            match what {
                0..5 => content.retain_clients(|its| its != id.client),
                5..10 => content.take_over(other.clients.clone()),
                10..20 => {
                    settled.learn(OperationId { settled: step, ..id });
                    content.settle(&settled);
                    assert!(!content.has_settled(&settled));
                }
                _ => {}
            }
            assert_eq!((content.bytes(), other.bytes()), (recount(&content), recount(&other)), "step {step}");
        }
        assert!(content.bytes() > 10_000, "{} bytes", content.bytes());
    }

    /// Some answers of a client are on their way when others are dropped.
    #[test]
    fn what_is_settled_between_two_chunks_is_told() {
        let mut content = Content::default();
        for number in 1..=10 {
            let id = OperationId { client: 1, number, settled: 1 };
            let key = Bytes::from([7]);
            content.apply(&Operation { number, key, value: None, id: Some((id, Bytes::default())) });
        }
        let after = |number| Some(Cursor::Answer { client: 1, number });
        let chunk = content.chunk(after(3).as_ref(), 1);
        assert_eq!(chunk.clients, [(1, Answers { settled: 1, answers: vec![(4, Bytes::default())] })]);
        let mut settled = Settled::default();
        settled.learn(OperationId { client: 1, number: 11, settled: 11 });
        content.settle(&settled);
        let chunk = content.chunk(after(3).as_ref(), 1);
        assert_eq!(chunk.clients, [(1, Answers { settled: 11, answers: Vec::new() })]);
        let chunk = content.chunk(after(10).as_ref(), 1);
        assert!(chunk.clients.is_empty() && chunk.is_last);
    }
}
