//! Actors of process groups: at most one for each name and node.

use ractor::{ActorCell, ActorId, pg};

/// The scope of the process groups in which users register their actors.
pub(super) const SCOPE: &str = "cloister.app";

/// The scope of the groups that registered actors join by name and type of their messages: a message of that very type needs no inbox.
pub(super) const TYPED_SCOPE: &str = "cloister.typed";

/// The scope of the process groups of the actors that each node has of its own.
pub(super) const NODE_SCOPE: &str = "cloister.node";

/// The group of those that take messages for the owner of a key.
pub(super) const INBOX: &str = "inbox";

/// The actor that has joined a group first, of the node whose connection has this number.
pub(super) fn remote(scope: &str, name: &str, number: u64) -> Option<ActorCell> {
    pg::get_scoped_members(&scope.to_owned(), &name.to_owned())
        .into_iter()
        .filter(|actor| matches!(actor.get_id(), ActorId::Remote { node_id, .. } if node_id == number))
        .min_by_key(|actor| actor.get_id().pid())
}

/// The actor of this node that has joined a group first.
pub(super) fn local(scope: &str, name: &str) -> Option<ActorCell> {
    pg::get_scoped_local_members(&scope.to_owned(), &name.to_owned())
        .into_iter()
        .min_by_key(|actor| actor.get_id().pid())
}
