//! What a message is answered, in bytes: a mark, then MessagePack.

use cloister_table::service::{Bytes, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;

const REPLY: u8 = 0;
const FAILURE: u8 = 1;
const LATER: u8 = 2;

/// A reply of so many bytes at most.
pub(crate) fn reply<R: Serialize>(reply: &R, max: usize) -> Result<Bytes, String> {
    let bytes = marked(REPLY, reply)?;
    let len = bytes.len();
    if len > max {
        return Err(format!(
            "the reply has {len} bytes, over the limit of {max} (`EntityOptions::max_state_bytes`)"
        ));
    }
    Ok(bytes)
}

pub(crate) fn failure(failure: &Failure) -> Bytes {
    // Text and numbers: it cannot fail.
    marked(FAILURE, failure).unwrap_or_default()
}

/// The reply is given later, by this node alone.
pub(crate) fn later() -> Bytes {
    Bytes::from([LATER])
}

pub(crate) fn is_later(bytes: &[u8]) -> bool {
    bytes == [LATER]
}

fn marked<T: Serialize>(mark: u8, content: &T) -> Result<Bytes, String> {
    let mut bytes = encode(content)?;
    bytes.insert(0, mark);
    Ok(bytes.into())
}

/// The reply or the failure; an error if the bytes are neither.
pub(crate) fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<Result<R, Failure>, String> {
    match bytes.split_first() {
        Some((&REPLY, reply)) => decode(reply).map(Ok),
        Some((&FAILURE, failure)) => decode(failure).map(Err),
        _ => Err(format!("{} bytes of another release", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_and_a_failure_are_distinguished() {
        let bytes = reply(&vec!["apple".to_owned()], 100).unwrap();
        assert_eq!(read::<Vec<String>>(&bytes), Ok(Ok(vec!["apple".to_owned()])));
        let bytes = failure(&Failure::Panicked("no".to_owned()));
        assert_eq!(read::<Vec<String>>(&bytes), Ok(Err(Failure::Panicked("no".to_owned()))));
        assert!(reply(&"a long one", 10).unwrap_err().contains("12 bytes, over the limit of 10"));
        assert!(read::<u64>(&[7]).is_err());
        assert!(read::<u64>(&[]).is_err());
    }
}
