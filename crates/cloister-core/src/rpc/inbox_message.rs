//! What the inbox of a node receives, from this node and from others.

use ractor::RpcReplyPort;
use ractor::message::{BoxedDowncastErr, SerializedMessage};

/// What the inbox receives.
#[derive(Debug)]
pub(crate) enum InboxMessage {
    /// The bytes of a message, with their envelope.
    Bytes(SerializedMessage),
    /// What this node may do has changed.
    Changed,
    /// How does the cluster look from there?
    State(RpcReplyPort<Vec<u8>>),
    /// Nothing: it was sent for the sake of its way, see `service.rs`.
    Probe,
}

impl ractor::Message for InboxMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            InboxMessage::Bytes(message) => Ok(message),
            InboxMessage::Changed => Err(BoxedDowncastErr),
            InboxMessage::State(reply) => Ok(SerializedMessage::Call {
                variant: String::new(),
                args: Vec::new(),
                reply,
                metadata: None,
            }),
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
            message => InboxMessage::Bytes(message),
        })
    }
}
