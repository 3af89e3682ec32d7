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
    use crate::timers::Paused;

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

    /// Copies keep rows while builds change, and a build reads what the one before has written.
    #[test]
    fn rows_have_the_bytes_they_always_had() {
        const CHANGED: &str = "The bytes of the row of an entity have changed. Is it not meant? Restore them. Is it meant? Give the new form \
             a first byte of its own and read both: an older build says \"a row of version N: a later release wrote it\", and keeps the row.";
        let timers = |timers: &[(u64, &str)]| {
            let mut all = Timers::default();
            for (due, message) in timers {
                all.add(2, *due, message.as_bytes().to_vec().into());
            }
            all
        };
        let two = timers(&[(0x0304, "late"), (0x0102, "")]);
        let (mut cancelled, mut gone) = (two.clone(), two.clone());
        while cancelled.take_due(0x0102, &mut Paused::default()).is_some() {}
        while gone.take_due(u64::MAX, &mut Paused::default()).is_some() {}
        let rows: [(&[u8], Timers, &[u8]); 6] = [
            (b"state", Timers::default(), b"\x00state"),
            (b"", Timers::default(), b"\x00"),
            // Nothing is kept of timers that have fired.
            (b"state", gone, b"\x00state"),
            (
                b"state",
                two.clone(),
                b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\x45\
                  \x82\xa4last\xcd\x08\x01\xa6timers\x92\x83\xa2id\xcd\x08\x00\xa3due\xcd\x03\x04\xa7message\xc4\x04late\x83\xa2id\xcd\x08\x01\xa3due\xcd\x01\x02\xa7message\xc4\x00state",
            ),
            (
                b"",
                cancelled,
                b"\x01\0\0\0\0\0\0\x03\x04\0\0\0\x2d\
                  \x82\xa4last\xcd\x08\x01\xa6timers\x91\x83\xa2id\xcd\x08\x00\xa3due\xcd\x03\x04\xa7message\xc4\x04late",
            ),
            (
                b"s",
                timers(&[(u64::MAX, "end")]),
                b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x32\
                  \x82\xa4last\xcd\x08\x00\xa6timers\x91\x83\xa2id\xcd\x08\x00\xa3due\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa7message\xc4\x03ends",
            ),
        ];
        for (state, timers, golden) in rows {
            let written = write(state, &timers).unwrap();
            let shown = |row: &[u8]| row.escape_ascii().to_string();
            assert_eq!(shown(&written), shown(golden), "{CHANGED}");
            assert_eq!(due(golden), timers.earliest(), "{CHANGED}");
            let (read_state, read_timers) = read(golden).unwrap_or_else(|error| panic!("{error}\n{CHANGED}"));
            assert_eq!(read_state, state, "{CHANGED}");
            let expected = if timers.earliest().is_some() { timers } else { Timers::default() };
            assert_eq!(read_timers, expected, "{CHANGED}");
        }
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
