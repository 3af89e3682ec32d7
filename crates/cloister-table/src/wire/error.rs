//! Why bytes are no message.

use thiserror::Error;

use super::VERSION;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    #[error("version {0} is not understood, only version {VERSION}: run the same release on all nodes")]
    Version(u8),
    #[error("the table has {theirs} copies there and {ours} here: define it alike on all nodes")]
    Copies { theirs: u8, ours: u8 },
    #[error("the bytes end too early")]
    Short,
    #[error("{0} is no {1}")]
    Unknown(u16, &'static str),
}
