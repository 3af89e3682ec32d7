//! How much a message may hold, and what is wrong with bytes that are none.

use std::time::Duration;

use thiserror::Error;

use crate::name::NameError;
use crate::settings::MAX_TIMING;
use crate::view::Epoch;

/// The longest frame, in bytes.
pub const MAX_FRAME_LEN: usize = 1 << 20;

/// The most members in one message.
pub const MAX_MEMBERS: usize = 4096;

/// The most views that one goodbye hands over.
pub const MAX_BASES: usize = 256;

/// The most earlier incarnations that one node remembers.
pub const MAX_FORMER: usize = 256;

/// The most tags of one node.
pub const MAX_TAGS: usize = 32;

/// The longest tag, in bytes.
pub const MAX_TAG_LEN: usize = 64;

/// The greatest epoch that is taken from a peer: half of the range, reached by the clock in the year 2248.
pub const MAX_EPOCH: Epoch = Epoch::from_u64(1 << 63);

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// More bytes than a frame may have.
    #[error("a frame of {len} bytes is over the limit of {MAX_FRAME_LEN}")]
    TooLong {
        /// How many there were.
        len: usize,
    },
    /// Not protocol buffers, or fields of other types.
    #[error("a frame is malformed: {0}")]
    Malformed(String),
    /// A field that must be there is not.
    #[error("a frame lacks `{0}`")]
    Missing(&'static str),
    /// A kind of message of a later protocol, or none.
    #[error("a frame of an unknown kind")]
    UnknownKind,
    /// A node name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More elements than a collection may have.
    #[error("`{field}` has {len} elements, over the limit of {max}")]
    TooMany {
        /// The collection.
        field: &'static str,
        /// How many there were.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// An epoch that no clock can have reached.
    #[error("epoch {0} is out of range")]
    Epoch(u64),
    /// A lease above the configurable maximum: its holder could not be excluded from a view for as long.
    #[error("a lease of {0:?} is over the limit of {MAX_TIMING:?}")]
    Lease(Duration),
}

pub(super) fn epoch(number: u64) -> Result<Epoch, WireError> {
    let epoch = Epoch::from_u64(number);
    if epoch > MAX_EPOCH { Err(WireError::Epoch(number)) } else { Ok(epoch) }
}

/// How many nodes a cluster counts; no more than a view may have.
pub(super) fn size(number: u32) -> Result<usize, WireError> {
    let size = usize::try_from(number).unwrap_or(usize::MAX);
    at_most("size", size, MAX_MEMBERS)?;
    Ok(size)
}

pub(super) fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

pub(super) fn at_most(field: &'static str, len: usize, max: usize) -> Result<(), WireError> {
    if len > max { Err(WireError::TooMany { field, len, max }) } else { Ok(()) }
}

pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
