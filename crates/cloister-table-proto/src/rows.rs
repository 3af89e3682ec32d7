//! The rows of a slot, in order of their keys.
//!
//! A slot has some dozens of rows, rarely thousands. A sorted list takes half of the memory of a tree, and moves a few hundred bytes when a
//! row comes or goes. The key and the value of a small row are one allocation.

use crate::operation::Bytes;

/// A row with more bytes in key and value keeps them as they came, so that reading it copies nothing.
const MAX_PACKED: usize = 512;

/// Keys and values, in order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows(Vec<Row>);

/// A key and its value. Takes 16 bytes in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    /// The length of the key in [`PREFIX`] bytes, the key, and the value.
    Packed(Box<[u8]>),
    Shared(Box<(Bytes, Bytes)>),
}

/// How many bytes the length of a packed key has.
const PREFIX: usize = size_of::<u16>();

impl Row {
    fn new(key: Bytes, value: Bytes) -> Self {
        if key.len() + value.len() > MAX_PACKED {
            return Self::Shared(Box::new((key, value)));
        }
        let length = u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes();
        Self::Packed([&length[..], &key, &value].concat().into())
    }

    /// The key, and the value.
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Packed(packed) => {
                let (length, rest) = packed.split_at(PREFIX);
                rest.split_at(usize::from(u16::from_le_bytes([length[0], length[1]])))
            }
            Self::Shared(shared) => (&shared.0, &shared.1),
        }
    }

    fn value(&self) -> Bytes {
        match self {
            Self::Packed(_) => self.parts().1.into(),
            Self::Shared(shared) => shared.1.clone(),
        }
    }

    fn key(&self) -> Bytes {
        match self {
            Self::Packed(_) => self.parts().0.into(),
            Self::Shared(shared) => shared.0.clone(),
        }
    }

    fn bytes(&self) -> usize {
        let (key, value) = self.parts();
        key.len() + value.len()
    }
}

impl Rows {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.place_of(key).ok().map(|at| self.0[at].value())
    }

    /// Returns how many bytes the row of the key had, if there was one.
    pub(crate) fn insert(&mut self, key: &Bytes, value: &Bytes) -> Option<usize> {
        let row = Row::new(key.clone(), value.clone());
        match self.place_of(key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], row).bytes()),
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    // Half of the room of a list that doubles would be empty in many slots.
                    self.0.reserve_exact(1 + self.0.len() / 8);
                }
                self.0.insert(at, row);
                None
            }
        }
    }

    /// Returns how many bytes the row of the key had, if there was one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<usize> {
        let at = self.place_of(key).ok()?;
        let row = self.0.remove(at);
        if self.0.len() < self.0.capacity() / 2 {
            self.0.shrink_to_fit();
        }
        Some(row.bytes())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(Row::parts)
    }

    /// The rows whose keys come after `cursor`, from the first until they have `max` bytes; and whether none comes after them.
    pub(crate) fn chunk(&self, cursor: Option<&[u8]>, max: usize) -> (Vec<(Bytes, Bytes)>, bool) {
        let from = cursor.map_or(0, |cursor| self.0.partition_point(|row| row.parts().0 <= cursor));
        let mut rest = self.0[from..].iter();
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while bytes < max {
            let Some(row) = rest.next() else { break };
            bytes += row.bytes();
            chunk.push((row.key(), row.value()));
        }
        (chunk, rest.as_slice().is_empty())
    }

    fn place_of(&self, key: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|row| row.parts().0.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn rows_are_as_in_a_sorted_map() {
        let (mut rows, mut map) = (Rows::default(), BTreeMap::<Bytes, Bytes>::new());
        let mut random = 1_u32;
        for step in 0..5_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key: Bytes = (random >> 24).to_be_bytes()[3..].into();
            // Some are too large to be packed, and one fits exactly.
            let length = [0, 4, MAX_PACKED - 1, MAX_PACKED, 4 * MAX_PACKED][step as usize % 5];
            let value: Bytes = step.to_be_bytes().into_iter().cycle().take(length).collect();
            // Now they grow, now they shrink.
            let before = map.get(&key).map(|value| key.len() + value.len());
            if (random >> 8) % 4 < 1 + step / 1_000 % 2 * 2 {
                map.remove(&key);
                assert_eq!(rows.remove(&key), before);
            } else {
                map.insert(key.clone(), value.clone());
                assert_eq!(rows.insert(&key, &value), before);
            }
            assert_eq!((rows.get(&key), rows.len()), (map.get(&key).cloned(), map.len()));
            assert!(rows.0.capacity() <= rows.len() * 2 + 1, "{} for {}", rows.0.capacity(), rows.len());
            if step % 50 == 0 {
                assert!(rows.iter().eq(map.iter().map(|(key, value)| (&**key, &**value))));
                let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
                let after = (std::ops::Bound::Excluded(key.clone()), std::ops::Bound::Unbounded);
                let after: Vec<_> = map.range::<Bytes, _>(after).map(owned).collect();
                assert_eq!(rows.chunk(Some(&key), usize::MAX), (after, true));
                let first: Vec<_> = map.iter().take(1).map(owned).collect();
                assert_eq!(rows.chunk(None, 1), (first, map.len() <= 1));
            }
        }
    }

    #[test]
    fn a_place_takes_two_words() {
        assert_eq!(size_of::<Row>(), 16);
    }
}
