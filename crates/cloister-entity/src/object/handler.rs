//! One message in the handler of an entity: limits, panics, and the end of the claim.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;

use cloister_core::Epoch;
use cloister_table::service::{Accepted, Bytes, decode};
use futures_util::FutureExt;
use tokio::time::sleep;

use super::{Object, Surroundings};
use crate::answer;
use crate::context::{Context, Later};
use crate::entity::Entity;
use crate::error::Failure;
use crate::timers::now;

/// Why a handler has not ended by itself, or with an error.
pub(super) enum Stopped {
    Failed(Failure),
    ClaimLost,
}

/// What a handler has left beside the state.
pub(super) struct Ran {
    pub(super) answer: Bytes,
    pub(super) is_forgotten: bool,
    pub(super) later: Option<Later>,
}

/// Runs the handler.
pub(super) async fn run<E: Entity>(
    object: &mut Object<E>,
    with: &Surroundings<'_>,
    epoch: Epoch,
    message: &Accepted,
) -> Result<Ran, Stopped> {
    let cloister = with.table.cloister();
    let decoded =
        decode::<E::Message>(&message.message).map_err(|cause| Stopped::Failed(Failure::Message(cause)))?;
    let mut context = Context {
        key: with.key,
        epoch,
        cloister,
        timers: &mut object.timers,
        now: now(),
        is_forgotten: false,
        message: message.id(),
        replies: with.replies,
        later: None,
        awaited: &mut object.awaited,
        entity: PhantomData,
    };
    let limit = with.options.handler_timeout;
    let handled = AssertUnwindSafe(object.state.handle(&mut context, decoded)).catch_unwind();
    // Most handlers end at once, and then no timer is started.
    let handled = tokio::select! {
        biased;
        handled = handled => match handled {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(Stopped::Failed(Failure::Error(error.into_text()))),
            Err(panic) => Err(Stopped::Failed(Failure::Panicked(text_of(panic.as_ref())))),
        },
        () = with.table.claim_ends(epoch) => Err(Stopped::ClaimLost),
        () = sleep(limit) => Err(Stopped::Failed(Failure::TimedOut(limit))),
    };
    let Context { is_forgotten, later, .. } = context;
    let answer = handled.and_then(|reply| match later {
        Some(_) => Ok(answer::later()),
        None => answer::reply(&reply, with.options.max_state_bytes)
            .map_err(|cause| Stopped::Failed(Failure::NotWritable(cause))),
    });
    if answer.is_err() {
        close(with, later);
    }
    Ok(Ran { answer: answer?, is_forgotten, later })
}

/// The reply that was to be given later is that to a message which has left nothing behind.
pub(super) fn close(with: &Surroundings<'_>, later: Option<Later>) {
    if let Some(place) = later.and_then(|later| later.place) {
        with.replies.close(place);
    }
}

pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}
