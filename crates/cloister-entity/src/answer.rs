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

/// The failure, if it is one. A reply is not decoded: that is for its sender.
pub(crate) fn failed(bytes: &[u8]) -> Option<Failure> {
    match bytes.split_first() {
        Some((&FAILURE, failure)) => decode(failure).ok(),
        _ => None,
    }
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
    use std::time::Duration;

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

    /// Copies keep answers for when their sender asks again, and the sender may be of another build.
    #[test]
    fn answers_have_the_bytes_they_always_had() {
        const CHANGED: &str = "The bytes of the answer of an entity have changed. Is it not meant? Restore the names and types of the \
             fields. Is it meant? A node of the build before cannot read it: keep the old form as it is, and give the new one a mark or a \
             variant of its own.";
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let text = || "why".to_owned();
        let failures: [(Failure, &[u8]); 11] = [
            (Failure::Error(text()), b"\x01\x81\xa5Error\xa3why"),
            (Failure::Panicked(text()), b"\x01\x81\xa8Panicked\xa3why"),
            (Failure::TimedOut(Duration::new(3, 4)), b"\x01\x81\xa8TimedOut\x82\xa4secs\x03\xa5nanos\x04"),
            (Failure::State(text()), b"\x01\x81\xa5State\xa3why"),
            (Failure::Message(text()), b"\x01\x81\xa7Message\xa3why"),
            (Failure::NotLoaded(text()), b"\x01\x81\xa9NotLoaded\xa3why"),
            (Failure::NotSaved(text()), b"\x01\x81\xa8NotSaved\xa3why"),
            (Failure::NoReply, b"\x01\xa7NoReply"),
            (
                Failure::TooLarge { len: 300, max: 200 },
                b"\x01\x81\xa8TooLarge\x82\xa3len\xcd\x01,\xa3max\xcc\xc8",
            ),
            (
                Failure::Full { bytes: 300, max: 200 },
                b"\x01\x81\xa4Full\x82\xa5bytes\xcd\x01,\xa3max\xcc\xc8",
            ),
            (Failure::NotWritable(text()), b"\x01\x81\xabNotWritable\xa3why"),
        ];
        for (its, golden) in failures {
            assert_eq!(shown(&failure(&its)), shown(golden), "{CHANGED}");
            assert_eq!(read::<u64>(golden), Ok(Err(its)), "{CHANGED}");
        }
        assert_eq!(shown(&reply(&300_u64, 100).unwrap()), r"\x00\xcd\x01,", "{CHANGED}");
        assert_eq!(read::<u64>(b"\x00\xcd\x01,"), Ok(Ok(300)), "{CHANGED}");
        assert_eq!(shown(&later()), r"\x02", "{CHANGED}");
    }
}
