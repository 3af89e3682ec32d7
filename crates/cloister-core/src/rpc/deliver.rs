//! Handing a message to an actor here or elsewhere.

use std::sync::Arc;

use cloister_net::links::Backlog;
use cloister_proto::NodeId;
use cloister_proto::text::sanitize_to;
use ractor::message::SerializedMessage;
use ractor::{ActorCell, ActorId, Message, MessagingErr};
use tracing::warn;

use cloister_net::MAX_MESSAGE_LEN;

use super::service;
use crate::error::{CallError, Target};
use crate::telemetry::TARGET;
use crate::telemetry::rejections::{self, Reason};

/// Where a message goes, by what the caller said.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) name: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) node: &'a NodeId,
}

/// The most characters of a key in an error.
const KEY_SHOWN: usize = 64;

/// A key as text.
pub(super) fn shown(key: &[u8]) -> String {
    sanitize_to(&String::from_utf8_lossy(key), KEY_SHOWN)
}

impl Destination<'_> {
    /// The same for an error.
    pub(super) fn target(&self) -> Target {
        Target { name: self.name.to_owned(), key: self.key.map(shown), node: self.node.clone() }
    }
}

/// An actor that messages can be handed to.
pub(super) struct Recipient<'a> {
    pub(super) actor: ActorCell,
    pub(super) destination: Destination<'a>,
    /// What waits to be sent there; `None` if it is here.
    pub(super) backlog: Option<Arc<Backlog>>,
}

impl Recipient<'_> {
    /// Hands `message` to the actor, without waiting for it to arrive.
    pub(super) fn deliver<M: Message>(&self, message: M) -> Result<(), CallError> {
        let target = || self.destination.target();
        let wrong = || CallError::WrongMessage { target: target(), sent: std::any::type_name::<M>() };
        let Some(backlog) = &self.backlog else {
            return self.actor.send_message(message).map_err(|error| match error {
                MessagingErr::InvalidActorType => wrong(),
                MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => {
                    CallError::NoActor { target: target() }
                }
            });
        };
        let mut bytes = message.serialize().map_err(|_| wrong())?;
        let len = match &bytes {
            SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args.len(),
            SerializedMessage::CallReply(_, reply) => reply.len(),
        };
        if len > MAX_MESSAGE_LEN {
            return Err(CallError::TooLarge { target: target(), len, most: MAX_MESSAGE_LEN });
        }
        // Some messages have data of their own there. They are not counted.
        if let SerializedMessage::Cast { metadata: mark @ None, .. }
        | SerializedMessage::Call { metadata: mark @ None, .. } = &mut bytes
        {
            *mark = Some(self.count(backlog, len)?);
        }
        // What stands here for an actor of another node lives as long as the connection.
        self.actor.send_serialized(bytes).map_err(|_| CallError::NotLinked { target: target() })
    }

    /// Counts a message, and gives its mark; fails when too much waits already.
    fn count(&self, backlog: &Backlog, len: usize) -> Result<Vec<u8>, CallError> {
        backlog.hand(len).map_err(|full| {
            rejections::count(Reason::Overloaded);
            if let Some(mark) = full.probe {
                warn!(
                    target: TARGET, peer = %self.destination.node, waiting = full.waiting, most = full.most,
                    "messages to a peer are refused: it or the network is slower than this node sends",
                );
                if let ActorId::Remote { node_id, .. } = self.actor.get_id() {
                    service::probe(node_id, mark);
                }
            }
            CallError::Overloaded {
                target: self.destination.target(),
                waiting: full.waiting,
                most: full.most,
            }
        })
    }
}
