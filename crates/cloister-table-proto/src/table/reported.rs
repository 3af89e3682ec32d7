//! What one node reported, as it came in.

use cloister_proto::Slot;

use crate::message::SlotReport;
use crate::reports::SlotReports;

/// The reports of one node, in order of their slots, each once.
#[derive(Debug)]
pub(super) struct Reported {
    reports: SlotReports,
    /// Where the next slot is looked for first: slots are asked for in order.
    next: usize,
}

impl Reported {
    pub(super) fn new(mut reports: SlotReports) -> Self {
        reports.sort();
        Self { reports, next: 0 }
    }

    /// What it says of a slot, and the number of that: one number means one thing. The slot in it may be another.
    pub(super) fn of(&mut self, slot: Slot) -> Option<(u32, &SlotReport)> {
        let at = self.place_of(slot);
        let is_there = self.is_at(at, slot);
        self.next = at + usize::from(is_there);
        self.reports.at(at).filter(|_| is_there)
    }

    /// What it has of this slot is gone. What it said to have been seen stays: without that, the next view would not know of a loss.
    pub(super) fn forget_content(&mut self, slot: Slot) {
        let at = self.place_of(slot);
        if self.is_at(at, slot) {
            self.reports.forget_content(at);
        }
    }

    fn is_at(&self, place: usize, slot: Slot) -> bool {
        self.reports.slots().get(place).is_some_and(|(its, _)| *its == slot)
    }

    /// How many slots come before this one.
    fn place_of(&self, slot: Slot) -> usize {
        let slots = self.reports.slots();
        let (before, after) = slots.split_at(self.next.min(slots.len()));
        let is_next = before.last().is_none_or(|(its, _)| *its < slot)
            && after.first().is_none_or(|(its, _)| *its >= slot);
        if is_next { before.len() } else { slots.partition_point(|(its, _)| *its < slot) }
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::Epoch;

    use super::*;
    use crate::label::{Seen, Stamp};

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    fn report(number: u16, writes: u64) -> SlotReport {
        let seen = Seen { writes: Epoch::from_u64(writes), ..Seen::NOTHING };
        let stamp = Stamp { candidate: Epoch::from_u64(writes), ..Stamp::NONE };
        SlotReport { slot: slot(number), stamp, seen, knows: Default::default() }
    }

    #[test]
    fn reports_are_found_in_any_order_of_asking_and_of_answering() {
        let reports_in_order = [report(2, 2), report(4, 4), report(6, 6)];
        let shuffled = vec![report(4, 1), report(6, 6), report(4, 4), report(2, 2)];
        for reports in [reports_in_order.to_vec(), shuffled] {
            let mut reported = Reported::new(reports.into_iter().collect());
            for number in [1, 2, 3, 4, 5, 6, 7, 6, 2, 0, 4, 5, 3, 6] {
                let expected = reports_in_order.iter().find(|report| report.slot == slot(number));
                assert_eq!(
                    reported.of(slot(number)).map(|(_, its)| its.seen),
                    expected.map(|its| its.seen),
                    "{number}"
                );
            }
            reported.forget_content(slot(4));
            let left = reported.of(slot(4)).map(|(_, its)| (its.stamp, its.seen));
            assert_eq!(left, Some((Stamp::NONE, reports_in_order[1].seen)));
        }
    }
}
