//! Up to which view a node knows what was seen of each slot.

use std::sync::Arc;

use cloister_proto::Epoch;

use crate::knowledge::Knowledge;

/// What is known of each slot of a table. Slots of which the same is known share it: nearly all do.
#[derive(Debug)]
pub(crate) struct SharedKnowledge {
    kinds: Vec<Arc<Knowledge>>,
    /// Which of these each slot has, by its place in the table.
    of: Vec<u16>,
    last: Informed,
}

/// What follows from each kind where the owner tells what was seen in the view of this epoch.
#[derive(Debug, Default)]
struct Informed {
    epoch: Epoch,
    is_installed: bool,
    next: Vec<Option<u16>>,
}

impl SharedKnowledge {
    /// Nothing is known of so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { kinds: vec![Arc::default()], of: vec![0; slots], last: Informed::default() }
    }

    /// What is known of the slot at this place.
    pub(crate) fn of(&self, place: usize) -> Option<&Arc<Knowledge>> {
        self.kinds.get(usize::from(*self.of.get(place)?))
    }

    /// Changes what is known of all slots.
    pub(crate) fn change_all(&mut self, change: impl Fn(&mut Knowledge)) {
        self.kinds.iter_mut().for_each(|kind| change(Arc::make_mut(kind)));
        self.merge();
    }

    /// The owner of the slot at this place told what was seen before the view of this epoch.
    pub(crate) fn informed(&mut self, place: usize, epoch: Epoch, is_installed: bool) {
        if self.last.epoch != epoch || self.last.is_installed != is_installed {
            self.merge();
            self.last = Informed { epoch, is_installed, next: Vec::new() };
        }
        let Some(kind) = self.of.get(place).copied() else { return };
        let known = self.last.next.get(usize::from(kind)).copied().flatten();
        let next = known.unwrap_or_else(|| self.kind_after(kind));
        if let Some(its) = self.of.get_mut(place) {
            *its = next;
        }
    }

    fn kind_after(&mut self, kind: u16) -> u16 {
        let mut knowledge =
            self.kinds.get(usize::from(kind)).map_or_else(Knowledge::default, |its| (**its).clone());
        knowledge.informed(self.last.epoch);
        if self.last.is_installed {
            knowledge.installed(self.last.epoch);
        }
        let next = Self::find_or_push(&mut self.kinds, Arc::new(knowledge));
        self.last.next.resize(self.kinds.len(), None);
        if let Some(its) = self.last.next.get_mut(usize::from(kind)) {
            *its = Some(next);
        }
        next
    }

    /// Drops kinds that no slot has, and all but one of equal ones.
    fn merge(&mut self) {
        let before = std::mem::take(&mut self.kinds);
        let mut numbers: Vec<Option<u16>> = vec![None; before.len()];
        for its in &mut self.of {
            let (Some(number), Some(kind)) =
                (numbers.get_mut(usize::from(*its)), before.get(usize::from(*its)))
            else {
                continue;
            };
            *its = *number.get_or_insert_with(|| Self::find_or_push(&mut self.kinds, Arc::clone(kind)));
        }
        self.last = Informed::default();
    }

    fn find_or_push(kinds: &mut Vec<Arc<Knowledge>>, kind: Arc<Knowledge>) -> u16 {
        let at = kinds.iter().position(|its| *its == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        // There are no more kinds than slots, and no more that follow from them: less than fit.
        u16::try_from(at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::from_u64(number)
    }

    #[test]
    fn slots_are_told_one_by_one_and_share_what_is_the_same() {
        let mut knowledge = SharedKnowledge::new(3);
        knowledge.informed(0, epoch(4), false);
        knowledge.informed(2, epoch(4), false);
        assert!([0, 2].iter().all(|place| knowledge.of(*place).is_some_and(|its| its.covers(epoch(4)))));
        assert!(knowledge.of(1).is_some_and(|its| !its.covers(epoch(4))) && knowledge.of(3).is_none());
        assert_eq!(knowledge.kinds.len(), 2);
        knowledge.informed(1, epoch(4), false);
        knowledge.change_all(|its| its.installed(epoch(4)));
        assert_eq!((knowledge.kinds.len(), knowledge.of(1).map(|its| its.certain)), (1, Some(epoch(4))));
        knowledge.informed(1, epoch(5), true);
        assert_eq!(knowledge.of(1).map(|its| its.certain), Some(epoch(5)));
        assert_eq!(knowledge.of(0).map(|its| its.certain), Some(epoch(4)));
    }

    #[test]
    fn views_that_only_tell_leave_nothing_behind() {
        let mut knowledge = SharedKnowledge::new(2);
        for number in 1..2_000 {
            knowledge.informed(0, epoch(number), true);
        }
        assert_eq!(knowledge.of(0).map(|its| its.certain), Some(epoch(1_999)));
        assert!(knowledge.of(1).is_some_and(|its| **its == Knowledge::default()));
        assert!(knowledge.kinds.len() <= 3);
    }
}
