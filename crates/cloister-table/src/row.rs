//! A value of a table as it is kept: with the time at which it expires, if it does.
//!
//! ```text
//! 0 │ value                 for ever
//! 1 │ expires: u64 │ value  until then, in milliseconds since the Unix epoch; the greatest byte first
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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

/// The encoded value of a row.
pub(crate) fn value(row: &[u8]) -> &[u8] {
    match row.split_first() {
        Some((&EXPIRING, rest)) => rest.get(8..).unwrap_or_default(),
        Some((_, value)) => value,
        None => &[],
    }
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

/// The keys that expire, by the time at which they may. A key is in it once; one that expires later by now is put back.
#[derive(Debug, Default)]
pub(crate) struct Expiries(BinaryHeap<Reverse<(u64, Bytes)>>);

impl Expiries {
    pub(crate) fn add(&mut self, at: u64, key: Bytes) {
        self.0.push(Reverse((at, key)));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a key whose time has come.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Bytes> {
        self.0.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.0.pop().map(|Reverse((_, key))| key)
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
        // What was cut is no panic.
        assert_eq!((value(&expiring[..4]), expires_at(&expiring[..4])), (&[] as &[u8], None));
        assert_eq!((value(&[]), expires_at(&[])), (&[] as &[u8], None));
    }
}
