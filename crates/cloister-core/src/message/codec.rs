//! MessagePack with the names of fields.
//!
//! The names make an added field readable for a receiver without it, and the other way round:
//! [why this format](../../../../docs/decisions/016-messages.md).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of a body or an answer; an error is what the type itself, or a map whose keys are no text, makes of it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

/// The value of these bytes, which may be anything.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
