//! What a message to the inbox of a node has besides its own bytes.

use std::time::Duration;

use cloister_proto::{Epoch, Incarnation};
use prost::Message as _;
use ractor::message::SerializedMessage;

use crate::error::{CallError, Target};
use crate::message::names_its_type;

/// The bytes of the length of the envelope, which come first.
const HEAD: usize = 4;

/// The longest envelope: a name, a key, the name of a type, and what a message has as its metadata.
const MAX_LEN: usize = 1 << 16;

/// The longest key.
pub(super) const MAX_KEY_LEN: usize = 1 << 15;

/// An envelope that no inbox would open, with its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(usize);

impl TooLong {
    /// As an error of the caller.
    pub(super) fn error(self, target: Target) -> CallError {
        CallError::TooLarge { target, len: self.0, max: MAX_LEN }
    }
}

/// The destination of a message, and for one by key the view by which its sender chose the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The name that the actor is registered under.
    pub(super) name: String,
    pub(super) key: Vec<u8>,
    /// Whether the sender chose the node and not the key: it is for the actor of this node, whatever this node owns.
    pub(super) direct: bool,
    /// The epoch of the view by which the sender chose the node.
    pub(super) epoch: Epoch,
    /// For how long the sender waits from when it sent the message.
    pub(super) timeout: Duration,
    /// The type of the message, if its bytes do not name it.
    pub(super) type_name: Option<String>,
    /// The incarnation of the sender.
    pub(super) sender: Incarnation,
    /// What the message itself had as its metadata.
    pub(super) metadata: Option<Vec<u8>>,
}

impl Envelope {
    /// For the actor of this name, on the node that it is sent to.
    pub(super) fn direct(name: &str, sender: Incarnation) -> Self {
        Self {
            name: name.to_owned(),
            key: Vec::new(),
            direct: true,
            epoch: Epoch::ZERO,
            timeout: Duration::ZERO,
            type_name: None,
            sender,
            metadata: None,
        }
    }

    /// Puts a message of this type into the envelope.
    ///
    /// # Errors
    ///
    /// If the envelope is too long.
    pub(super) fn wrap(mut self, message: &mut SerializedMessage, type_name: &str) -> Result<(), TooLong> {
        let by_macro = names_its_type(message);
        if let SerializedMessage::Cast { args, metadata, .. }
        | SerializedMessage::Call { args, metadata, .. } = message
        {
            self.type_name = (!by_macro).then(|| type_name.to_owned());
            self.metadata = metadata.take();
            *args = self.seal(args)?;
        }
        Ok(())
    }

    /// The envelope, and then the message.
    ///
    /// # Errors
    ///
    /// If the envelope is too long.
    pub(super) fn seal(&self, args: &[u8]) -> Result<Vec<u8>, TooLong> {
        let frame = EnvelopeFrame {
            name: self.name.clone(),
            key: self.key.clone(),
            epoch: self.epoch.as_u64(),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            type_name: self.type_name.clone().unwrap_or_default(),
            direct: self.direct,
            sender: self.sender.0,
            metadata: self.metadata.clone(),
        };
        let len = frame.encoded_len();
        if len > MAX_LEN {
            return Err(TooLong(len));
        }
        let mut bytes = Vec::with_capacity(HEAD + len + args.len());
        bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        frame.encode(&mut bytes).expect("invariant: a vector grows");
        bytes.extend_from_slice(args);
        Ok(bytes)
    }

    /// Takes the envelope off; the bytes may be anything. `None` if there is none.
    pub(super) fn open(bytes: &mut Vec<u8>) -> Option<Self> {
        let len = usize::try_from(u32::from_be_bytes(*bytes.first_chunk::<HEAD>()?)).ok()?;
        let end = HEAD.checked_add(len).filter(|_| len <= MAX_LEN)?;
        let frame = EnvelopeFrame::decode(bytes.get(HEAD..end)?).ok()?;
        bytes.drain(..end);
        Some(Self {
            name: frame.name,
            key: frame.key,
            epoch: Epoch::from_u64(frame.epoch),
            timeout: Duration::from_millis(frame.timeout_ms),
            type_name: Some(frame.type_name).filter(|name| !name.is_empty()),
            direct: frame.direct,
            sender: Incarnation(frame.sender),
            metadata: frame.metadata,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnvelopeFrame {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    timeout_ms: u64,
    #[prost(string, tag = "5")]
    type_name: String,
    #[prost(bool, tag = "6")]
    direct: bool,
    #[prost(fixed64, tag = "7")]
    sender: u64,
    #[prost(bytes = "vec", optional, tag = "8")]
    metadata: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_wire_and_leaves_the_message() {
        for (type_name, args) in [(None, &b"args"[..]), (Some("shop::Cart".to_owned()), b"")] {
            let (direct, metadata) = (args.is_empty(), type_name.as_ref().map(|_| vec![7]));
            let envelope = Envelope {
                name: "cart".to_owned(),
                key: b"user:42\0\xff".to_vec(),
                epoch: Epoch::from_u64(7 << 40),
                timeout: Duration::from_millis(1_500),
                type_name,
                direct,
                sender: Incarnation(u64::MAX),
                metadata,
            };
            let mut bytes = envelope.seal(args).unwrap();
            assert_eq!(Envelope::open(&mut bytes), Some(envelope));
            assert_eq!(bytes, args);
        }
    }

    #[test]
    fn an_envelope_that_no_inbox_would_open_is_not_sealed() {
        let longest = Envelope { key: vec![7; MAX_KEY_LEN], ..Envelope::direct("cart", Incarnation(1)) };
        let mut bytes = longest.seal(b"args").unwrap();
        assert_eq!(Envelope::open(&mut bytes).map(|envelope| envelope.key.len()), Some(MAX_KEY_LEN));
        let metadata = Some(vec![7; MAX_LEN]);
        assert!(Envelope { metadata, ..longest }.seal(b"args").is_err());
    }

    #[test]
    fn bytes_without_an_envelope_are_left_alone() {
        let long = u32::MAX.to_be_bytes();
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x05abc", &long, b"\0\0\0\x02\xff\xff"] {
            let mut left = bytes.to_vec();
            assert_eq!(Envelope::open(&mut left), None, "{bytes:?}");
            assert_eq!(left, bytes);
        }
    }
}
