//! The bytes of the messages between the tables of two nodes.
//!
//! ```text
//!  version │ copies │ message │ message │ …        a message: kind │ epoch │ the fields of the kind
//! ```
//!
//! What a shard has to say at once travels together: the copies of a slot take six messages to make, and there are thousands of slots.
//!
//! In a list of slots a byte stands for what is as it was for the slot before: nearly all of it, where slots are not written.
//!
//! Numbers are big-endian. The length of a list comes before it, and of bytes before them. What comes in may be anything: it decodes to a
//! [`Result`], and a length never reserves more memory than the bytes that are left could fill.

mod error;
mod reader;
mod writer;

use cloister_table_proto::Message;

pub(crate) use self::error::WireError;
use self::reader::Reader;
use self::writer::Writer;

/// The version of the bytes that this release writes and reads. Nodes with the same table link only if they have the same: it is a part of
/// what a node says of its tables, as `format 3`.
pub(crate) const VERSION: u8 = 3;

/// How many bytes there is room for at first: for the writes of a few small entries.
const FEW_BYTES: usize = 1 << 10;

/// Messages of a table that travel together, in order.
pub(crate) struct Batch(Writer);

impl Batch {
    /// None yet, of a table that is defined with so many copies.
    pub(crate) fn new(copies: u8) -> Self {
        let mut bytes = Vec::with_capacity(FEW_BYTES);
        bytes.extend([VERSION, copies]);
        Self(Writer(bytes))
    }

    /// Adds a message; returns how many bytes there are.
    pub(crate) fn add(&mut self, message: &Message) -> usize {
        self.0.message(message);
        self.0.0.len()
    }

    /// The bytes of all of them.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.0
    }
}

/// The messages of these bytes, which may be anything.
pub(crate) fn decode(copies: u8, bytes: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut input = Reader(bytes);
    let version = input.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let theirs = input.u8()?;
    if theirs != copies {
        return Err(WireError::Copies { theirs, ours: copies });
    }
    let mut messages = Vec::new();
    while !input.0.is_empty() {
        messages.push(input.message()?);
    }
    Ok(messages)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
