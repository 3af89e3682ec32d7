//! A message by key that waits for nothing.

use std::time::Duration;

use cloister_proto::Epoch;
use ractor::Message;
use ractor::message::SerializedMessage;

use super::super::deliver::{Destination, shown, unframe_answers};
use super::super::envelope::Envelope;
use super::{CAST_TIMEOUT, ENDED, Inbox, Own, Route, check_key, send_to_own};
use crate::error::{CallError, TrySendError};
use crate::handle::Cloister;
use crate::message::name_of;

/// How a cast meets the limit of a link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::rpc) enum Limit {
    /// With its length, which is known once it is encoded.
    Exact,
    /// Before it is encoded, so that it can be given back. It may pass the limit.
    BeforeEncoding,
}

/// Sends `message` to the owner of `key`, and waits for nothing.
pub(in crate::rpc) fn cast<M: Message>(
    cloister: &Cloister,
    name: &str,
    key: &[u8],
    message: M,
    limit: Limit,
) -> Result<(), TrySendError<M>> {
    let no_owner = |cause| CallError::NoOwner {
        name: name.to_owned(),
        key: shown(key),
        node: None,
        epoch: cloister.epoch(),
        waited: Duration::ZERO,
        cause,
    };
    if let Err(error) = check_key(cloister, name, key) {
        return Err(TrySendError::returned(error, message));
    }
    let message = match send_to_own(cloister, name, key, message) {
        Own::Sent { .. } => return Ok(()),
        Own::Failed(failed) => return Err(*failed),
        Own::NotNow(message) => message,
    };
    let route = Route::of(cloister, key);
    let (owner, epoch) = match &route {
        Route::Nowhere(why) => return Err(TrySendError::returned(no_owner(why), message)),
        Route::Ended => return Err(TrySendError::returned(no_owner(ENDED), message)),
        // Its inbox keeps the message until the actor runs.
        Route::Own(node) => (node, cloister.epoch().unwrap_or(Epoch::ZERO)),
        Route::Inbox { owner, epoch } => (owner, *epoch),
    };
    let destination = Destination { name, key: Some(key), node: owner, epoch: Some(epoch), began: None };
    let not_linked = || CallError::NotLinked { target: destination.target() };
    let Some(inbox) = Inbox::of(cloister, &route) else {
        return Err(TrySendError::returned(not_linked(), message));
    };
    if limit == Limit::BeforeEncoding
        && let Err(error) = inbox.room(destination)
    {
        return Err(TrySendError::returned(error, message));
    }
    let type_name = name_of::<M>();
    let mut encoded = message.serialize().map_err(|_| CallError::NotEncodable {
        target: destination.target(),
        sent: type_name.into(),
        cause: "see the log".into(),
    })?;
    if matches!(encoded, SerializedMessage::CallReply(..)) {
        return Err(no_owner("the message is an answer").into());
    }
    unframe_answers::<M>(&mut encoded, destination);
    let envelope = Envelope {
        key: key.to_vec(),
        direct: false,
        epoch,
        timeout: CAST_TIMEOUT,
        ..Envelope::direct(name, cloister.incarnation())
    };
    envelope.wrap(&mut encoded, type_name).map_err(|long| long.error(destination.target()))?;
    match inbox.send(destination, encoded, limit == Limit::BeforeEncoding)? {
        true => Ok(()),
        false => Err(not_linked().into()),
    }
}

/// A message by key as the inbox of its owner gets it; `None` if it cannot be encoded.
#[cfg(feature = "test-support")]
pub(crate) fn enveloped<M: Message>(
    cloister: &Cloister,
    name: &str,
    key: &[u8],
    message: M,
) -> Option<SerializedMessage> {
    let mut message = message.serialize().ok()?;
    let envelope = Envelope {
        key: key.to_vec(),
        direct: false,
        epoch: cloister.epoch()?,
        timeout: CAST_TIMEOUT,
        ..Envelope::direct(name, cloister.incarnation())
    };
    envelope.wrap(&mut message, name_of::<M>()).ok()?;
    Some(message)
}
