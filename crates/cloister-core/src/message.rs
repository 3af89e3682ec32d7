//! How the messages of `#[derive(cloister::Message)]` travel. The code that the macro makes calls this; programs do not.
//!
//! ```text
//!  sender                                             receiver
//!  M::serialize ─▶ variant "Cart::Add", args ────────▶ M::deserialize ─▶ handler
//!                  MessagePack, fields by name          │ not readable: logged once, counted
//!  port ◀── decode ◀── answer or refusal ◀──────────────┴─────────────◀─ RpcReplyPort
//! ```
//!
//! ractor runs `deserialize` in the receiving actor, right before its handler. It drops what cannot be decoded without a word, so the
//! refusal is sent from there. A message without an answer is noted for its sender (`unread.rs`), which the inbox then tells.

mod codec;
mod incoming;
mod outgoing;
mod port;
mod refusal;
mod unread;
mod version;

pub use incoming::Incoming;
pub(crate) use incoming::{is_new, log_unreadable, schema_of};
pub use outgoing::{call, cast};
pub(crate) use port::{CallersPort, framing, unframing};
#[cfg(test)]
pub(crate) use refusal::answer;
pub(crate) use refusal::{Refusal, is_framed, names_its_type, refusal_of};
pub(crate) use unread::{Sender, UnreadKind, note, take};
pub use version::set_message_version;
pub(crate) use version::{differ_by_version, name_of};

/// The type of a message.
#[derive(Debug)]
pub struct Schema {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its variants and their fields, as an error shows them.
    pub variants: &'static str,
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.variants)
    }
}
