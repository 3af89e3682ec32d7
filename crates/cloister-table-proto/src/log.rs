//! The last writes of a slot, for copies that are a few writes behind.

use crate::label::Label;
use crate::operation::{Bytes, Operation};
use crate::settled::Settled;

/// How many writes are kept for each slot at most. They cost memory, and a copy that is further behind fetches the slot.
const MAX_OPERATIONS: usize = 16;

/// How many are kept for a slot with few entries, which is fetched as quickly.
const MIN_OPERATIONS: usize = 2;

/// One write is kept for so many entries: what it takes is a part of what they take.
const ENTRIES_FOR_EACH: usize = 32;

/// How many bytes of keys, values and answers they may have together at most: they travel in one message.
const MAX_BYTES: usize = 256 << 10;

/// They have at most this part of the bytes of the content. Of a slot with a few large entries none is kept: it is fetched as quickly.
const PART: usize = 2;

/// So many bytes are kept of a slot with few bytes.
const MIN_BYTES: usize = 4 << 10;

/// How many labels are remembered: those of the writes that are kept, and as many again of views.
const MAX_MARKS: usize = 2 * MAX_OPERATIONS;

/// The last writes that made the content of a slot, in order. They are so few that a list takes its first one out as quickly as a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// How many writes were dropped at the front.
    dropped: u64,
    operations: Vec<Operation>,
    bytes: usize,
    /// Which label the content had after how many writes in all. A content that a view takes over has two.
    marks: Vec<(Label, u64)>,
}

impl Log {
    /// The log of a content that has just come here.
    pub(crate) fn starting_at(label: Label) -> Self {
        // The view will give it another label.
        let mut marks = Vec::with_capacity(2);
        marks.push((label, 0));
        Self { marks, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether no write is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The content got another label, and is the same.
    pub(crate) fn relabel(&mut self, label: Label) {
        let end = self.end();
        if self.marks.last() != Some(&(label, end)) {
            self.mark(label);
        }
    }

    /// A write, after which the content has this label, and so many entries and bytes.
    pub(crate) fn push(&mut self, operation: Operation, label: Label, (entries, bytes): (usize, usize)) {
        self.bytes += bytes_of(&operation);
        let max = (entries / ENTRIES_FOR_EACH).clamp(MIN_OPERATIONS, MAX_OPERATIONS);
        // First, so that there is never room for more.
        while self.operations.len() >= max {
            self.drop_first();
        }
        make_room(&mut self.operations);
        self.operations.push(operation);
        self.mark(label);
        let max_bytes = (bytes / PART).clamp(MIN_BYTES, MAX_BYTES);
        while self.bytes > max_bytes && !self.operations.is_empty() {
            self.drop_first();
        }
    }

    /// Whether answers are kept that no client asks for any more.
    pub(crate) fn has_settled(&self, settled: &Settled) -> bool {
        self.operations.iter().any(|operation| is_settled(operation, settled))
    }

    /// Drops the answers that no client asks for any more. A copy that gets the write keeps none, either.
    pub(crate) fn settle(&mut self, settled: &Settled) {
        for operation in self.operations.iter_mut().filter(|operation| is_settled(operation, settled)) {
            if let Some((id, answer)) = &mut operation.id {
                self.bytes -= answer.len();
                (id.settled, *answer) = (settled.of(id.client), Bytes::default());
            }
        }
    }

    fn drop_first(&mut self) {
        if self.operations.is_empty() {
            return;
        }
        let dropped = self.operations.remove(0);
        self.bytes -= bytes_of(&dropped);
        self.dropped += 1;
        while self.marks.first().is_some_and(|(_, after)| *after < self.dropped) {
            self.marks.remove(0);
        }
    }

    /// The content has this label from now on. Of a slot that is not written many views leave a mark.
    fn mark(&mut self, label: Label) {
        make_room(&mut self.marks);
        self.marks.push((label, self.end()));
        if self.marks.len() > MAX_MARKS {
            self.marks.remove(0);
        }
    }

    /// The writes that lead from the content of this label to the present one, if they are all known.
    pub(crate) fn since(&self, label: Label) -> Option<Vec<Operation>> {
        let (_, after) = self.marks.iter().rev().find(|(its, _)| *its == label)?;
        let skip = usize::try_from(after.checked_sub(self.dropped)?).ok()?;
        Some(self.operations.iter().skip(skip).cloned().collect())
    }

    fn end(&self) -> u64 {
        self.dropped + self.operations.len() as u64
    }
}

/// Room for one more, and no more than that: there are thousands of logs.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1);
    }
}

/// Whether it has an answer that its client does not ask for any more.
fn is_settled(operation: &Operation, settled: &Settled) -> bool {
    let id = operation.id.as_ref().filter(|(_, answer)| !answer.is_empty());
    id.is_some_and(|(id, _)| id.number < settled.of(id.client))
}

fn bytes_of(operation: &Operation) -> usize {
    let value = operation.value.as_ref().map_or(0, |value| value.len());
    let answer = operation.id.as_ref().map_or(0, |(_, answer)| answer.len());
    operation.key.len() + value + answer
}

#[cfg(test)]
mod tests {
    use cloister_proto::Epoch;

    use super::*;
    use crate::operation::OperationId;

    /// So many entries and bytes that the longest log is kept.
    const MANY: (usize, usize) = (ENTRIES_FOR_EACH * MAX_OPERATIONS, usize::MAX);

    fn label(epoch: u64, number: u64) -> Label {
        Label { epoch: Epoch::from_u64(epoch), number }
    }

    fn write(number: u64) -> Operation {
        Operation { number, key: [7].into(), value: None, id: None }
    }

    #[test]
    fn the_writes_since_a_label_lead_through_the_beginning_of_a_view() {
        let mut log = Log::starting_at(label(1, 4));
        log.push(write(5), label(1, 5), MANY);
        log.relabel(label(2, 0));
        log.push(write(1), label(2, 1), MANY);
        let numbers =
            |label| log.since(label).map(|writes| writes.iter().map(|w| w.number).collect::<Vec<_>>());
        assert_eq!(numbers(label(1, 4)), Some(vec![5, 1]));
        assert_eq!(numbers(label(1, 5)), Some(vec![1]));
        assert_eq!(numbers(label(2, 0)), Some(vec![1]));
        assert_eq!(numbers(label(2, 1)), Some(vec![]));
        assert_eq!(numbers(label(1, 3)), None);
        assert_eq!(numbers(label(2, 2)), None);
    }

    #[test]
    fn the_bytes_of_what_is_kept_have_a_bound() {
        let mut log = Log::starting_at(label(1, 0));
        let large = |number| Operation { value: Some(vec![0; MAX_BYTES / 2].into()), ..write(number) };
        (1..=3).for_each(|number| log.push(large(number), label(1, number), MANY));
        assert_eq!(log.since(label(1, 1)), None);
        assert_eq!(log.since(label(1, 2)).map(|writes| writes.len()), Some(1));
        log.push(Operation { value: Some(vec![0; MAX_BYTES].into()), ..write(4) }, label(1, 4), MANY);
        assert_eq!((log.since(label(1, 3)), log.since(label(1, 4))), (None, Some(vec![])));
    }

    #[test]
    fn what_is_kept_is_a_part_of_the_content() {
        let large = |number| Operation { value: Some(vec![0; 20 << 10].into()), ..write(number) };
        for (bytes, kept) in [(20 << 10, 0), (60 << 10, 1), (200 << 10, 4), (usize::MAX, 12)] {
            let mut log = Log::starting_at(label(1, 0));
            (1..=20).for_each(|number| log.push(large(number), label(1, number), (MANY.0, bytes)));
            assert_eq!(log.len(), kept, "of {bytes} bytes");
        }
    }

    #[test]
    fn an_answer_that_its_client_has_settled_is_not_kept() {
        let mut log = Log::starting_at(label(1, 0));
        for number in 1..=3 {
            let id = OperationId { client: number % 2, number, settled: 1 };
            let operation = Operation { id: Some((id, [7; 100].into())), ..write(number) };
            log.push(operation, label(1, number), MANY);
        }
        let mut settled = Settled::default();
        settled.learn(OperationId { client: 1, number: 3, settled: 3 });
        assert!(log.has_settled(&settled));
        log.settle(&settled);
        assert!(!log.has_settled(&settled));
        let writes = log.since(label(1, 0)).expect("all are kept");
        let answers = writes.iter().filter_map(|write| write.id.as_ref());
        let answers: Vec<_> = answers.map(|(id, answer)| (id.number, id.settled, answer.len())).collect();
        assert_eq!((answers, log.bytes), (vec![(1, 3, 0), (2, 1, 100), (3, 1, 100)], 203));
    }

    #[test]
    fn the_labels_of_many_views_without_a_write_have_a_bound() {
        let mut log = Log::starting_at(label(1, 0));
        (2..1_000).for_each(|epoch| log.relabel(label(epoch, 0)));
        assert_eq!(log.marks.len(), MAX_MARKS);
        assert_eq!((log.since(label(999, 0)), log.since(label(1, 0))), (Some(vec![]), None));
    }

    #[test]
    fn what_was_dropped_is_not_known() {
        let mut log = Log::starting_at(label(1, 0));
        let count = MAX_OPERATIONS as u64 + 3;
        (1..=count).for_each(|number| log.push(write(number), label(1, number), MANY));
        assert_eq!(log.since(label(1, 2)), None);
        assert_eq!(log.since(label(1, 3)).map(|writes| writes.len()), Some(MAX_OPERATIONS));
        assert_eq!(log.since(label(1, count)), Some(vec![]));
    }

    #[test]
    fn of_few_entries_few_writes_are_kept() {
        for (entries, kept) in [(0, MIN_OPERATIONS), (160, 5), (1_000_000, MAX_OPERATIONS)] {
            let mut log = Log::starting_at(label(1, 0));
            (1..=100).for_each(|number| log.push(write(number), label(1, number), (entries, usize::MAX)));
            assert_eq!(log.operations.len(), kept, "of {entries} entries");
            assert!(log.since(label(1, 100 - kept as u64)).is_some());
            assert!(log.since(label(1, 99 - kept as u64)).is_none());
        }
    }
}
