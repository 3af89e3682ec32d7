//! What a table keeps for its slots where many slots have the same: they share it.

use std::collections::VecDeque;
use std::sync::Arc;

use cloister_proto::Slot;

use super::slots::{SlotList, SlotMap};

/// How many values are remembered for slots that get an equal one.
const MAX_VALUES: usize = 16;

/// How many changes are remembered, and how many results of each.
const MAX_CHANGES: usize = 8;
const MAX_RESULTS: usize = 256;

/// After how many new values in a row no equal one is looked for any more: each slot has its own.
const MAX_MISSES: usize = 2 * MAX_VALUES;

/// A map from slots of a table. Slots that get equal values, and are changed alike, share one. A value that was changed for its own
/// slot is that slot's alone.
#[derive(Debug)]
pub(super) struct SharedMap<T, C> {
    values: SlotMap<Arc<T>>,
    recent: VecDeque<Arc<T>>,
    misses: usize,
    results: VecDeque<Results<T, C>>,
}

/// What a change made of values.
#[derive(Debug)]
struct Results<T, C> {
    change: C,
    /// Before and after it.
    values: Vec<(Arc<T>, Arc<T>)>,
}

impl<T: Clone + PartialEq, C: PartialEq> SharedMap<T, C> {
    pub(super) fn new(list: &Arc<SlotList>) -> Self {
        Self { values: SlotMap::new(list), recent: VecDeque::new(), misses: 0, results: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.values.contains(slot)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.values.get(slot).map(|value| &**value)
    }

    /// The value of a slot, to be changed for this slot alone.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.values.get_mut(slot).map(Arc::make_mut)
    }

    /// Sets a value that no other slot will have.
    pub(super) fn insert(&mut self, slot: Slot, value: T) {
        self.values.insert(slot, Arc::new(value));
    }

    /// Sets a value that another slot has, too.
    pub(super) fn insert_shared(&mut self, slot: Slot, value: Arc<T>) {
        self.values.insert(slot, value);
    }

    /// The value of a slot, for another slot.
    pub(super) fn shared(&self, slot: Slot) -> Option<Arc<T>> {
        self.values.get(slot).cloned()
    }

    /// Sets a value that other slots probably have, too.
    pub(super) fn share(&mut self, slot: Slot, value: T) {
        let equal =
            self.recent.iter().rev().filter(|_| self.misses <= MAX_MISSES).find(|its| ***its == value);
        let value = match equal {
            Some(equal) => {
                self.misses = 0;
                Arc::clone(equal)
            }
            None => {
                let value = Arc::new(value);
                self.remember(&value);
                value
            }
        };
        self.values.insert(slot, value);
    }

    /// Slots whose values have become equal share them.
    pub(super) fn share_equal(&mut self) {
        let own = self.values.iter().filter(|(_, value)| Arc::strong_count(value) == 1);
        for slot in own.map(|(slot, _)| slot).collect::<Vec<_>>() {
            let Some(value) = self.values.get_mut(slot) else { continue };
            match self.recent.iter().rev().filter(|_| self.misses <= MAX_MISSES).find(|its| **its == *value) {
                Some(equal) => (*value, self.misses) = (Arc::clone(equal), 0),
                None => {
                    let value = Arc::clone(value);
                    self.remember(&value);
                }
            }
        }
    }

    /// A value that is equal to none of the recent ones.
    fn remember(&mut self, value: &Arc<T>) {
        if self.misses > MAX_MISSES {
            return;
        }
        self.misses += 1;
        if self.recent.len() >= MAX_VALUES {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(value));
    }

    /// Changes the value of a slot, and returns what it is now. `make` follows from `change` alone: of slots that share a value it is called for one.
    pub(super) fn change(&mut self, slot: Slot, change: C, make: impl FnOnce(&mut T)) -> Option<&T> {
        let value = self.values.get_mut(slot)?;
        Self::change_value(&mut self.results, value, change, make);
        Some(value)
    }

    /// Changes those that are meant.
    pub(super) fn change_all(&mut self, is_meant: impl Fn(&T) -> bool, change: C, make: impl Fn(&mut T))
    where
        C: Copy,
    {
        for value in self.values.values_mut().filter(|value| is_meant(value)) {
            Self::change_value(&mut self.results, value, change, &make);
        }
    }

    fn change_value(
        results: &mut VecDeque<Results<T, C>>,
        value: &mut Arc<T>,
        change: C,
        make: impl FnOnce(&mut T),
    ) {
        // Looking at the count first costs no atomic exchange.
        if Arc::strong_count(value) == 1
            && let Some(own) = Arc::get_mut(value)
        {
            return make(own);
        }
        let known = results.iter().rposition(|its| its.change == change);
        let at = known.unwrap_or_else(|| {
            if results.len() >= MAX_CHANGES {
                results.pop_front();
            }
            results.push_back(Results { change, values: Vec::new() });
            results.len() - 1
        });
        let Some(its) = results.get_mut(at) else { return };
        if let Some((_, after)) = its.values.iter().find(|(before, _)| Arc::ptr_eq(before, value)) {
            *value = Arc::clone(after);
            return;
        }
        let before = Arc::clone(value);
        make(Arc::make_mut(value));
        if its.values.len() < MAX_RESULTS {
            its.values.push((before, Arc::clone(value)));
        }
    }

    /// Forgets what was only remembered to share it.
    pub(super) fn forget_shared(&mut self) {
        (self.recent, self.results, self.misses) = (VecDeque::new(), VecDeque::new(), 0);
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<T>> {
        self.values.remove(slot)
    }

    pub(super) fn retain(&mut self, mut is_meant: impl FnMut(&T) -> bool) {
        self.values.retain(|value| is_meant(value));
    }

    pub(super) fn clear(&mut self) {
        self.forget_shared();
        self.values.clear();
    }

    /// The slots that have a value.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.values.slots()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.values.iter().map(|(slot, value)| (slot, &**value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values().map(|value| &**value)
    }

    /// A slot whose value is meant, if there is one. `first` is looked at first, then those after it, and those before it last.
    pub(super) fn find_from(&self, first: Option<Slot>, is_meant: impl Fn(&T) -> bool) -> Option<Slot> {
        self.values.find_from(first, |value| is_meant(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    fn map() -> SharedMap<Vec<u8>, u8> {
        SharedMap::new(&SlotList::new(&[1, 2, 3, 4].map(slot)))
    }

    /// Which slots share their value with the first one.
    fn shares(map: &SharedMap<Vec<u8>, u8>) -> [bool; 3] {
        let of = |number| map.values.get(slot(number)).expect("a value");
        [2, 3, 4].map(|number| Arc::ptr_eq(of(1), of(number)))
    }

    #[test]
    fn slots_that_are_changed_alike_share_their_value() {
        let mut map = map();
        (1..=4).for_each(|number| map.share(slot(number), vec![7]));
        assert_eq!(shares(&map), [true; 3]);
        for number in [1, 3, 4] {
            map.change(slot(number), 9, |value| value.push(9));
        }
        assert_eq!((shares(&map), map.get(slot(4))), ([false, true, true], Some(&vec![7, 9])));
        map.change(slot(4), 8, |value| value.push(8));
        assert_eq!((map.get(slot(2)), map.get(slot(4))), (Some(&vec![7]), Some(&vec![7, 9, 8])));
        map.change_all(|value| value.len() > 1, 5, |value| value.push(5));
        assert!(map.values().eq([&vec![7, 9, 5], &vec![7], &vec![7, 9, 5], &vec![7, 9, 8, 5]]));
        assert_eq!(shares(&map), [false, true, false]);
    }

    #[test]
    fn a_value_that_is_changed_for_its_slot_is_its_own() {
        let mut map = map();
        (1..=4).for_each(|number| map.share(slot(number), vec![7]));
        map.get_mut(slot(2)).expect("a value").push(9);
        map.insert(slot(3), vec![7]);
        assert!(map.values().eq([&vec![7], &vec![7, 9], &vec![7], &vec![7]]));
        assert_eq!(shares(&map), [false, false, true]);
    }

    #[test]
    fn values_that_all_differ_are_not_searched_for_ever() {
        let numbers: Vec<u16> = (0..1_000).collect();
        let slots: Vec<Slot> = numbers.iter().copied().map(slot).collect();
        let mut map: SharedMap<u16, u8> = SharedMap::new(&SlotList::new(&slots));
        numbers.iter().for_each(|number| map.share(slot(*number), *number));
        assert!(map.values().eq(&numbers) && map.recent.len() == MAX_VALUES);
        map.forget_shared();
        for number in [0, 1] {
            *map.get_mut(slot(number)).expect("a value") = 5;
        }
        map.share_equal();
        assert!(map.values.get(slot(0)).zip(map.values.get(slot(1))).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
    }
}
