//! An entity as a row of its table.
//!
//! ```text
//! 0 │ state                                                  without timers
//! 1 │ due: u64 │ length: u32 │ timers │ state               with timers; numbers have the greatest byte first
//! ```
//!
//! State and timers are MessagePack with names. The first time that a timer is due stands at a fixed place, since the rows of all slots
//! are looked through when a view begins.

use cloister_table::service::{decode, encode};

use crate::timers::Timers;

const PLAIN: u8 = 0;
const TIMED: u8 = 1;
/// How many bytes a row has at most beside its state and timers.
pub(crate) const HEAD: usize = 13;

/// The row of an encoded state; of none, where states are kept in a store.
pub(crate) fn write(state: &[u8], timers: &Timers) -> Result<Vec<u8>, String> {
    let Some(due) = timers.earliest() else {
        let mut row = Vec::with_capacity(1 + state.len());
        row.push(PLAIN);
        row.extend(state);
        return Ok(row);
    };
    let timers = encode(timers)?;
    let length = u32::try_from(timers.len()).map_err(|_| "its timers have more than 4 GiB".to_owned())?;
    let mut row = Vec::with_capacity(HEAD + timers.len() + state.len());
    row.push(TIMED);
    row.extend(due.to_be_bytes());
    row.extend(length.to_be_bytes());
    row.extend(timers);
    row.extend(state);
    Ok(row)
}

/// The encoded state and the timers of a row.
pub(crate) fn read(row: &[u8]) -> Result<(&[u8], Timers), String> {
    let short = || format!("a row of {} bytes is too short", row.len());
    match row.split_first().ok_or_else(short)? {
        (&PLAIN, state) => Ok((state, Timers::default())),
        (&TIMED, rest) => {
            let (_, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (timers, state) = rest.split_at_checked(length).ok_or_else(short)?;
            Ok((state, decode(timers)?))
        }
        (version, _) => Err(format!("a row of version {version}: a later release wrote it")),
    }
}

/// When the first timer of a row is due.
pub(crate) fn due(row: &[u8]) -> Option<u64> {
    let (&TIMED, rest) = row.split_first()? else { return None };
    Some(u64::from_be_bytes(*rest.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_brings_state_and_timers_and_shows_when_the_first_is_due() {
        let plain = write(b"seven", &Timers::default()).unwrap();
        assert_eq!(due(&plain), None);
        assert_eq!(read(&plain).unwrap(), (b"seven".as_slice(), Timers::default()));

        let mut timers = Timers::default();
        timers.add(0, 2_000, vec![0xff; 300].into());
        timers.add(0, 1_000, b"first".to_vec().into());
        let timed = write(b"eight", &timers).unwrap();
        assert!(timed.len() < 400, "{} bytes", timed.len());
        assert_eq!(due(&timed), Some(1_000));
        assert_eq!(read(&timed).unwrap(), (b"eight".as_slice(), timers));
    }

    #[test]
    fn what_is_no_row_is_an_error() {
        let mut timers = Timers::default();
        timers.add(0, 2_000, b"later".to_vec().into());
        let timed = write(b"eight", &timers).unwrap();
        for end in 0..timed.len() - b"eight".len() {
            assert!(read(&timed[..end]).is_err(), "{end} bytes of {}", timed.len());
        }
        assert!(read(&[9, 1]).unwrap_err().contains("version 9"));
    }
}
