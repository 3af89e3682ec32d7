//! Actors of process groups: at most one for each name and node.

use ractor::{ActorCell, ActorId, pg};

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
