//! The writes of a slot that not every copy has.

use std::collections::VecDeque;

use super::nodes::{NodeMap, Peer};
use crate::operation::{Bytes, Operation, Token};

/// The writes of a slot that not every copy has. A slot that nothing waits for has none: what its copies have acknowledged before is of no
/// use to later writes.
#[derive(Debug)]
pub(super) struct Writes {
    /// In order.
    pending: VecDeque<Pending>,
    /// The number of the last write that every complete copy has.
    pub(super) committed: u64,
    /// What other copies have.
    copies: NodeMap<Acked>,
}

/// Which writes a copy has.
#[derive(Clone, Copy, Debug, Default)]
struct Acked {
    /// The number of the last one that it has acknowledged.
    number: u64,
    /// Those up to this number were sent to it again, after so many ticks.
    again: (u64, u32),
}

/// A write that not every copy has, or an answer that waits for the writes before it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    /// After how many ticks it was sent first.
    pub(super) sent: u32,
    pub(super) operation: Option<Operation>,
    /// The value of the key before.
    pub(super) before: Option<Bytes>,
    pub(super) answer: (Token, Bytes),
}

impl Writes {
    /// After the write of this number, which all copies have.
    pub(super) fn after(committed: u64) -> Self {
        Self { pending: VecDeque::new(), committed, copies: NodeMap::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.pending.front()
    }

    /// The first one is over: every copy has it.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.committed = self.committed.max(pending.number);
        Some(pending)
    }

    /// A write is under way. Most slots have one at a time, so there is room for one, and for half as many again where there are more.
    pub(super) fn push(&mut self, pending: Pending) {
        let under_way = self.pending.len();
        if under_way == self.pending.capacity() {
            self.pending.reserve_exact((under_way / 2).max(1));
        }
        self.pending.push_back(pending);
    }

    /// A copy has all writes up to this number. Returns after how many ticks the last of them was sent, if it did not have that.
    pub(super) fn acknowledge(&mut self, peer: Peer, number: u64) -> Option<u32> {
        let acked = self.copies.get_or_insert_with(peer, Acked::default);
        if number <= acked.number {
            return None;
        }
        acked.number = number;
        let acked = *acked;
        let known = self.pending.partition_point(|pending| pending.number <= number);
        // Answers that wait for it have its number, too, and were not sent.
        let last = self.pending.range(..known).rev().find(|pending| pending.operation.is_some())?;
        Some(acked.sent(last))
    }

    /// The number of the last write that a copy has acknowledged while there were such writes.
    pub(super) fn acked(&self, peer: Peer) -> u64 {
        self.of(peer).number
    }

    fn of(&self, peer: Peer) -> Acked {
        self.copies.get(peer).copied().unwrap_or_default()
    }

    /// The writes that a copy has not acknowledged.
    pub(super) fn missing(&self, peer: Peer) -> impl Iterator<Item = &Operation> {
        self.missing_from(peer).filter_map(|pending| pending.operation.as_ref())
    }

    fn missing_from(&self, peer: Peer) -> impl Iterator<Item = &Pending> {
        let acked = self.acked(peer);
        self.pending.range(self.pending.partition_point(|pending| pending.number <= acked)..)
    }

    /// After how many ticks the first of the writes was sent that a copy has not acknowledged.
    pub(super) fn waits_since(&self, peer: Peer) -> Option<u32> {
        let first = self.missing_from(peer).find(|pending| pending.operation.is_some())?;
        Some(self.of(peer).sent(first))
    }

    /// After so many ticks a copy is sent all writes again that it has not acknowledged.
    pub(super) fn sent_again(&mut self, peer: Peer, now: u32) {
        let newest = self.pending.back().map_or(0, |pending| pending.number);
        self.copies.get_or_insert_with(peer, Acked::default).again = (newest, now);
    }

    /// The value of a key that every complete copy has, if a later one is under way.
    pub(super) fn committed_value(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        let writes =
            |pending: &&Pending| pending.operation.as_ref().is_some_and(|operation| *operation.key == *key);
        self.pending.iter().find(writes).map(|pending| &pending.before)
    }
}

impl Acked {
    /// After how many ticks a write was sent to it last.
    fn sent(&self, pending: &Pending) -> u32 {
        let (up_to, again) = self.again;
        if pending.number <= up_to { again.max(pending.sent) } else { pending.sent }
    }
}
