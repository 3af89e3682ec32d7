//! The actor that a message goes to, here or elsewhere.

use cloister_proto::NodeId;
use ractor::Message;
use tokio::time::Instant;

use super::deliver::{Destination, Recipient, RemoteRecipient};
use super::groups::{INBOX, NODE_SCOPE, NamedActors, SCOPE, local, remote};
use crate::error::CallError;
use crate::handle::{Cloister, MessageType};

impl Cloister {
    /// The actors of other nodes that a message of this type and name goes to.
    fn named<'a, M: Message>(&self, scope: &'a str, name: &'a str) -> NamedActors<'a> {
        NamedActors::new(scope, name, MessageType::of::<M>().group(name).filter(|_| scope == SCOPE))
    }

    /// The actor that a message goes to.
    pub(super) fn find<'a, M: Message>(
        &self,
        scope: &str,
        destination: Destination<'a>,
    ) -> Result<Recipient<'a>, CallError> {
        match self.is_here(destination.node) {
            true => self.local_actor::<M>(scope, destination),
            false => self.remote_actor(&self.named::<M>(scope, destination.name), destination),
        }
    }

    /// Sends to the actor of each member, this node included. Each node comes with what sending gave.
    pub(super) fn send_to_all<M: Message, T>(
        &self,
        scope: &str,
        name: &str,
        began: Option<Instant>,
        send: impl Fn(Recipient<'_>) -> Result<T, CallError>,
    ) -> Vec<(NodeId, Result<T, CallError>)> {
        let named = self.named::<M>(scope, name);
        let sent = self.members().into_iter().map(|node| {
            let destination = Destination::of_node(name, &node, began);
            let found = match self.is_here(&node) {
                true => self.local_actor::<M>(scope, destination),
                false => self.remote_actor(&named, destination),
            };
            let sent = found.and_then(&send);
            (node, sent)
        });
        sent.collect()
    }

    fn is_here(&self, node: &NodeId) -> bool {
        self.shared().look(|snapshot| snapshot.state().node.id == *node)
    }

    /// The actor of another node that a message goes to.
    fn remote_actor<'a>(
        &self,
        named: &NamedActors<'_>,
        destination: Destination<'a>,
    ) -> Result<Recipient<'a>, CallError> {
        let linked = self.shared().with_links(|links| links.remote_node(destination.node)).flatten();
        let not_linked = || CallError::NotLinked { target: destination.target() };
        let (number, backlog) = linked.ok_or_else(not_linked)?;
        let found = named.of_node(number);
        let (actor, is_of_this_type) =
            found.ok_or_else(|| CallError::NoActor { target: destination.target() })?;
        let inbox = match named.scope() {
            // It compares the types, and tells this node what cannot be read.
            SCOPE if !is_of_this_type => {
                let find = || remote(NODE_SCOPE, INBOX, number);
                Some(self.shared().inboxes().get(number, find).ok_or_else(not_linked)?)
            }
            _ => None,
        };
        let remote = RemoteRecipient { backlog, inbox, sender: self.incarnation(), is_admitted: false };
        Ok(Recipient { actor, destination, remote: Some(remote) })
    }

    /// The actor of this node that a message goes to.
    fn local_actor<'a, M: Message>(
        &self,
        scope: &str,
        destination: Destination<'a>,
    ) -> Result<Recipient<'a>, CallError> {
        let named = match scope {
            SCOPE => {
                self.shared().registered().named(destination.name).map(|it| (it.actor, Some(it.takes.name)))
            }
            _ => local(scope, destination.name).map(|actor| (actor, None)),
        };
        let (actor, expected) = named.ok_or_else(|| CallError::NoActor { target: destination.target() })?;
        match actor.is_message_type_of::<M>() {
            Some(true) => Ok(Recipient { actor, destination, remote: None }),
            _ => Err(destination.other_type::<M>(expected)),
        }
    }
}
