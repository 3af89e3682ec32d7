//! The inbox that a message by key is sent to.

use std::sync::Arc;

use cloister_net::MAX_MESSAGE_LEN;
use cloister_net::links::Backlog;
use ractor::message::SerializedMessage;
use ractor::{ActorCell, ActorRef};

use super::super::deliver::{Destination, count, overloaded};
use super::super::groups::{INBOX, NODE_SCOPE, local, remote};
use super::super::inbox_message::InboxMessage;
use super::Route;
use crate::error::{CallError, NoAnswer};
use crate::handle::{Cloister, OwnMessages};

/// The inbox of a node.
pub(super) struct Inbox {
    pub(super) actor: ActorCell,
    /// What waits to be sent there, and ractor's number of the connection; `None` for this node.
    pub(super) link: Option<(Arc<Backlog>, u64)>,
    own_messages: OwnMessages,
}

impl Inbox {
    /// The inbox that the route leads to; `None` if there is no link to it.
    pub(super) fn of(cloister: &Cloister, route: &Route) -> Option<Self> {
        let own_messages = || cloister.shared().own_messages().clone();
        match route {
            Route::Own(_) => {
                Some(Self { actor: local(NODE_SCOPE, INBOX)?, link: None, own_messages: own_messages() })
            }
            Route::Inbox { owner, .. } => {
                let (number, backlog) =
                    cloister.shared().with_links(|links| links.remote_node(owner)).flatten()?;
                let find = || remote(NODE_SCOPE, INBOX, number);
                let actor = cloister.shared().inboxes().get(number, find)?;
                Some(Self { actor, link: Some((backlog, number)), own_messages: own_messages() })
            }
            Route::Nowhere(_) | Route::Ended => None,
        }
    }

    /// Whether the link lets in a message, whatever its length.
    pub(super) fn room(&self, destination: Destination<'_>) -> Result<(), CallError> {
        let Some((backlog, _)) = &self.link else { return Ok(()) };
        backlog.room().map_err(|full| overloaded(&self.actor, destination, full))
    }

    /// Sends a message; false if the link is gone, so that it was not sent. One that was admitted is not refused for what waits.
    pub(super) fn send(
        &self,
        destination: Destination<'_>,
        mut message: SerializedMessage,
        admitted: bool,
    ) -> Result<bool, CallError> {
        if let (
            SerializedMessage::Call { args, metadata, .. } | SerializedMessage::Cast { args, metadata, .. },
            Some((backlog, _)),
        ) = (&mut message, &self.link)
        {
            let (target, len) = (|| destination.target(), args.len());
            if len > MAX_MESSAGE_LEN {
                return Err(CallError::TooLarge { target: target(), len, max: MAX_MESSAGE_LEN });
            }
            *metadata = Some(match admitted {
                true => backlog.hand_admitted(len),
                false => count(&self.actor, destination, backlog, len)?,
            });
        }
        if self.link.is_some() {
            return Ok(self.actor.send_serialized(message).is_ok());
        }
        let own = self.own_messages.begin(destination.name, destination.key.unwrap_or_default());
        Ok(ActorRef::from(self.actor.clone()).cast(InboxMessage::Own(message, own)).is_ok())
    }

    /// Why an answer was dropped: with its connection, or with the inbox.
    pub(super) fn why_dropped(&self, cloister: &Cloister, destination: Destination<'_>) -> NoAnswer {
        match &self.link {
            Some((_, number)) if cloister.connection_to(destination.node) != Some(*number) => {
                NoAnswer::LinkLost
            }
            _ => NoAnswer::Died,
        }
    }
}
