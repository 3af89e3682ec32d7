//! Asking many at once.

use std::time::Duration;

use cloister_proto::NodeId;
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::{ActorId, Message, RpcReplyPort};
use tokio::time::{Instant, timeout_at};

use super::deliver::{Destination, FramedAnswer, Recipient};
use super::report::MulticallReport;
use crate::error::{CallError, NoAnswer};
use crate::handle::Cloister;
use crate::telemetry::recorded;

/// How much longer ractor's own machinery waits than the caller, so that the caller's timeout is what is met first.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// A question under way.
pub(super) struct PendingCall<R> {
    actor: ActorId,
    answer: OneshotReceiver<R>,
    /// What the answer comes through first, if the receiver may refuse the message.
    framed: Option<FramedAnswer>,
}

impl<R> PendingCall<R> {
    /// The answer; `None` if it was dropped.
    async fn received(self, destination: Destination<'_>, began: Instant) -> Result<Option<R>, CallError> {
        if let Some(framed) = self.framed {
            let sent = framed.sent;
            match framed.pass_on().await {
                Some(Ok(())) => {}
                Some(Err(Ok(refusal))) => return Err(destination.refused(sent, refusal, began.elapsed())),
                Some(Err(Err(cause))) => {
                    return Err(destination.uncertain(began.elapsed(), NoAnswer::Malformed(cause.into())));
                }
                None => return Ok(None),
            }
        }
        Ok(self.answer.await.ok())
    }
}

/// Sends the question, and returns without waiting for the answer.
pub(super) fn ask<M, R>(
    recipient: &Recipient<'_>,
    message: impl FnOnce(RpcReplyPort<R>) -> M,
    timeout: Duration,
) -> Result<PendingCall<R>, CallError>
where
    M: Message,
    R: Send + 'static,
{
    let (port, answer) = oneshot();
    let framed = recipient.deliver_call(message((port, timeout.saturating_add(SLACK)).into()))?;
    Ok(PendingCall { actor: recipient.actor.get_id(), answer, framed })
}

/// Waits for all answers to what began at `began`, for `timeout` at most.
pub(super) async fn gather<R>(
    cloister: &Cloister,
    name: &str,
    calls: Vec<(NodeId, Result<PendingCall<R>, CallError>)>,
    began: Instant,
    timeout: Duration,
) -> MulticallReport<R> {
    let mut result = MulticallReport { ok: Vec::with_capacity(calls.len()), failed: Vec::new() };
    for (node, asked) in calls {
        let destination = Destination { name, key: None, node: &node, epoch: None };
        match answer(cloister, destination, asked, began, timeout).await {
            Ok(answer) => result.ok.push((node, answer)),
            Err(failure) => result.failed.push((node, failure)),
        }
    }
    result
}

/// Waits for the answer to a question of `began`, for `timeout` at most, and records how long it took.
pub(super) async fn answer<R>(
    cloister: &Cloister,
    destination: Destination<'_>,
    asked: Result<PendingCall<R>, CallError>,
    began: Instant,
    timeout: Duration,
) -> Result<R, CallError> {
    let answer = match asked {
        Ok(asked) => {
            let actor = asked.actor;
            match within(began.checked_add(timeout), asked.received(destination, began)).await {
                Some(Ok(Some(answer))) => Ok(answer),
                Some(Ok(None)) => {
                    Err(destination.uncertain(began.elapsed(), why_dropped(cloister, destination, actor)))
                }
                Some(Err(failure)) => Err(failure),
                None => Err(destination.uncertain(timeout, NoAnswer::TimedOut)),
            }
        }
        Err(failure) => Err(failure),
    };
    recorded::call(answer.as_ref().err().map_or("ok", CallError::label), began.elapsed());
    answer
}

/// The output of `future`, if it comes before the deadline; one that lies beyond the end of time never comes.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// Why a question was dropped: with its connection, or by the actor.
fn why_dropped(cloister: &Cloister, destination: Destination<'_>, actor: ActorId) -> NoAnswer {
    match actor {
        ActorId::Remote { node_id, .. } if cloister.connection_to(destination.node) != Some(node_id) => {
            NoAnswer::LinkLost
        }
        ActorId::Remote { .. } | ActorId::Local(_) => NoAnswer::Died,
    }
}
