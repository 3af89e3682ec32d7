//! Handing a message to an actor here or elsewhere.

use ractor::message::SerializedMessage;
use ractor::{ActorCell, Message, MessagingErr};

use crate::error::CallFailure;

/// The most bytes that the arguments of a message to another node may have. A frame over 16 MiB would end the
/// connection at the receiver, so larger messages are refused by the sender.
pub const MAX_MESSAGE_LEN: usize = 15 << 20;

/// Hands `message` to `actor`, without waiting for it to arrive.
pub(super) fn deliver<M: Message>(actor: &ActorCell, message: M) -> Result<(), CallFailure> {
    if actor.get_id().is_local() {
        return actor.send_message(message).map_err(|error| match error {
            MessagingErr::InvalidActorType => {
                CallFailure::WrongMessage { message: std::any::type_name::<M>() }
            }
            MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => CallFailure::Died,
        });
    }
    let wrong = CallFailure::WrongMessage { message: std::any::type_name::<M>() };
    let bytes = message.serialize().map_err(|_| wrong)?;
    let len = match &bytes {
        SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args.len(),
        SerializedMessage::CallReply(_, reply) => reply.len(),
    };
    if len > MAX_MESSAGE_LEN {
        return Err(CallFailure::TooLarge { len, most: MAX_MESSAGE_LEN });
    }
    // What stands here for an actor of another node lives as long as the connection.
    actor.send_serialized(bytes).map_err(|_| CallFailure::Unreachable)
}
