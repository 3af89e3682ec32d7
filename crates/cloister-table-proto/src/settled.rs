//! What clients have said of their operations.

use std::collections::BTreeMap;

use crate::operation::OperationId;

/// At how many slots a tick looks.
const SLOTS_A_TICK: usize = 512;

/// What clients have said of their operations: which numbers each of them does not repeat any more. See [`Event::Settled`](crate::Event::Settled).
#[derive(Clone, Debug, Default)]
pub struct Settled(BTreeMap<u64, u64>);

impl Settled {
    /// What was said elsewhere counts, too. Returns whether that settles more.
    pub fn add(&mut self, other: &Self) -> bool {
        other.0.iter().fold(false, |rises, (client, settled)| self.rise(*client, *settled) || rises)
    }

    /// A client has named an operation. Returns whether that settles others.
    pub(crate) fn learn(&mut self, id: OperationId) -> bool {
        self.rise(id.client, id.settled)
    }

    fn rise(&mut self, client: u64, settled: u64) -> bool {
        let known = self.0.entry(client).or_default();
        let rises = *known < settled;
        *known = settled.max(*known);
        rises
    }

    /// The number below which a client repeats nothing.
    pub(crate) fn of(&self, client: u64) -> u64 {
        self.0.get(&client).copied().unwrap_or_default()
    }

    /// Forgets the clients that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        self.0.retain(|client, _| is_there(*client));
    }
}

/// What clients have settled, and how far that is taken in.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    settled: Settled,
    /// The place of the slot that is looked at next.
    next: usize,
    /// Whether a client has said something new since all slots were looked at, and how many were looked at since.
    looked_at: Option<usize>,
}

impl Settling {
    pub(crate) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// A client names an operation, and says by that which others are over.
    pub(crate) fn learn(&mut self, id: OperationId) {
        if self.settled.learn(id) {
            self.looked_at = Some(0);
        }
    }

    /// What was said elsewhere counts, too.
    pub(crate) fn add(&mut self, settled: &Settled) {
        if self.settled.add(settled) {
            self.looked_at = Some(0);
        }
    }

    /// Forgets the clients that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        self.settled.retain(is_there);
    }

    /// At a tick: the places of the slots that are looked at, of so many slots in all.
    pub(crate) fn places(&mut self, slots: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.next;
        let count = self.looked_at.map_or(0, |looked_at| SLOTS_A_TICK.min(slots.saturating_sub(looked_at)));
        self.looked_at =
            self.looked_at.map(|looked_at| looked_at + count).filter(|looked_at| *looked_at < slots);
        self.next = (first + count) % slots.max(1);
        (first..first + count).map(move |place| place % slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_looked_at_once_after_something_was_settled() {
        let id = |settled| OperationId { client: 1, number: settled, settled };
        let mut settling = Settling::default();
        assert_eq!(settling.places(1_300).count(), 0);
        settling.learn(id(5));
        let rounds: Vec<Vec<usize>> = (0..4).map(|_| settling.places(1_300).collect()).collect();
        assert_eq!(rounds.concat(), (0..1_300).collect::<Vec<_>>());
        assert_eq!(rounds.iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 276, 0]);
        // Again from where it was, as often as something is settled.
        settling.learn(id(6));
        assert_eq!(settling.places(1_300).count(), 512);
        settling.learn(id(6));
        settling.learn(id(7));
        let places: Vec<usize> = (0..4).flat_map(|_| settling.places(1_300)).collect();
        assert_eq!(places, (512..1_300).chain(0..512).collect::<Vec<_>>());
        assert_eq!((settling.places(0).count(), Settling::default().places(0).count()), (0, 0));
    }
}
