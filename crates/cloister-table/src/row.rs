//! A value of a table as it is kept: with the time at which it expires, if it does.
//!
//! ```text
//! 0 │ value                 for ever
//! 1 │ expires: u64 │ value  until then, in milliseconds since the Unix epoch; the greatest byte first
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_table_proto::Bytes;
use serde::Serialize;

use crate::options::encode_into;

const PLAIN: u8 = 0;
const EXPIRING: u8 = 1;

/// The present time of the wall clock, in milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A value that does not expire.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let mut row = vec![PLAIN];
    encode_into(&mut row, value)?;
    Ok(row)
}

/// The same value, for another time; `None` is for ever.
pub(crate) fn until(row: &Bytes, expires: Option<u64>) -> Bytes {
    match expires {
        None if expires_at(row).is_none() => Bytes::clone(row),
        None => [&[PLAIN], value(row)].concat().into(),
        Some(at) => [&[EXPIRING], at.to_be_bytes().as_slice(), value(row)].concat().into(),
    }
}

/// The encoded value of a row. It is empty, which no encoded value is, where the row was cut or has the form of a later release.
pub(crate) fn value(row: &[u8]) -> &[u8] {
    match row.split_first() {
        Some((&PLAIN, value)) => value,
        Some((&EXPIRING, rest)) => rest.get(8..).unwrap_or_default(),
        _ => &[],
    }
}

/// Whether two rows have the same value.
pub(crate) fn is_same_value(one: &[u8], other: &[u8]) -> bool {
    one == other || (!value(one).is_empty() && value(one) == value(other))
}

/// When a row expires.
pub(crate) fn expires_at(row: &[u8]) -> Option<u64> {
    let (&EXPIRING, rest) = row.split_first()? else { return None };
    Some(u64::from_be_bytes(*rest.first_chunk()?))
}

/// Whether a row has not expired.
pub(crate) fn is_live(row: &[u8], now: u64) -> bool {
    expires_at(row).is_none_or(|at| now < at)
}

/// How many keys may be in [`Expiries`] in vain, beside as many as are not.
const MAX_STALE: usize = 1_000;

/// The keys that expire, each at the time of its row or before it. One that is written again may be in it more than once, and one whose
/// row has gone stays until its time.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    keys: BinaryHeap<Reverse<(u64, Bytes)>>,
    /// How many are there in vain, about.
    stale: usize,
}

impl Expiries {
    pub(crate) fn add(&mut self, at: u64, key: Bytes) {
        self.keys.push(Reverse((at, key)));
    }

    /// A key that was added is there in vain: its row is gone, or was added again.
    pub(crate) fn is_stale(&mut self) {
        self.stale += 1;
    }

    /// A key that was taken had been there in vain.
    pub(crate) fn was_stale(&mut self) {
        self.stale = self.stale.saturating_sub(1);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a key whose time has come.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Bytes> {
        self.keys.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.keys.pop().map(|Reverse((_, key))| key)
    }

    /// Drops what is there in vain, if that may be much. `expires_at` says when the row of a key expires.
    pub(crate) fn prune(&mut self, expires_at: impl Fn(&Bytes) -> Option<u64>) {
        if 2 * self.stale <= self.keys.len() + MAX_STALE {
            return;
        }
        let keys: BTreeSet<Bytes> = self.keys.drain().map(|Reverse((_, key))| key).collect();
        self.keys = keys.into_iter().filter_map(|key| Some(Reverse((expires_at(&key)?, key)))).collect();
        self.stale = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_value_and_is_there_until_its_time() {
        let plain: Bytes = encode("value").unwrap().into();
        let inner = crate::options::encode("value").unwrap();
        assert_eq!((value(&plain), expires_at(&plain)), (inner.as_slice(), None));
        let expiring = until(&plain, Some(1_000));
        assert_eq!((value(&expiring), expires_at(&expiring)), (inner.as_slice(), Some(1_000)));
        assert_eq!((is_live(&expiring, 999), is_live(&expiring, 1_000)), (true, false));
        assert!(is_live(&plain, u64::MAX));
        assert_eq!(until(&expiring, None), plain);
        // The form of a later release is no value of this one: its bytes might be read as another value.
        assert_eq!((value(b"\x02\x07\x08"), expires_at(b"\x02\x07\x08")), (&[] as &[u8], None));
        assert!(is_same_value(&plain, &expiring) && is_same_value(b"\x02\x07", b"\x02\x07"));
        assert!(!is_same_value(b"\x02\x07", b"\x02\x08"), "two values that cannot be read may differ");
        // What was cut is no panic.
        assert_eq!((value(&expiring[..4]), expires_at(&expiring[..4])), (&[] as &[u8], None));
        assert_eq!((value(&[]), expires_at(&[])), (&[] as &[u8], None));
    }

    /// Copies keep rows while builds change: a build reads what the one before has written.
    #[test]
    fn rows_have_the_bytes_they_always_had() {
        let changed = "The bytes of a row have changed. Is it not meant? Restore them. Is it meant? Give the new form a first byte of its own, \
                       read both, and let no build write it before the one that reads it is everywhere.";
        let plain: Bytes = encode("value").unwrap().into();
        let expiring = until(&plain, Some(0x0102_0304_0506_0708));
        assert_eq!(plain.escape_ascii().to_string(), r"\x00\xa5value", "{changed}");
        assert_eq!(
            expiring.escape_ascii().to_string(),
            r"\x01\x01\x02\x03\x04\x05\x06\x07\x08\xa5value",
            "{changed}"
        );
        for (golden, expires) in
            [(b"\x00\xa5value".as_slice(), None), (b"\x01\0\0\0\0\0\0\x03\xe8\xa5value", Some(1_000))]
        {
            assert_eq!((value(golden), expires_at(golden)), (b"\xa5value".as_slice(), expires), "{changed}");
        }
    }

    #[test]
    fn keys_that_are_written_again_and_again_are_kept_a_few_times() {
        let key = |n: u64| Bytes::from(n.to_be_bytes());
        let (mut expiries, live) = (Expiries::default(), 500);
        for at in 0..100_000 {
            expiries.add(at, key(at % (2 * live)));
            if at >= 2 * live {
                expiries.is_stale();
            }
            // Every other one has been removed since, and the others expire later.
            expiries.prune(|key| {
                let n = u64::from_be_bytes(*key.first_chunk()?);
                (n < live).then_some(200_000 + n)
            });
            let max = 2 * (MAX_STALE + 2 * live as usize);
            assert!(expiries.keys.len() <= max, "{} keys, {live} of them live", expiries.keys.len());
        }
        let due: BTreeSet<Bytes> = std::iter::from_fn(|| expiries.take_due(u64::MAX)).collect();
        assert!((0..live).all(|n| due.contains(&key(n))));
    }

    #[test]
    fn keys_that_are_all_live_are_not_looked_through() {
        let mut expiries = Expiries::default();
        for n in 0..100_000_u64 {
            expiries.add(n, Bytes::from(n.to_be_bytes()));
            expiries.prune(|_| panic!("it is looked through with {n} keys"));
        }
    }
}
