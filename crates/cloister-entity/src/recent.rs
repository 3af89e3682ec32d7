//! The answers of messages that were applied to a state which is written lazily.

use std::collections::{BTreeMap, HashMap};

use cloister_table::service::{Accepted, Bytes, MessageId};

/// How many answers to one sender are remembered at most.
const MAX_ANSWERS: usize = 1_000;

/// The answers of messages that were applied to a state which is written lazily, as long as their sender may send them again.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// By sender, then by number.
    answers: HashMap<u64, BTreeMap<u64, (Accepted, Bytes)>>,
    /// The message that was applied last, if the state was not written under its number.
    last: Option<(u64, u64)>,
}

impl Recent {
    pub(crate) fn add(&mut self, id: MessageId, message: &Accepted, answer: &Bytes) {
        let mut message = message.clone().answered();
        // Only what names it is of use.
        message.message = Bytes::default();
        let of_sender = self.answers.entry(id.client).or_default();
        while of_sender.first_key_value().is_some_and(|(number, _)| *number < id.settled)
            || of_sender.len() >= MAX_ANSWERS
        {
            of_sender.pop_first();
        }
        of_sender.insert(id.number, (message, Bytes::clone(answer)));
        self.last = Some((id.client, id.number));
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<Bytes> {
        let (_, answer) = self.answers.get(&id.client)?.get(&id.number)?;
        Some(Bytes::clone(answer))
    }

    /// The message that was applied last, with its answer, for the state to be written under its number: nothing else may be.
    pub(crate) fn last(&self) -> Option<(Accepted, Bytes)> {
        let (client, number) = self.last?;
        self.answers.get(&client)?.get(&number).cloned()
    }

    /// The state is written under another number, or under none.
    pub(crate) fn are_written(&mut self) {
        self.last = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    #[test]
    fn an_answer_is_remembered_until_its_sender_repeats_it_no_more() {
        let mut recent = Recent::default();
        let id = |client, number, settled| MessageId { client, number, settled };
        let mut add = |id: MessageId| {
            let answer = bytes(&format!("{} {}", id.client, id.number));
            recent.add(id, &Accepted::own(bytes("key"), bytes("message")), &answer);
        };
        for number in 1..=200 {
            add(id(7, number, 1));
        }
        add(id(8, 1, 1));
        add(id(7, 201, 100));
        assert_eq!(recent.get(id(7, 99, 0)), None);
        assert_eq!(recent.get(id(7, 100, 0)), Some(bytes("7 100")));
        assert_eq!(recent.get(id(8, 1, 0)), Some(bytes("8 1")));
        let (message, answer) = recent.last().unwrap();
        assert_eq!((message.key, answer), (bytes("key"), bytes("7 201")));
        assert!(message.message.is_empty(), "what it was is not kept");
        recent.are_written();
        assert!(recent.last().is_none());
        assert_eq!(recent.get(id(7, 201, 0)), Some(bytes("7 201")));
    }
}
