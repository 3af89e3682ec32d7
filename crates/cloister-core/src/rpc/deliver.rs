//! Handing a message to an actor here or elsewhere.

use std::sync::Arc;

use cloister_net::links::Backlog;
use cloister_proto::NodeId;
use ractor::message::SerializedMessage;
use ractor::{ActorCell, ActorId, Message, MessagingErr};
use tracing::warn;

use cloister_net::MAX_MESSAGE_LEN;

use super::service;
use crate::error::CallError;
use crate::telemetry::TARGET;
use crate::telemetry::rejections::{self, Reason};

/// An actor that messages can be handed to.
pub(super) struct Recipient<'a> {
    pub(super) actor: ActorCell,
    /// Where it is.
    pub(super) node: &'a NodeId,
    /// What waits to be sent there; `None` if it is here.
    pub(super) backlog: Option<Arc<Backlog>>,
}

impl Recipient<'_> {
    /// Hands `message` to the actor, without waiting for it to arrive.
    pub(super) fn deliver<M: Message>(&self, message: M) -> Result<(), CallError> {
        let Some(backlog) = &self.backlog else {
            return self.actor.send_message(message).map_err(|error| match error {
                MessagingErr::InvalidActorType => {
                    CallError::WrongMessage { message: std::any::type_name::<M>() }
                }
                MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => CallError::Died,
            });
        };
        let wrong = CallError::WrongMessage { message: std::any::type_name::<M>() };
        let mut bytes = message.serialize().map_err(|_| wrong)?;
        let len = match &bytes {
            SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args.len(),
            SerializedMessage::CallReply(_, reply) => reply.len(),
        };
        if len > MAX_MESSAGE_LEN {
            return Err(CallError::TooLarge { len, most: MAX_MESSAGE_LEN });
        }
        // Some messages have data of their own there. They are not counted.
        if let SerializedMessage::Cast { metadata: mark @ None, .. }
        | SerializedMessage::Call { metadata: mark @ None, .. } = &mut bytes
        {
            *mark = Some(self.count(backlog, len)?);
        }
        // What stands here for an actor of another node lives as long as the connection.
        self.actor.send_serialized(bytes).map_err(|_| CallError::Unreachable)
    }

    /// Counts a message, and gives its mark; fails when too much waits already.
    fn count(&self, backlog: &Backlog, len: usize) -> Result<Vec<u8>, CallError> {
        backlog.hand(len).map_err(|full| {
            rejections::count(Reason::Overloaded);
            if let Some(mark) = full.probe {
                warn!(
                    target: TARGET, peer = %self.node, waiting = full.waiting, most = full.most,
                    "messages to a peer are refused: it or the network is slower than this node sends",
                );
                if let ActorId::Remote { node_id, .. } = self.actor.get_id() {
                    service::probe(node_id, mark);
                }
            }
            CallError::Overloaded { waiting: full.waiting, most: full.most }
        })
    }
}
