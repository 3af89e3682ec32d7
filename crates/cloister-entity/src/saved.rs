//! A state as it is kept in a store.
//!
//! ```text
//!      state                                   MessagePack, which never begins with 0xc1
//! 0xc1 │ count: u16 │ timers: u64 … │ state    numbers have the greatest byte first
//! ```
//!
//! The store and the row of an entity are not written at one instant, and its timers are in the row. A timer that is applied to a state
//! stands before it, so that it is not applied again if the row still has it.

use crate::context::TimerId;

const APPLIED: u8 = 0xc1;

/// What is saved of an encoded state to which these timers were applied.
pub(crate) fn write(state: Vec<u8>, applied: &[TimerId]) -> Result<Vec<u8>, String> {
    if applied.is_empty() {
        return Ok(state);
    }
    let count =
        u16::try_from(applied.len()).map_err(|_| "more than 65 535 timers were applied to it".to_owned())?;
    let mut saved = Vec::with_capacity(3 + 8 * applied.len() + state.len());
    saved.push(APPLIED);
    saved.extend(count.to_be_bytes());
    saved.extend(applied.iter().flat_map(|timer| timer.0.to_be_bytes()));
    saved.extend(state);
    Ok(saved)
}

/// The timers that were applied, and the encoded state.
pub(crate) fn read(saved: &[u8]) -> Result<(Vec<TimerId>, &[u8]), String> {
    let Some((&APPLIED, rest)) = saved.split_first() else { return Ok((Vec::new(), saved)) };
    let short = || format!("a saved state of {} bytes is too short", saved.len());
    let (count, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let timers = 8 * usize::from(u16::from_be_bytes(*count));
    let (timers, state) = rest.split_at_checked(timers).ok_or_else(short)?;
    let (timers, _) = timers.as_chunks::<8>();
    Ok((timers.iter().map(|timer| TimerId(u64::from_be_bytes(*timer))).collect(), state))
}

#[cfg(test)]
mod tests {
    use cloister_table::service::encode;

    use super::*;

    /// Stores keep them while builds change.
    #[test]
    fn saved_states_have_the_bytes_they_always_had() {
        let changed =
            "stores have states of this form: read it as before, and give a new one a first byte of its own";
        let state = encode(&(7, "seven")).unwrap();
        let plain = write(state.clone(), &[]).unwrap();
        assert_eq!(plain.escape_ascii().to_string(), r"\x92\x07\xa5seven", "{changed}");
        assert_eq!(read(&plain), Ok((Vec::new(), state.as_slice())));
        let timers = [TimerId(0x0102), TimerId(3)];
        let applied = write(state.clone(), &timers).unwrap();
        let golden =
            r"\xc1\x00\x02\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x03\x92\x07\xa5seven";
        assert_eq!(applied.escape_ascii().to_string(), golden, "{changed}");
        assert_eq!(read(&applied), Ok((timers.to_vec(), state.as_slice())));
        for end in 1..19 {
            assert!(read(&applied[..end]).is_err(), "{end} bytes");
        }
    }
}
