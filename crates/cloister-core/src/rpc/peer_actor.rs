//! Actors of other nodes that are looked up once for each link, and not for each message.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_net::links::{Backlog, Links};
use cloister_proto::{Incarnation, NodeId};
use ractor::{ActorCell, ActorId, Message};

use super::deliver::{Destination, Recipient, RemoteRecipient};
use super::groups::{SCOPE, remote};
use crate::error::CallError;
use crate::handle::Cloister;

/// An actor of another node, for as long as the link to that node lasts.
///
/// Messages go to it without the inbox of its node, so nothing compares their type, and nothing tells this node which of them cannot be read.
/// The two nodes must have compared that when they linked.
#[derive(Clone, Debug)]
pub struct PeerActor {
    name: Arc<str>,
    node: NodeId,
    actor: ActorCell,
    backlog: Arc<Backlog>,
    sender: Incarnation,
}

/// Two are equal if they are the same actor by the same connection.
impl PartialEq for PeerActor {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for PeerActor {}

impl PeerActor {
    /// The actor, by the connection that it is reached by.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.actor.get_id()
    }

    /// Whether a short message may be sent now: not too much waits to be sent to the node.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.backlog.has_room()
    }

    /// Hands it a message, without waiting for it to arrive. It does so once at most, and after those that were handed to it before.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why the message was not sent.
    pub fn cast<M: Message>(&self, message: M) -> Result<(), CallError> {
        self.hand(message, false)
    }

    /// The same, however much waits to be sent to the node: for what that node has asked for and waits for.
    ///
    /// # Errors
    ///
    /// [`CallError`], other than [`CallError::Overloaded`].
    pub fn cast_answer<M: Message>(&self, message: M) -> Result<(), CallError> {
        self.hand(message, true)
    }

    fn hand<M: Message>(&self, message: M, is_admitted: bool) -> Result<(), CallError> {
        let (backlog, sender) = (Arc::clone(&self.backlog), self.sender);
        let remote = RemoteRecipient { backlog, inbox: None, sender, is_admitted };
        let destination = Destination::of_node(&self.name, &self.node, None);
        Recipient { actor: self.actor.clone(), destination, remote: Some(remote) }.deliver(message)
    }
}

/// The actors that linked nodes have registered under `name`.
pub(crate) fn peer_actors(cloister: &Cloister, name: &str) -> BTreeMap<NodeId, PeerActor> {
    let sender = cloister.incarnation();
    let name: Arc<str> = name.into();
    let find = |links: &Links| {
        let found = links.peers().into_keys().filter_map(|node| {
            let (number, backlog) = links.remote_node(&node)?;
            let actor = remote(SCOPE, &name, number)?;
            Some((node.clone(), PeerActor { name: Arc::clone(&name), node, actor, backlog, sender }))
        });
        found.collect()
    };
    cloister.shared().with_links(find).unwrap_or_default()
}
