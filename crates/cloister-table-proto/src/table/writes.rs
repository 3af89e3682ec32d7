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
    /// The number of the last write at the last tick.
    pub(super) at_last_tick: u64,
    /// The number of the last write that other copies have.
    acked: NodeMap<u64>,
}

/// A write that not every copy has, or an answer that waits for the writes before it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) operation: Option<Operation>,
    /// The value of the key before.
    pub(super) before: Option<Bytes>,
    pub(super) answer: (Token, Bytes),
}

impl Writes {
    /// After the write of this number, which all copies have.
    pub(super) fn after(committed: u64) -> Self {
        Self { pending: VecDeque::new(), committed, at_last_tick: 0, acked: NodeMap::default() }
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

    /// A copy has all writes up to this number.
    pub(super) fn acknowledge(&mut self, peer: Peer, number: u64) {
        self.acked.insert(peer, number.max(self.acked(peer)));
    }

    /// The number of the last write that a copy has acknowledged while there were such writes.
    pub(super) fn acked(&self, peer: Peer) -> u64 {
        self.acked.get(peer).copied().unwrap_or_default()
    }

    /// The number of the last one.
    pub(super) fn newest(&self) -> u64 {
        self.pending.back().map_or(0, |pending| pending.number)
    }

    /// The value of a key that every complete copy has, if a later one is under way.
    pub(super) fn committed_value(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        let writes =
            |pending: &&Pending| pending.operation.as_ref().is_some_and(|operation| *operation.key == *key);
        self.pending.iter().find(writes).map(|pending| &pending.before)
    }
}
