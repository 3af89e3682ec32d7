//! What a node knows of many slots.

use std::fmt;
use std::sync::Arc;

use cloister_proto::Slot;

use crate::label::Stamp;
use crate::message::SlotReport;

/// How many kinds an equal one is looked for among, the newest first.
const MAX_LOOKED_AT: usize = 8;

/// What a node knows of slots. Most of them are alike: what is the same of several is kept once.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::Slot;
/// use cloister_table_proto::{Seen, SlotReport, SlotReports, Stamp};
///
/// let nothing = |slot| SlotReport { slot, stamp: Stamp::NONE, seen: Seen::NOTHING, knows: Default::default() };
/// let reports: SlotReports = Slot::all().map(nothing).collect();
/// assert_eq!((reports.len(), reports.iter().next()), (16_384, Slot::all().next().map(nothing)));
/// ```
#[derive(Clone, Default)]
pub struct SlotReports {
    /// What is said of several slots, with the first of them.
    kinds: Vec<SlotReport>,
    /// The slots, with the place in `kinds`.
    slots: Vec<(Slot, u32)>,
}

impl SlotReports {
    /// How many reports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The reports, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = SlotReport> {
        self.with_kinds().map(|(slot, _, kind)| SlotReport { slot, ..kind.clone() })
    }

    /// The slots, with what is said of them but for the slot, and the number of that: one number means one thing.
    pub fn with_kinds(&self) -> impl Iterator<Item = (Slot, u32, &SlotReport)> {
        self.slots
            .iter()
            .filter_map(|(slot, number)| Some((*slot, *number, self.kinds.get(*number as usize)?)))
    }

    /// Adds what is known of a slot.
    pub fn push(&mut self, report: SlotReport) {
        let newest = self.kinds.iter().enumerate().rev().take(MAX_LOOKED_AT);
        let known = newest.filter(|(_, kind)| is_alike(kind, &report)).map(|(at, _)| at).next();
        let slot = report.slot;
        let kind = known.unwrap_or_else(|| {
            self.kinds.push(report);
            self.kinds.len() - 1
        });
        // A message has no more.
        self.slots.push((slot, u32::try_from(kind).unwrap_or(u32::MAX)));
    }

    /// Adds a slot of which the same is known as of the one before. Of the first one nothing is known.
    pub fn push_same(&mut self, slot: Slot) {
        match self.slots.last() {
            Some((_, kind)) => self.slots.push((slot, *kind)),
            None => self.push(SlotReport::nothing(slot)),
        }
    }

    /// What is said of the slot at this place, and the number of that.
    pub(crate) fn at(&self, place: usize) -> Option<(u32, &SlotReport)> {
        let (_, number) = self.slots.get(place)?;
        Some((*number, self.kinds.get(*number as usize)?))
    }

    /// The content of the slot at this place is gone. What was said to have been seen of it stays.
    pub(crate) fn forget_content(&mut self, place: usize) {
        if let Some((_, kind)) = self.slots.get_mut(place)
            && let Some(report) = self.kinds.get(*kind as usize)
        {
            let report = SlotReport { stamp: Stamp::NONE, ..report.clone() };
            *kind = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
            self.kinds.push(report);
        }
    }

    /// In order of their slots, each once: the last word on a slot counts.
    pub(crate) fn sort(&mut self) {
        if !self.slots.is_sorted_by(|(one, _), (next, _)| one < next) {
            self.slots.reverse();
            self.slots.sort_by_key(|(slot, _)| *slot);
            self.slots.dedup_by_key(|(slot, _)| *slot);
        }
    }

    /// The slot at each place.
    pub(crate) fn slots(&self) -> &[(Slot, u32)] {
        &self.slots
    }
}

fn is_alike(one: &SlotReport, other: &SlotReport) -> bool {
    one.stamp == other.stamp
        && one.seen == other.seen
        && (Arc::ptr_eq(&one.knows, &other.knows) || one.knows == other.knows)
}

impl fmt::Debug for SlotReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for SlotReports {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SlotReports {}

impl FromIterator<SlotReport> for SlotReports {
    fn from_iter<I: IntoIterator<Item = SlotReport>>(reports: I) -> Self {
        let mut all = Self::default();
        reports.into_iter().for_each(|report| all.push(report));
        all
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::Epoch;

    use super::*;
    use crate::label::Seen;

    fn report(number: u16, writes: u64) -> SlotReport {
        let seen = Seen { writes: Epoch::from_u64(writes), ..Seen::NOTHING };
        let slot = Slot::new(number).expect("a slot");
        let stamp = Stamp { candidate: Epoch::from_u64(writes), ..Stamp::NONE };
        SlotReport { slot, stamp, seen, knows: Arc::default() }
    }

    #[test]
    fn reports_are_as_in_a_list_and_those_that_are_alike_are_kept_once() {
        let list: Vec<SlotReport> = (0..1_000).map(|number| report(number, u64::from(number % 3))).collect();
        let mut reports: SlotReports = list.iter().cloned().collect();
        assert!(reports.iter().eq(list) && reports.kinds.len() == 3 && reports.len() == 1_000);
        reports.push_same(Slot::new(1_000).expect("a slot"));
        assert_eq!(reports.iter().last(), Some(report(1_000, 0)));
        reports.forget_content(4);
        let left = reports.at(4).map(|(_, its)| (its.stamp, its.seen));
        assert_eq!(left, Some((Stamp::NONE, report(4, 1).seen)));
        assert_eq!(reports.at(1).map(|(_, its)| its.seen.writes), Some(Epoch::from_u64(1)));
    }

    #[test]
    fn reports_that_all_differ_are_kept_and_are_equal_to_the_same_ones() {
        let list: Vec<SlotReport> = (0..1_000).map(|number| report(number, u64::from(number))).collect();
        let reports: SlotReports = list.iter().cloned().collect();
        assert!(reports.iter().eq(list.iter().cloned()) && reports == list.iter().cloned().collect());
        assert!(reports != list.into_iter().rev().collect());
    }

    #[test]
    fn of_a_first_slot_that_is_like_the_one_before_nothing_is_known() {
        let mut reports = SlotReports::default();
        reports.push_same(Slot::new(7).expect("a slot"));
        assert!(reports.iter().eq([report(7, 0)]) && !reports.is_empty());
    }
}
