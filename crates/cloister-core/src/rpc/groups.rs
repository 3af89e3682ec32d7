//! Actors of process groups: at most one for each name and node.

use std::cell::OnceCell;

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
    first_of(&members(scope, name), number).cloned()
}

/// All actors that have joined a group.
fn members(scope: &str, name: &str) -> Vec<ActorCell> {
    pg::get_scoped_members(&scope.to_owned(), &name.to_owned())
}

fn first_of(members: &[ActorCell], number: u64) -> Option<&ActorCell> {
    let of_node =
        |actor: &&ActorCell| matches!(actor.get_id(), ActorId::Remote { node_id, .. } if node_id == number);
    members.iter().filter(of_node).min_by_key(|actor| actor.get_id().pid())
}

/// The actors that are registered under one name, each group looked up at most once for however many nodes are asked for.
pub(super) struct NamedActors<'a> {
    scope: &'a str,
    name: &'a str,
    /// Those that take messages of the very type that is sent; `None` if it has no group.
    typed: Option<Vec<ActorCell>>,
    all: OnceCell<Vec<ActorCell>>,
}

impl<'a> NamedActors<'a> {
    /// Those under `name`, with the group of the type that is sent.
    pub(super) fn new(scope: &'a str, name: &'a str, typed: Option<String>) -> Self {
        let typed = typed.map(|typed| members(TYPED_SCOPE, &typed));
        Self { scope, name, typed, all: OnceCell::new() }
    }

    /// The scope of the name.
    pub(super) fn scope(&self) -> &str {
        self.scope
    }

    /// The one of the node whose connection has this number, and whether it takes messages of the very type that is sent.
    pub(super) fn of_node(&self, number: u64) -> Option<(ActorCell, bool)> {
        let typed = self.typed.as_ref().and_then(|typed| first_of(typed, number));
        match typed {
            Some(actor) => Some((actor.clone(), true)),
            None => {
                let all = self.all.get_or_init(|| members(self.scope, self.name));
                first_of(all, number).map(|actor| (actor.clone(), false))
            }
        }
    }
}

/// The actor of this node that has joined a group first.
pub(super) fn local(scope: &str, name: &str) -> Option<ActorCell> {
    pg::get_scoped_local_members(&scope.to_owned(), &name.to_owned())
        .into_iter()
        .min_by_key(|actor| actor.get_id().pid())
}
