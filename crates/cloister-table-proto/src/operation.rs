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

    /// Whether none is kept for operations below this number.
    pub(crate) fn is_settled_below(&self, settled: u64) -> bool {
        self.answers.first().is_none_or(|(number, _)| *number >= settled)
    }

    /// The bytes of all answers.
    pub(crate) fn bytes(&self) -> usize {
        self.answers.iter().map(|(_, answer)| answer.len()).sum()
    }

    /// Keeps the answer of an operation, and none that are settled. Returns the bytes of those that are not kept, this one's among them if it
    /// is settled.
    pub(crate) fn add(&mut self, id: OperationId, answer: Bytes) -> usize {
        let dropped = self.settle(id.settled);
        if self.answers.is_empty() {
            // Most clients have one write of a slot under way.
            self.answers.reserve_exact(1);
        }
        dropped + self.insert(id.number, answer)
    }

    /// Answers that another node has kept. What is settled here stays so. Returns the bytes of those that are not kept, of both.
    pub(crate) fn take_over(&mut self, other: Self) -> usize {
        let dropped = self.settle(other.settled);
        let rest = other.answers.into_iter().map(|(number, answer)| self.insert(number, answer));
        dropped + rest.sum::<usize>()
    }

    /// Operations below this number are not repeated, so their answers are dropped. A client with one operation open for long has many answers:
    /// they are looked at only when the number rises. Returns the bytes of those that are dropped.
    pub(crate) fn settle(&mut self, settled: u64) -> usize {
        if settled <= self.settled {
            return 0;
        }
        self.settled = settled;
        let over = self.answers.partition_point(|(number, _)| *number < settled);
        let dropped = self.answers.drain(..over).map(|(_, answer)| answer.len()).sum();
        if self.answers.len() < self.answers.capacity() / 4 {
            self.answers.shrink_to(2 * self.answers.len());
        }
        dropped
    }

    /// Returns the bytes of what is not kept: the answer before, or this one.
    fn insert(&mut self, number: u64, answer: Bytes) -> usize {
        if number < self.settled {
            return answer.len();
        }
        match self.answers.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => std::mem::replace(&mut self.answers[at].1, answer).len(),
            Err(at) => {
                self.answers.insert(at, (number, answer));
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn id(number: u64, settled: u64) -> OperationId {
        OperationId { client: 1, number, settled }
    }

    fn numbers(answers: &Answers) -> Vec<u64> {
        answers.answers.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn answers_are_kept_until_they_are_settled() {
        let mut answers = Answers::default();
        for (number, settled) in [(3, 2), (2, 2), (5, 2), (4, 2), (1, 1)] {
            answers.add(id(number, settled), Bytes::from([1]));
        }
        assert_eq!((numbers(&answers), answers.get(1)), (vec![2, 3, 4, 5], None));
        answers.add(id(6, 4), Bytes::from([1]));
        assert_eq!((numbers(&answers), answers.settled), (vec![4, 5, 6], 4));
        let other = Answers { settled: 5, answers: vec![(3, Bytes::from([1])), (7, Bytes::from([1]))] };
        answers.take_over(other);
        assert_eq!((numbers(&answers), answers.settled), (vec![5, 6, 7], 5));
    }

    /// One operation is open for long, and the others of its client are done meanwhile.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it measures the time")]
    fn the_time_of_a_write_does_not_grow_with_the_answers_that_are_kept() {
        let (mut answers, began) = (Answers::default(), Instant::now());
        for number in 1..=400_000 {
            answers.add(id(number, 1), Bytes::default());
            let took = began.elapsed();
            assert!(took < Duration::from_secs(5), "{took:?} for {number} writes");
        }
        answers.add(id(400_001, 400_001), Bytes::default());
        assert_eq!(numbers(&answers), [400_001]);
        assert!(answers.answers.capacity() < 10, "{}", answers.answers.capacity());
    }
}
