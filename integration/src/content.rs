//! The rows that a node of a test writes into a table, and what there is of them afterwards.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How many bytes a row takes with its key: a key of nine bytes, a value of a mark, a length of two and its text.
pub const ROW_BYTES: u64 = 9 + 103;

/// The value of the row with this key: 100 bytes, which no other row has.
pub fn row_value(key: u64) -> String {
    format!("{key:0100}")
}

/// How many rows there are, and a sum over their keys and values that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How many rows.
    pub rows: u64,
    /// The sum.
    pub checksum: u64,
}

impl Content {
    /// Counts one row more.
    pub fn add(&mut self, key: u64, value: &str) {
        let hash = xxh3_64(&[&key.to_be_bytes(), value.as_bytes()].concat());
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(hash);
    }

    /// What both have together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, checksum: self.checksum.wrapping_add(other.checksum) }
    }

    /// What there should be after rows with these keys were written.
    pub fn written(keys: std::ops::Range<u64>) -> Self {
        let mut content = Self::default();
        keys.for_each(|key| content.add(key, &row_value(key)));
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_make_the_content_and_every_difference_shows() {
        let of = |rows: &[(u64, String)]| {
            let mut content = Content::default();
            rows.iter().for_each(|(key, value)| content.add(*key, value));
            content
        };
        let rows: Vec<(u64, String)> = (0..10).map(|key| (key, row_value(key))).collect();
        let all = Content::written(0..10);
        let mut other = rows.clone();
        other.reverse();
        assert_eq!(of(&other[..3]).and(of(&other[3..])), all);
        // One is missing, one is there twice, and two have changed values.
        assert_ne!(of(&rows[1..]), all);
        let twice = [&rows[1..], &rows[1..2]].concat();
        assert_eq!(of(&twice).rows, all.rows);
        assert_ne!(of(&twice), all);
        let mut swapped = rows;
        swapped[0].1 = row_value(1);
        swapped[1].1 = row_value(0);
        assert_ne!(of(&swapped), all);
        assert_eq!(row_value(u64::MAX).len(), 100);
    }
}
