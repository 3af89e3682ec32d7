//! What a receiver makes of the bytes of a message.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};

use cloister_net::MAX_MESSAGE_LEN;
use cloister_proto::text::sanitize_to;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Message, RpcReplyPort};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{error, warn};

use super::Schema;
use super::codec::{decode, encode};
use super::port::before;
use super::refusal::{Refusal, answer};
use super::unread::{Sender, UnreadKind, note};
use crate::recorded;
use crate::telemetry::TARGET;
use crate::telemetry::rejections::Reason;

/// How many kinds of unreadable messages are remembered, so that each is logged once. A peer can make up names.
const MAX_LOGGED: usize = 256;

/// The most characters of the name of a message.
const SHOWN: usize = 128;

/// A message that came in, before it is decoded.
pub struct Incoming {
    schema: &'static Schema,
    /// The name of the type and the variant.
    sent: String,
    args: Vec<u8>,
    /// Which node sent it, if the inbox of this node has handed it over.
    sender: Option<Sender>,
    reply: Option<RpcReplyPort<Vec<u8>>>,
}

impl Incoming {
    /// The parts of `message`, which should be of the type of `schema`.
    ///
    /// # Errors
    ///
    /// If it is no message.
    pub fn new(schema: &'static Schema, message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { variant, args, metadata } => {
                let sender = metadata.as_deref().and_then(Sender::of);
                Ok(Self { schema, sent: variant, args, sender, reply: None })
            }
            SerializedMessage::Call { variant, args, reply, .. } => {
                Ok(Self { schema, sent: variant, args, sender: None, reply: Some(reply) })
            }
            SerializedMessage::CallReply(..) => {
                ASKED.set(Some(schema));
                Err(BoxedDowncastErr)
            }
        }
    }

    /// The variant; empty if the message is of another type.
    #[must_use]
    pub fn variant(&self) -> &str {
        let own = self.sent.strip_prefix(self.schema.name).and_then(|rest| rest.strip_prefix("::"));
        own.unwrap_or_default()
    }

    /// Decodes a message without an answer.
    ///
    /// # Errors
    ///
    /// If it cannot be read: it is logged, and refused if it is a call.
    pub fn cast<B: DeserializeOwned, M>(self, message: impl FnOnce(B) -> M) -> Result<M, BoxedDowncastErr> {
        if self.reply.is_some() {
            return self.refuse("it asks for an answer, and this variant gives none here");
        }
        match decode(&self.args) {
            Ok(body) => Ok(message(body)),
            Err(cause) => self.refuse(&cause),
        }
    }

    /// Decodes a message that is answered.
    ///
    /// # Errors
    ///
    /// As [`Incoming::cast`].
    pub fn call<B, R, M>(
        mut self,
        message: impl FnOnce(B, RpcReplyPort<R>) -> M,
    ) -> Result<M, BoxedDowncastErr>
    where
        B: DeserializeOwned,
        R: Serialize + Send + 'static,
    {
        let body = match decode(&self.args) {
            Ok(body) => body,
            Err(cause) => return self.refuse(&cause),
        };
        match self.reply.take() {
            Some(reply) => Ok(message(body, answering(self.sent, reply))),
            None => self.refuse("it asks for no answer, and this variant gives one here"),
        }
    }

    /// Refuses a message of a variant that the type does not have, or of another type.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn unknown<M>(self) -> Result<M, BoxedDowncastErr> {
        let cause = match self.variant() {
            "" => "it is of another type",
            _ => "this release has no such variant",
        };
        self.refuse(cause)
    }

    fn refuse<M>(self, cause: &str) -> Result<M, BoxedDowncastErr> {
        recorded::rejection(Reason::Unreadable);
        let expected = self.schema.to_string();
        log_unreadable(&self.sent, &expected, cause);
        if let Some(Sender { incarnation, name }) = self.sender {
            let (sent, expected, cause) = (self.sent, expected, cause.to_owned());
            note(UnreadKind { sender: incarnation, name, sent, expected, cause });
        } else if let Some(reply) = self.reply {
            // The caller may have given up.
            let _ = reply.send(Refusal::Unreadable { expected, cause: cause.to_owned() }.bytes());
        }
        Err(BoxedDowncastErr)
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// A port whose answer is encoded and sent back by `reply`; when it is dropped, the caller learns that there is no answer.
fn answering<R: Serialize + Send + 'static>(sent: String, reply: RpcReplyPort<Vec<u8>>) -> RpcReplyPort<R> {
    before(reply, move |value: Option<R>| {
        let encoded = value.ok_or(Refusal::Died).and_then(|value| encoded(&sent, &value));
        Some(encoded.unwrap_or_else(|refusal| refusal.bytes()))
    })
}

fn encoded<R: Serialize>(sent: &str, value: &R) -> Result<Vec<u8>, Refusal> {
    let bytes = encode(value).map_err(|cause| {
        error!(target: TARGET, message = sent, error = %cause, "an answer cannot be encoded, so it is not sent");
        Refusal::AnswerUnencodable { cause }
    })?;
    if bytes.len() >= MAX_MESSAGE_LEN {
        let len = bytes.len() as u64;
        error!(target: TARGET, message = sent, len, max = MAX_MESSAGE_LEN, "an answer is too long and is not sent");
        return Err(Refusal::AnswerTooLarge { len });
    }
    Ok(answer(bytes))
}

thread_local! {
    /// The schema of the type that was asked for it.
    static ASKED: Cell<Option<&'static Schema>> = const { Cell::new(None) };
}

/// The schema of this type, if its code is that of the derive macro.
///
/// It is asked by an answer, which is no message of any type: the macro's code says its schema then, and refuses. So does ractor's.
pub(crate) fn schema_of<M: Message>() -> Option<&'static Schema> {
    ASKED.set(None);
    // The code of another type may not expect it.
    let _ = catch_unwind(|| drop(M::deserialize(SerializedMessage::CallReply(0, Vec::new()))));
    ASKED.take()
}

/// Logs that a message of type `sent` cannot be read, once for each kind.
pub(crate) fn log_unreadable(sent: &str, expected: &str, cause: &str) {
    let (message, cause) = (sanitize_to(sent, SHOWN), sanitize_to(cause, SHOWN));
    if is_new(format!("{expected} {message} {cause}")) {
        warn!(
            target: TARGET, message, expected, error = cause,
            "a message of another node cannot be read and is dropped; run the same release on both nodes",
        );
    }
}

/// Whether this was not logged before. When there is too much to remember, all is forgotten.
pub(crate) fn is_new(what: String) -> bool {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() >= MAX_LOGGED {
        logged.clear();
    }
    logged.insert(what)
}
