//! How a frame says which link it belongs to.
//!
//! A ractor cast does not name its sender. So each end of a link draws a token that nobody can guess and sends
//! it through the session in a [`Knock`](Envelope::Knock). A frame that carries the token back was written by
//! whoever is at the other end of that session.
//!
//! ```text
//! 0 (8 bytes) · token (8 bytes) · ractor node name        a knock
//! token (8 bytes) · message                               anything else
//! ```

use std::num::NonZeroU64;

use cloister_proto::name::{MAX_APP_LEN, MAX_HOST_LEN};
use cloister_proto::wire::MAX_FRAME_LEN;
use thiserror::Error;

const TOKEN_LEN: usize = 8;

/// The longest name in a knock: `app#host#port#incarnation@host:port`.
const MAX_NAME_LEN: usize = MAX_APP_LEN + 2 * MAX_HOST_LEN + 48;

/// What one end of a link wants to be addressed with.
pub(super) type Token = NonZeroU64;

/// One cast between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// I am here, address me so.
    Knock {
        /// What the sender wants to be addressed with on this link.
        token: Token,
        /// Who the sender says it is: its ractor node name.
        name: String,
    },
    /// A message on the link of this token.
    Letter {
        /// What the receiver wanted to be addressed with.
        token: Token,
        /// The bytes of the message.
        message: Vec<u8>,
    },
}

/// Bytes that are not an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum EnvelopeError {
    /// Too few bytes, or too many.
    #[error("{0} bytes are no envelope")]
    Length(usize),
    /// A knock without token or with a name that is no text.
    #[error("a knock is malformed")]
    Knock,
}

impl Envelope {
    /// The bytes of this envelope.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (head, token, tail) = match self {
            Envelope::Knock { token, name } => (Some([0; TOKEN_LEN]), token, name.as_bytes()),
            Envelope::Letter { token, message } => (None, token, message.as_slice()),
        };
        let mut bytes = Vec::with_capacity(2 * TOKEN_LEN + tail.len());
        bytes.extend(head.into_iter().flatten());
        bytes.extend(token.get().to_be_bytes());
        bytes.extend(tail);
        bytes
    }

    /// The envelope that `bytes` stand for. They come from a peer and may be anything.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_FRAME_LEN + TOKEN_LEN {
            return Err(EnvelopeError::Length(bytes.len()));
        }
        let (token, rest) = split_token(bytes).ok_or(EnvelopeError::Length(bytes.len()))?;
        if let Some(token) = NonZeroU64::new(token) {
            return Ok(Envelope::Letter { token, message: rest.to_vec() });
        }
        let (token, name) = split_token(rest).ok_or(EnvelopeError::Knock)?;
        let token = NonZeroU64::new(token).ok_or(EnvelopeError::Knock)?;
        let name = std::str::from_utf8(name).map_err(|_| EnvelopeError::Knock)?;
        if name.len() > MAX_NAME_LEN {
            return Err(EnvelopeError::Knock);
        }
        Ok(Envelope::Knock { token, name: name.to_owned() })
    }
}

fn split_token(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (token, rest) = bytes.split_first_chunk::<TOKEN_LEN>()?;
    Some((u64::from_be_bytes(*token), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_survive_the_wire() {
        let token = Token::new(0x0123_4567_89ab_cdef).unwrap();
        for envelope in [
            Envelope::Knock { token, name: "app#00ff@10.0.0.1:4370".to_owned() },
            Envelope::Letter { token, message: vec![1, 2, 3] },
            Envelope::Letter { token, message: vec![] },
        ] {
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    #[test]
    fn anything_else_is_an_error_and_never_a_panic() {
        assert_eq!(Envelope::decode(&[]), Err(EnvelopeError::Length(0)));
        assert_eq!(Envelope::decode(&[1; 7]), Err(EnvelopeError::Length(7)));
        assert_eq!(Envelope::decode(&[0; 8]), Err(EnvelopeError::Knock));
        assert_eq!(Envelope::decode(&[0; 20]), Err(EnvelopeError::Knock));
        let mut binary = vec![0; 8];
        binary.extend([1; 8]);
        binary.extend([0xff, 0xfe]);
        assert_eq!(Envelope::decode(&binary), Err(EnvelopeError::Knock));
        let mut long = vec![0; 8];
        long.extend([1; 8 + 4096]);
        assert_eq!(Envelope::decode(&long), Err(EnvelopeError::Knock));
        let huge = vec![1; MAX_FRAME_LEN + 9];
        assert_eq!(Envelope::decode(&huge), Err(EnvelopeError::Length(huge.len())));
    }
}
