//! What one node reported, as it came in.

use cloister_proto::Slot;

use crate::label::{Seen, Stamp};
use crate::message::SlotReport;

/// The reports of one node, in order of their slots, each once.
#[derive(Debug)]
pub(super) struct Reported {
    reports: Vec<SlotReport>,
    /// Where the next slot is looked for first: slots are asked for in order.
    next: usize,
}

impl Reported {
    pub(super) fn new(mut reports: Vec<SlotReport>) -> Self {
        if !reports.is_sorted_by(|one, next| one.slot < next.slot) {
            // The last word on a slot counts.
            reports.reverse();
            reports.sort_by_key(|report| report.slot);
            reports.dedup_by_key(|report| report.slot);
        }
        Self { reports, next: 0 }
    }

    /// What it says of a slot.
    pub(super) fn of(&mut self, slot: Slot) -> Option<&SlotReport> {
        let at = self.place_of(slot);
        let report = self.reports.get(at).filter(|report| report.slot == slot);
        self.next = at + usize::from(report.is_some());
        report
    }

    /// It has nothing of this slot any more, and knows nothing.
    pub(super) fn forget(&mut self, slot: Slot) {
        let at = self.place_of(slot);
        if let Some(report) = self.reports.get_mut(at).filter(|report| report.slot == slot) {
            (report.stamp, report.seen) = (Stamp::NONE, Seen::NOTHING);
            report.knows = Default::default();
        }
    }

    /// How many slots come before this one.
    fn place_of(&self, slot: Slot) -> usize {
        let (before, after) = self.reports.split_at(self.next.min(self.reports.len()));
        let is_next = before.last().is_none_or(|report| report.slot < slot)
            && after.first().is_none_or(|report| report.slot >= slot);
        if is_next { before.len() } else { self.reports.partition_point(|report| report.slot < slot) }
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::Epoch;

    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    fn report(number: u16, writes: u64) -> SlotReport {
        let seen = Seen { writes: Epoch::from_u64(writes), ..Seen::NOTHING };
        SlotReport { slot: slot(number), stamp: Stamp::NONE, seen, knows: Default::default() }
    }

    #[test]
    fn reports_are_found_in_any_order_of_asking_and_of_answering() {
        let reports_in_order = [report(2, 2), report(4, 4), report(6, 6)];
        let shuffled = vec![report(4, 1), report(6, 6), report(4, 4), report(2, 2)];
        for reports in [reports_in_order.to_vec(), shuffled] {
            let mut reported = Reported::new(reports);
            for number in [1, 2, 3, 4, 5, 6, 7, 6, 2, 0, 4, 5, 3, 6] {
                let expected = reports_in_order.iter().find(|report| report.slot == slot(number));
                assert_eq!(reported.of(slot(number)), expected, "slot {number}");
            }
            reported.forget(slot(4));
            assert_eq!(reported.of(slot(4)), Some(&report(4, 0)));
        }
    }
}
