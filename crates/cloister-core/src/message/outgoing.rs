//! What a sender makes of a message.

use cloister_proto::text::sanitize_to;
use ractor::RpcReplyPort;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{debug, error};

use super::codec::{decode, encode};
use super::port::before;
use super::refusal::body_of;
use crate::telemetry::TARGET;

/// The most characters of what is wrong with an answer.
const SHOWN: usize = 512;

/// A message without an answer. `variant` has the name of the type before it.
///
/// # Errors
///
/// If `body` cannot be encoded; the log has the reason.
pub fn cast<B: Serialize>(variant: &'static str, body: &B) -> Result<SerializedMessage, BoxedDowncastErr> {
    Ok(SerializedMessage::Cast { variant: variant.to_owned(), args: args(variant, body)?, metadata: None })
}

/// A message whose answer goes to `port`. `variant` has the name of the type before it.
///
/// # Errors
///
/// If `body` cannot be encoded; the log has the reason.
pub fn call<B: Serialize, R: DeserializeOwned + Send + 'static>(
    variant: &'static str,
    body: &B,
    port: RpcReplyPort<R>,
) -> Result<SerializedMessage, BoxedDowncastErr> {
    let args = args(variant, body)?;
    // A port that is dropped tells its caller that there is no answer.
    let reply = before(port, move |bytes: Option<Vec<u8>>| match body_of(&bytes?).map(decode) {
        Some(Ok(answer)) => Some(answer),
        Some(Err(cause)) => {
            // It may quote what the peer has sent.
            let cause = sanitize_to(&cause, SHOWN);
            error!(target: TARGET, message = variant, error = cause, "an answer cannot be decoded: both nodes should run the same release");
            None
        }
        None => {
            debug!(target: TARGET, message = variant, "a call was refused");
            None
        }
    });
    Ok(SerializedMessage::Call { variant: variant.to_owned(), args, reply, metadata: None })
}

fn args<B: Serialize>(variant: &'static str, body: &B) -> Result<Vec<u8>, BoxedDowncastErr> {
    encode(body).map_err(|cause| {
        error!(target: TARGET, message = variant, error = %cause, "a message cannot be encoded, so it is not sent");
        BoxedDowncastErr
    })
}
