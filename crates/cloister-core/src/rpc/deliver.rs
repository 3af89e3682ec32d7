//! Handing a message to an actor here or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use cloister_net::links::{Backlog, Full};
use cloister_proto::text::sanitize_to;
use cloister_proto::{Epoch, Incarnation, NodeId};
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::message::SerializedMessage;
use ractor::{ActorCell, ActorId, Message, MessagingErr, RpcReplyPort};
use tokio::time::Instant;
use tracing::{debug, warn};

use cloister_net::MAX_MESSAGE_LEN;

use super::envelope::Envelope;
use super::{service, unread};
use crate::error::{CallError, NoAnswer, Target};
use crate::handle::TooMany;
use crate::message::{Refusal, is_framed, name_of, refusal_of, unframing};
use crate::recorded;
use crate::telemetry::TARGET;
use crate::telemetry::rejections::Reason;

/// Where a message goes, by what the caller said.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) name: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) node: &'a NodeId,
    /// The epoch of the view in which it owns the key.
    pub(super) epoch: Option<Epoch>,
    /// When the call began; `None` for a message that is not a call, and for one that has just begun.
    pub(super) began: Option<Instant>,
}

/// The most characters of a key in an error.
const KEY_SHOWN: usize = 64;

/// A key as text.
pub(super) fn shown(key: &[u8]) -> String {
    sanitize_to(&String::from_utf8_lossy(key), KEY_SHOWN)
}

impl<'a> Destination<'a> {
    /// A node that the caller chose.
    pub(super) fn of_node(name: &'a str, node: &'a NodeId, began: Option<Instant>) -> Self {
        Self { name, key: None, node, epoch: None, began }
    }
}

impl Destination<'_> {
    /// The same for an error.
    pub(super) fn target(&self) -> Target {
        let key = self.key.map(|key| shown(key).into());
        let waited = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        Target { name: self.name.into(), key, node: self.node.clone(), epoch: self.epoch, waited }
    }

    /// The message is there, and has no answer.
    pub(super) fn uncertain(&self, waited: Duration, cause: NoAnswer) -> CallError {
        let (node, epoch) = (self.node.clone(), self.epoch);
        let (name, key) = (self.name.to_owned(), self.key.map(shown));
        CallError::Uncertain { node, epoch, name, key, waited, cause }
    }

    /// The actor of this node takes messages of another type.
    pub(super) fn other_type<M: Message>(&self, expected: Option<&str>) -> CallError {
        CallError::WrongMessage {
            target: self.target(),
            sent: name_of::<M>().into(),
            expected: expected.unwrap_or("messages of another type").into(),
            cause: "it is of another type".into(),
        }
    }

    /// Too many calls wait at the node.
    pub(super) fn too_many_waiting(&self, full: TooMany) -> CallError {
        let TooMany { limit, waiting, max } = full;
        CallError::TooManyWaiting { target: self.target(), limit, waiting, max }
    }

    /// The receiver has refused the message `sent`. That it cannot read it is logged, once for each kind.
    pub(super) fn refused(&self, sent: &str, refusal: Refusal, waited: Duration) -> CallError {
        let target = self.target();
        let uncertain = |cause| self.uncertain(waited, cause);
        match refusal {
            Refusal::Unreadable { expected, cause } => {
                unread::log(self.node, self.name, sent, &expected, &cause, 1);
                CallError::WrongMessage {
                    target,
                    sent: sent.into(),
                    expected: expected.into(),
                    cause: cause.into(),
                }
            }
            Refusal::Died => uncertain(NoAnswer::Died),
            Refusal::NoActor => CallError::NoActor { target },
            Refusal::NotOwner { .. } | Refusal::Expired => {
                uncertain(NoAnswer::Malformed("it was not asked for a key, and answers as if it was".into()))
            }
            Refusal::Full(full) => self.too_many_waiting(full),
            Refusal::AnswerTooLarge { len } => uncertain(NoAnswer::TooLarge { len, max: MAX_MESSAGE_LEN }),
            Refusal::AnswerUnencodable { cause } => uncertain(NoAnswer::Malformed(
                format!("the answer to {sent} cannot be encoded: {cause}").into(),
            )),
        }
    }
}

/// The answer of a call to an actor of another node, taken before the caller's port gets it: it may be a refusal.
pub(super) struct FramedAnswer {
    /// The message: its type and variant, or its type.
    pub(super) sent: String,
    bytes: OneshotReceiver<Vec<u8>>,
    port: RpcReplyPort<Vec<u8>>,
    /// Whether the frame is that of the derive macro, whose port takes it off, and not that of the inbox.
    by_macro: bool,
}

impl FramedAnswer {
    /// Takes the place of the port of `message`, if its answers are framed: by the inbox they all are.
    pub(super) fn intercept<M: Message>(
        message: &mut SerializedMessage,
        through_inbox: bool,
    ) -> Option<Self> {
        let by_macro = is_framed(message);
        if !by_macro && !through_inbox {
            return None;
        }
        let SerializedMessage::Call { variant, reply, .. } = message else { return None };
        let sent = if by_macro { variant.clone() } else { name_of::<M>().to_owned() };
        let (sender, bytes) = oneshot();
        let own = match reply.get_timeout() {
            Some(timeout) => (sender, timeout).into(),
            None => sender.into(),
        };
        let port = std::mem::replace(reply, own);
        Some(Self { sent, bytes, port, by_macro })
    }

    /// Waits for the answer and passes it on; `None` if it was dropped on the way.
    ///
    /// # Errors
    ///
    /// The refusal, or what else the bytes are.
    pub(super) async fn pass_on(self) -> Option<Result<(), Result<Refusal, String>>> {
        let mut bytes = self.bytes.await.ok()?;
        Some(match refusal_of(&bytes) {
            Ok(None) => {
                if !self.by_macro {
                    bytes.remove(0);
                }
                // The caller may have given up.
                let _ = self.port.send(bytes);
                Ok(())
            }
            Ok(Some(refusal)) => Err(Ok(refusal)),
            Err(cause) => Err(Err(cause)),
        })
    }
}

/// An actor that messages can be handed to.
pub(super) struct Recipient<'a> {
    pub(super) actor: ActorCell,
    pub(super) destination: Destination<'a>,
    /// The way there; `None` if it is here.
    pub(super) remote: Option<RemoteRecipient>,
}

/// The way to an actor of another node.
pub(super) struct RemoteRecipient {
    /// What waits to be sent there.
    pub(super) backlog: Arc<Backlog>,
    /// The inbox that hands the message to the actor; `None` for the inbox itself.
    pub(super) inbox: Option<ActorCell>,
    /// The incarnation of this node.
    pub(super) sender: Incarnation,
    /// It is sent however much waits to be sent there.
    pub(super) is_admitted: bool,
}

impl Recipient<'_> {
    /// Hands `message` to the actor, without waiting for it to arrive.
    pub(super) fn deliver<M: Message>(&self, message: M) -> Result<(), CallError> {
        self.hand(message, |message, through_inbox| {
            if through_inbox {
                unframe_answers::<M>(message, self.destination);
            }
        })
    }

    /// The same for a call whose answer is waited for. From another node, an answer that may be a refusal comes back as bytes first.
    pub(super) fn deliver_call<M: Message>(&self, message: M) -> Result<Option<FramedAnswer>, CallError> {
        let mut framed = None;
        self.hand(message, |bytes, through_inbox| {
            framed = FramedAnswer::intercept::<M>(bytes, through_inbox);
        })?;
        Ok(framed)
    }

    fn hand<M: Message>(
        &self,
        message: M,
        before: impl FnOnce(&mut SerializedMessage, bool),
    ) -> Result<(), CallError> {
        let target = || self.destination.target();
        let Some(RemoteRecipient { backlog, inbox, sender, is_admitted }) = &self.remote else {
            return self.actor.send_message(message).map_err(|error| match error {
                MessagingErr::InvalidActorType => self.destination.other_type::<M>(None),
                MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => {
                    CallError::NoActor { target: target() }
                }
            });
        };
        let mut bytes = message.serialize().map_err(|_| CallError::NotEncodable {
            target: target(),
            sent: name_of::<M>().into(),
            cause: "see the log".into(),
        })?;
        let len = match &bytes {
            SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args.len(),
            SerializedMessage::CallReply(_, reply) => reply.len(),
        };
        if len > MAX_MESSAGE_LEN {
            return Err(CallError::TooLarge { target: target(), len, max: MAX_MESSAGE_LEN });
        }
        before(&mut bytes, inbox.is_some());
        if inbox.is_some() {
            let envelope = Envelope::direct(self.destination.name, *sender);
            envelope.wrap(&mut bytes, name_of::<M>()).map_err(|long| long.error(target()))?;
        }
        if let SerializedMessage::Cast { metadata: mark @ None, .. }
        | SerializedMessage::Call { metadata: mark @ None, .. } = &mut bytes
        {
            *mark = Some(match is_admitted {
                true => backlog.hand_admitted(len),
                false => count(&self.actor, self.destination, backlog, len)?,
            });
        }
        // What stands here for an actor of another node lives as long as the connection.
        let actor = inbox.as_ref().unwrap_or(&self.actor);
        actor.send_serialized(bytes).map_err(|_| CallError::NotLinked { target: target() })
    }
}

/// The answers to this message, which is not called, are framed by the inbox: takes the frame off before its port gets them. A refusal by a receiver
/// that cannot read the message is logged and counted here.
pub(super) fn unframe_answers<M: Message>(message: &mut SerializedMessage, destination: Destination<'_>) {
    let by_macro = is_framed(message);
    let SerializedMessage::Call { variant, reply, .. } = message else { return };
    let sent = if by_macro { variant.clone() } else { name_of::<M>().to_owned() };
    let (node, name) = (destination.node.clone(), destination.name.to_owned());
    let (unused, _) = oneshot();
    *reply = unframing(std::mem::replace(reply, unused.into()), by_macro, move |refusal| match refusal {
        Refusal::Unreadable { expected, cause } => unread::log(&node, &name, &sent, &expected, &cause, 1),
        refusal => {
            debug!(target: TARGET, name, peer = %node.name(), reason = ?refusal, "a message was refused, and its port is dropped")
        }
    });
}

/// Counts a message that goes to `actor` of another node, and gives its mark; fails when too much waits already.
pub(super) fn count(
    actor: &ActorCell,
    destination: Destination<'_>,
    backlog: &Backlog,
    len: usize,
) -> Result<Vec<u8>, CallError> {
    backlog.hand(len).map_err(|full| overloaded(actor, destination, full))
}

/// Too much waits to be sent to the node of `actor`.
pub(super) fn overloaded(actor: &ActorCell, destination: Destination<'_>, full: Full) -> CallError {
    recorded::rejection(Reason::Overloaded);
    if let Some(mark) = full.probe {
        warn!(
            target: TARGET, peer = %destination.node, waiting = full.waiting, max = full.max,
            "messages to a peer are refused: it or the network is slower than this node sends; send less, or raise \
             `limits.link_bytes`",
        );
        if let ActorId::Remote { node_id, .. } = actor.get_id() {
            service::probe(node_id, mark);
        }
    }
    CallError::Overloaded { target: destination.target(), waiting: full.waiting, max: full.max }
}
