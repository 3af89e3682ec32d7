//! The answer of a call on the wire: an answer, or why there is none.

use cloister_proto::Epoch;
use cloister_proto::text::sanitize_to;
use prost::Message as _;
use ractor::message::SerializedMessage;

use crate::handle::{TooMany, WaitingLimit};

/// The first byte of an answer.
const ANSWER: u8 = 0;

/// The first byte of a refusal.
const REFUSAL: u8 = 1;

/// The most characters of a text of a peer's.
const SHOWN: usize = 512;

/// Why a call has no answer, by the word of its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The receiver cannot read the message, and no handler has seen it.
    Unreadable {
        /// What the receiver takes.
        expected: String,
        /// What it does not like.
        cause: String,
    },
    /// The actor ended, or dropped the call.
    Died,
    /// The receiver does not own the key. No handler has seen the message.
    NotOwner {
        /// The epoch of the view that it installed last.
        epoch: Option<Epoch>,
    },
    /// The receiver has no actor of this name.
    NoActor,
    /// The receiver does not know yet whether it owns the key, and keeps too many messages already.
    Full(TooMany),
    /// The receiver has kept the message as long as its sender waits, and has handed it to no actor.
    Expired,
    /// The answer is longer than a message may be.
    AnswerTooLarge {
        /// How many bytes it has.
        len: u64,
    },
    /// The answer cannot be encoded.
    AnswerUnencodable {
        /// Why not.
        cause: String,
    },
}

/// Whether the variant of this message has the name of its type before it, as those of the derive macro have.
pub(crate) fn names_its_type(message: &SerializedMessage) -> bool {
    match message {
        SerializedMessage::Call { variant, .. } | SerializedMessage::Cast { variant, .. } => {
            variant.contains("::")
        }
        SerializedMessage::CallReply(..) => false,
    }
}

/// Whether the answers to this message are framed by the code of the derive macro.
pub(crate) fn is_framed(message: &SerializedMessage) -> bool {
    matches!(message, SerializedMessage::Call { .. }) && names_its_type(message)
}

/// The bytes of an answer.
pub(crate) fn answer(mut encoded: Vec<u8>) -> Vec<u8> {
    encoded.insert(0, ANSWER);
    encoded
}

/// What is encoded in an answer; `None` if it is a refusal or malformed.
pub(super) fn body_of(answer: &[u8]) -> Option<&[u8]> {
    answer.split_first().filter(|(kind, _)| **kind == ANSWER).map(|(_, body)| body)
}

/// The refusal in the bytes of an answer. They may be anything: what is neither an answer nor a refusal is `Err` with what it is.
pub(crate) fn refusal_of(bytes: &[u8]) -> Result<Option<Refusal>, String> {
    match bytes.split_first() {
        Some((&ANSWER, _)) => Ok(None),
        Some((&REFUSAL, body)) => {
            let frame = RefusalFrame::decode(body).map_err(|error| error.to_string())?;
            frame.why.map(Why::refusal).map(Some).ok_or_else(|| "a refusal of a later version".to_owned())
        }
        Some((kind, _)) => Err(format!("an answer of kind {kind}")),
        None => Err("an answer without a byte".to_owned()),
    }
}

impl Refusal {
    /// The bytes of the refusal.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let why = match self.clone() {
            Refusal::Unreadable { expected, cause } => Why::Unreadable(Unreadable { expected, cause }),
            Refusal::Died => Why::Died(Empty {}),
            Refusal::NotOwner { epoch } => Why::NotOwner(epoch.map_or(0, Epoch::as_u64)),
            Refusal::NoActor => Why::NoActor(Empty {}),
            Refusal::Full(TooMany { limit, waiting, max }) => {
                Why::Full(Full { bytes: limit == WaitingLimit::Bytes, waiting, max })
            }
            Refusal::Expired => Why::Expired(Empty {}),
            Refusal::AnswerTooLarge { len } => Why::AnswerTooLarge(len),
            Refusal::AnswerUnencodable { cause } => Why::AnswerUnencodable(cause),
        };
        let mut bytes = vec![REFUSAL];
        bytes.extend(RefusalFrame { why: Some(why) }.encode_to_vec());
        bytes
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefusalFrame {
    #[prost(oneof = "Why", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    why: Option<Why>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Why {
    #[prost(message, tag = "1")]
    Unreadable(Unreadable),
    #[prost(message, tag = "2")]
    Died(Empty),
    #[prost(uint64, tag = "3")]
    AnswerTooLarge(u64),
    #[prost(string, tag = "4")]
    AnswerUnencodable(String),
    #[prost(uint64, tag = "5")]
    NotOwner(u64),
    #[prost(message, tag = "6")]
    NoActor(Empty),
    #[prost(message, tag = "7")]
    Full(Full),
    #[prost(message, tag = "8")]
    Expired(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Unreadable {
    #[prost(string, tag = "1")]
    expected: String,
    #[prost(string, tag = "2")]
    cause: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Full {
    #[prost(bool, tag = "1")]
    bytes: bool,
    #[prost(uint64, tag = "2")]
    waiting: u64,
    #[prost(uint64, tag = "3")]
    max: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

impl Why {
    fn refusal(self) -> Refusal {
        let shown = |text: &str| sanitize_to(text, SHOWN);
        match self {
            Why::Unreadable(Unreadable { expected, cause }) => {
                Refusal::Unreadable { expected: shown(&expected), cause: shown(&cause) }
            }
            Why::Died(Empty {}) => Refusal::Died,
            Why::NotOwner(epoch) => Refusal::NotOwner { epoch: (epoch > 0).then(|| Epoch::from_u64(epoch)) },
            Why::NoActor(Empty {}) => Refusal::NoActor,
            Why::Full(Full { bytes, waiting, max }) => {
                let limit = if bytes { WaitingLimit::Bytes } else { WaitingLimit::Calls };
                Refusal::Full(TooMany { limit, waiting, max })
            }
            Why::Expired(Empty {}) => Refusal::Expired,
            Why::AnswerTooLarge(len) => Refusal::AnswerTooLarge { len },
            Why::AnswerUnencodable(cause) => Refusal::AnswerUnencodable { cause: shown(&cause) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_each_refusal_survive_the_wire() {
        let bytes = answer(vec![7, 8]);
        assert_eq!((refusal_of(&bytes), body_of(&bytes)), (Ok(None), Some(&[7, 8][..])));
        for refusal in [
            Refusal::Unreadable { expected: "Cart: Add".to_owned(), cause: "no `Remove`".to_owned() },
            Refusal::Died,
            Refusal::NotOwner { epoch: Some(Epoch::from_u64(7)) },
            Refusal::NotOwner { epoch: None },
            Refusal::NoActor,
            Refusal::Full(TooMany { limit: WaitingLimit::Calls, waiting: 7, max: 7 }),
            Refusal::Full(TooMany { limit: WaitingLimit::Bytes, waiting: 1 << 40, max: 1 << 30 }),
            Refusal::Expired,
            Refusal::AnswerTooLarge { len: 1 << 40 },
            Refusal::AnswerUnencodable { cause: "a key is no text".to_owned() },
        ] {
            assert_eq!(refusal_of(&refusal.bytes()), Ok(Some(refusal.clone())));
            assert_eq!(body_of(&refusal.bytes()), None);
        }
    }

    #[test]
    fn hostile_answers_are_errors_and_their_text_is_harmless() {
        for bytes in [&b""[..], b"\x02", b"\x01", b"\x01\xff\xff"] {
            assert!(refusal_of(bytes).is_err(), "{bytes:?}");
        }
        let forged = Refusal::Unreadable { expected: "\x1b[31m\nERROR".to_owned(), cause: "x".repeat(9_000) };
        let Ok(Some(Refusal::Unreadable { expected, cause })) = refusal_of(&forged.bytes()) else { panic!() };
        assert!(
            !expected.contains(['\n', '\x1b']) && cause.chars().count() <= SHOWN + 1,
            "{expected} {cause}"
        );
    }
}
