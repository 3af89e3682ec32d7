//! What the inbox of a node receives, from this node and from others.

use ractor::RpcReplyPort;
use ractor::message::{BoxedDowncastErr, SerializedMessage};

use crate::handle::OwnMessage;

/// The variant of a report. No type has one of this name.
const UNREAD: &str = "\0unread";

/// What the inbox receives.
#[derive(Debug)]
pub(crate) enum InboxMessage {
    /// The bytes of a message, with their envelope.
    Bytes(SerializedMessage),
    /// The same of this node's own. It is on its way until the last is dropped.
    Own(SerializedMessage, OwnMessage),
    /// What this node may do has changed.
    Changed,
    /// The time of a message that is kept is over.
    Expired,
    /// How does the cluster look from there?
    State(RpcReplyPort<Vec<u8>>),
    /// The receiver of a message without an answer could not read it, see `unread.rs`.
    Unread(Vec<u8>),
    /// Nothing: it was sent for the sake of its way, see `service.rs`.
    Probe,
}

impl ractor::Message for InboxMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            InboxMessage::Bytes(message) | InboxMessage::Own(message, _) => Ok(message),
            InboxMessage::Changed | InboxMessage::Expired => Err(BoxedDowncastErr),
            InboxMessage::State(reply) => Ok(SerializedMessage::Call {
                variant: String::new(),
                args: Vec::new(),
                reply,
                metadata: None,
            }),
            InboxMessage::Unread(args) => {
                Ok(SerializedMessage::Cast { variant: UNREAD.to_owned(), args, metadata: None })
            }
            InboxMessage::Probe => {
                Ok(SerializedMessage::Cast { variant: String::new(), args: Vec::new(), metadata: None })
            }
        }
    }

    /// What has an envelope is not empty.
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Call { args, reply, .. } if args.is_empty() => InboxMessage::State(reply),
            SerializedMessage::Cast { args, .. } if args.is_empty() => InboxMessage::Probe,
            SerializedMessage::Cast { variant, args, .. } if variant == UNREAD => InboxMessage::Unread(args),
            message => InboxMessage::Bytes(message),
        })
    }
}
