//! Messages without an answer that this node could not read, until their senders have heard of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_proto::Incarnation;
use tokio::sync::Notify;

/// How many kinds are remembered until they are taken. A peer can make up names.
const MAX_KINDS: usize = 256;

/// The bytes that the metadata of a message begins with, if it names its sender.
const MAGIC: [u8; 4] = *b"\0clf";

/// One kind of messages that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnreadKind {
    /// The node that sent them.
    pub(crate) sender: Incarnation,
    /// The name that the actor is registered under.
    pub(crate) name: String,
    /// What was sent.
    pub(crate) sent: String,
    /// What the actor takes.
    pub(crate) expected: String,
    /// What it cannot read.
    pub(crate) cause: String,
}

/// The sender of a message, and the name that it was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
}

impl Sender {
    /// The same as the metadata of a message.
    pub(crate) fn metadata(&self) -> Vec<u8> {
        [&MAGIC[..], &self.incarnation.0.to_be_bytes(), self.name.as_bytes()].concat()
    }

    /// The sender that these metadata name; they may be anything.
    pub(super) fn of(metadata: &[u8]) -> Option<Self> {
        let (incarnation, name) = metadata.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        Some(Self { incarnation: Incarnation(u64::from_be_bytes(*incarnation)), name })
    }
}

/// How many there are of each kind. They belong to the process, as the one node in it does.
static UNREAD: Mutex<BTreeMap<UnreadKind, u64>> = Mutex::new(BTreeMap::new());

/// There are some.
static CHANGED: Notify = Notify::const_new();

fn all() -> MutexGuard<'static, BTreeMap<UnreadKind, u64>> {
    UNREAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes one, for its sender. Of kinds there is a bound.
pub(crate) fn note(kind: UnreadKind) {
    let mut unread = all();
    if let Some(count) = unread.get_mut(&kind) {
        *count += 1;
    } else if unread.len() < MAX_KINDS {
        unread.insert(kind, 1);
        CHANGED.notify_one();
    }
}

/// Waits until there are some, and takes them.
pub(crate) async fn take() -> BTreeMap<UnreadKind, u64> {
    loop {
        let unread = std::mem::take(&mut *all());
        if !unread.is_empty() {
            return unread;
        }
        CHANGED.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_survives_the_metadata_and_other_metadata_have_none() {
        for name in ["cart", ""] {
            let sender = Sender { incarnation: Incarnation(7 << 40), name: name.to_owned() };
            assert_eq!(Sender::of(&sender.metadata()), Some(sender));
        }
        for other in [&b""[..], b"\0clf", b"\0clf1234567", b"\0clo12345678", b"\0clf12345678\xff"] {
            assert_eq!(Sender::of(other), None, "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_counted_by_kind_and_the_kinds_are_bounded() {
        let kind = |n: usize| UnreadKind {
            sender: Incarnation(1),
            name: "cart".to_owned(),
            sent: format!("Cart::V{n}"),
            expected: String::new(),
            cause: String::new(),
        };
        for n in (0..MAX_KINDS + 10).chain([0, 0]) {
            note(kind(n));
        }
        let unread = take().await;
        assert_eq!((unread.len(), unread[&kind(0)], unread[&kind(1)]), (MAX_KINDS, 3, 1));
    }
}
