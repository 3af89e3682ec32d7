//! MessagePack with the names of fields.
//!
//! The names make an added field readable for a receiver without it, and the other way round:
//! [why this format](../../../../docs/decisions/016-messages.md).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many bytes there is room for at first: most messages have fewer.
const FEW_BYTES: usize = 256;

/// The bytes of a body or an answer; an error is what the type itself, or a map whose keys are no text, makes of it.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(FEW_BYTES);
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The value of these bytes, which may be anything.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
