//! What a table keeps for its slots: looked up by their place in a fixed list, not in a tree.

use std::sync::Arc;

use cloister_proto::{SLOTS, Slot};

/// The slots of a table, in order.
#[derive(Debug)]
pub(super) struct SlotList {
    slots: Vec<Slot>,
    /// The place in `slots` by the number of the slot; [`Self::NOWHERE`] for one that is not of this table.
    places: Vec<u16>,
}

impl SlotList {
    const NOWHERE: u16 = u16::MAX;

    pub(super) fn new(slots: &[Slot]) -> Arc<Self> {
        let mut slots = slots.to_vec();
        slots.sort_unstable();
        slots.dedup();
        let mut places = vec![Self::NOWHERE; SLOTS];
        for (slot, place) in slots.iter().zip(0..) {
            if let Some(its) = places.get_mut(usize::from(slot.number())) {
                *its = place;
            }
        }
        Arc::new(Self { slots, places })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot at a place.
    pub(super) fn at(&self, place: usize) -> Option<Slot> {
        self.slots.get(place).copied()
    }

    /// The place of a slot, if it is of this table.
    pub(super) fn place_of(&self, slot: Slot) -> Option<usize> {
        let place = *self.places.get(usize::from(slot.number()))?;
        (place != Self::NOWHERE).then_some(usize::from(place))
    }
}

/// A map from slots of a table. The values lie one after the other, and each slot has the place of its own.
#[derive(Debug)]
pub(super) struct SlotMap<T> {
    list: Arc<SlotList>,
    /// Where in `values` that of each slot is; [`SlotList::NOWHERE`] if it has none.
    places: Vec<u16>,
    values: Vec<Option<T>>,
    /// Places in `values` that are free.
    free: Vec<u16>,
}

impl<T> SlotMap<T> {
    pub(super) fn new(list: &Arc<SlotList>) -> Self {
        let places = vec![SlotList::NOWHERE; list.len()];
        Self { list: Arc::clone(list), places, values: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.get(slot).is_some()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let place = *self.places.get(self.list.place_of(slot)?)?;
        self.values.get(usize::from(place))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = *self.places.get(self.list.place_of(slot)?)?;
        self.values.get_mut(usize::from(place))?.as_mut()
    }

    /// The value of a slot, made if there is none; `None` if the slot is not of this table.
    pub(super) fn get_or_insert_with(&mut self, slot: Slot, make: impl FnOnce() -> T) -> Option<&mut T> {
        let place = self.places.get_mut(self.list.place_of(slot)?)?;
        if *place == SlotList::NOWHERE {
            *place = self.free.pop().unwrap_or_else(|| {
                self.values.push(None);
                // There are no more values than slots.
                u16::try_from(self.values.len() - 1).unwrap_or(SlotList::NOWHERE)
            });
        }
        Some(self.values.get_mut(usize::from(*place))?.get_or_insert_with(make))
    }

    /// Sets the value of a slot, unless it is not of this table.
    pub(super) fn insert(&mut self, slot: Slot, value: T) {
        self.remove(slot);
        self.get_or_insert_with(slot, || value);
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.places.get_mut(self.list.place_of(slot)?)?;
        let value = self.values.get_mut(usize::from(*place))?.take()?;
        self.free.push(std::mem::replace(place, SlotList::NOWHERE));
        Some(value)
    }

    pub(super) fn retain(&mut self, mut is_meant: impl FnMut(&T) -> bool) {
        let is_over = |(slot, value): (Slot, &T)| (!is_meant(value)).then_some(slot);
        for slot in self.iter().filter_map(is_over).collect::<Vec<_>>() {
            self.remove(slot);
        }
    }

    /// Takes all values out, in the order of their slots.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        let new = Self::new(&self.list);
        let Self { places, mut values, .. } = std::mem::replace(self, new);
        places.into_iter().filter_map(move |place| values.get_mut(usize::from(place))?.take())
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            *self = Self::new(&self.list);
        }
    }

    /// The slots that have a value.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.iter().map(|(slot, _)| slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let of = |(place, slot): (&u16, Slot)| Some((slot, self.values.get(usize::from(*place))?.as_ref()?));
        self.places.iter().zip(self.list.iter()).filter_map(of)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    /// In no order that means anything.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten()
    }

    /// A slot whose value is meant, if there is one. `first` is looked at first, then those after it, and those before it last.
    pub(super) fn find_from(&self, first: Option<Slot>, is_meant: impl Fn(&T) -> bool) -> Option<Slot> {
        let first = first.and_then(|first| self.list.place_of(first)).unwrap_or(0);
        let (before, after) = self.places.split_at_checked(first)?;
        let meant = |place: &u16| {
            self.values.get(usize::from(*place)).and_then(Option::as_ref).is_some_and(&is_meant)
        };
        let place = after
            .iter()
            .position(meant)
            .map_or_else(|| before.iter().position(meant), |at| Some(first + at))?;
        self.list.at(place)
    }
}

/// A small value for each slot of a table. It takes no memory until a slot gets another than the default one.
#[derive(Debug)]
pub(super) struct SlotArray<T> {
    list: Arc<SlotList>,
    values: Vec<T>,
}

impl<T: Copy + Default + PartialEq> SlotArray<T> {
    pub(super) fn new(list: &Arc<SlotList>) -> Self {
        Self { list: Arc::clone(list), values: Vec::new() }
    }

    /// The value of a slot; the default one if the slot is not of this table.
    pub(super) fn get(&self, slot: Slot) -> T {
        let place = self.list.place_of(slot);
        place.and_then(|place| self.values.get(place)).copied().unwrap_or_default()
    }

    /// Each slot has the default value.
    pub(super) fn clear(&mut self) {
        self.values = Vec::new();
    }

    /// Sets the value of a slot, unless it is not of this table.
    pub(super) fn set(&mut self, slot: Slot, value: T) {
        if self.values.is_empty() {
            if value == T::default() {
                return;
            }
            self.values = vec![T::default(); self.list.len()];
        }
        if let Some(its) = self.list.place_of(slot).and_then(|place| self.values.get_mut(place)) {
            *its = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn a_map_has_the_values_of_slots_of_its_table_in_order() {
        let list = SlotList::new(&[9, 3, 16_383, 3].map(slot));
        let mut map = SlotMap::new(&list);
        assert!(map.is_empty() && list.len() == 3 && list.place_of(slot(9)) == Some(1));
        for number in [16_383, 9, 4, 9] {
            map.insert(slot(number), number);
        }
        assert_eq!(map.iter().collect::<Vec<_>>(), [(slot(9), &9), (slot(16_383), &16_383)]);
        assert_eq!((map.len(), map.get(slot(4)), map.get(slot(3))), (2, None, None));
        assert_eq!(map.remove(slot(4)), None);
        assert_eq!(map.get_or_insert_with(slot(3), || 7), Some(&mut 7));
        assert_eq!(map.get_or_insert_with(slot(4), || 7), None);
        map.retain(|value| *value != 9);
        assert_eq!((map.len(), map.remove(slot(3)), map.remove(slot(3))), (2, Some(7), None));
        assert_eq!((map.take().collect::<Vec<_>>(), map.len()), (vec![16_383], 0));
    }

    #[test]
    fn an_array_takes_no_memory_until_a_value_differs() {
        let mut array: SlotArray<u8> = SlotArray::new(&SlotList::new(&[1, 2].map(slot)));
        array.set(slot(1), 0);
        assert_eq!((array.get(slot(1)), array.values.capacity()), (0, 0));
        array.set(slot(3), 7);
        array.set(slot(2), 7);
        assert_eq!([1, 2, 3].map(|number| array.get(slot(number))), [0, 7, 0]);
    }

    #[test]
    fn a_search_goes_on_from_where_it_was_and_round() {
        let list = SlotList::new(&[1, 2, 3, 4].map(slot));
        let mut map = SlotMap::new(&list);
        for number in 1..=4 {
            map.insert(slot(number), number);
        }
        assert_eq!(map.find_from(None, |_| true), Some(slot(1)));
        assert_eq!(map.find_from(Some(slot(3)), |_| true), Some(slot(3)));
        assert_eq!(map.find_from(Some(slot(3)), |value| *value < 3), Some(slot(1)));
        assert_eq!(map.find_from(Some(slot(3)), |value| *value > 4), None);
    }
}
