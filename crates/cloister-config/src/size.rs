//! Numbers of bytes.

use super::problem::ProblemKind;

/// The units, each with its number of bits.
const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];

/// The bytes that a text like `64MiB` stands for.
pub(super) fn parse(text: &str) -> Result<u64, ProblemKind> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(ProblemKind::NoUnit(super::problem::quoted(&format!("{text}B"))));
    }
    let unit = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (number, bits) = unit.ok_or(ProblemKind::NotASize)?;
    let number: u64 = number.trim_end().parse().map_err(|_| ProblemKind::NotASize)?;
    // What does not fit is out of every bound.
    Ok(number.saturating_mul(1 << bits))
}

/// What is wrong with a number of calls that is none of those that may wait.
pub(super) const WAITING_CALLS_OUT_OF_BOUNDS: ProblemKind =
    ProblemKind::NumberOutOfBounds { min: 1, max: MAX_WAITING_CALLS };

/// The most calls that may be configured to wait.
const MAX_WAITING_CALLS: u64 = 1 << 24;

/// What is wrong with so many calls that wait for an owner.
pub(super) fn waiting_calls(calls: usize) -> Option<ProblemKind> {
    let fits = (1..=MAX_WAITING_CALLS).contains(&(calls as u64));
    (!fits).then_some(WAITING_CALLS_OUT_OF_BOUNDS)
}

/// What is wrong with so many bytes that wait: one message of the greatest length must fit.
pub(super) fn waiting_bytes(bytes: u64) -> Option<ProblemKind> {
    let fits = (16 << 20..=1 << 40).contains(&bytes);
    (!fits).then_some(ProblemKind::SizeOutOfBounds { min: "16MiB", max: "1TiB" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_and_a_unit() {
        let parsed = |text| parse(text).ok();
        assert_eq!(parsed("64MiB"), Some(64 << 20));
        assert_eq!(parsed(" 1 GiB "), Some(1 << 30));
        assert_eq!(parsed("512B"), Some(512));
        assert_eq!(parsed("99999999999999999TiB"), Some(u64::MAX));
        for wrong in ["", "64", "64MB", "MiB", "-1MiB", "1.5MiB", "64mib"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert!(matches!(parse("64"), Err(ProblemKind::NoUnit(remedy)) if remedy.contains("64B")));
    }

    #[test]
    fn the_greatest_message_fits_into_the_least_limit_and_one_call_may_wait() {
        let least = cloister_net::MAX_MESSAGE_LEN as u64 + 1024;
        assert!(waiting_bytes(least).is_some() && waiting_bytes(16 << 20).is_none());
        assert!(waiting_calls(0).is_some() && waiting_calls(1).is_none());
        assert!(waiting_calls(1 << 24).is_none() && waiting_calls((1 << 24) + 1).is_some());
        assert!(waiting_bytes(1 << 40).is_none() && waiting_bytes((1 << 40) + 1).is_some());
    }
}
