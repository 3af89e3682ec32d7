//! Asking many at once.

use std::time::Duration;

use cloister_proto::NodeId;
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::{ActorId, Message, RpcReplyPort};
use tokio::time::{Instant, timeout_at};

use super::deliver::Recipient;
use super::report::MulticallReport;
use crate::error::CallError;
use crate::handle::Cloister;

/// How much longer ractor's own machinery waits than the caller, so that the caller's timeout is what is met first.
const SLACK: Duration = Duration::from_secs(1);

/// A question under way.
pub(super) struct Asked<R> {
    actor: ActorId,
    answer: OneshotReceiver<R>,
}

/// Sends the question, and returns without waiting for the answer.
pub(super) fn ask<M, R>(
    recipient: &Recipient<'_>,
    message: impl FnOnce(RpcReplyPort<R>) -> M,
    timeout: Duration,
) -> Result<Asked<R>, CallError>
where
    M: Message,
    R: Send + 'static,
{
    let (port, answer) = oneshot();
    recipient.deliver(message((port, timeout.saturating_add(SLACK)).into()))?;
    Ok(Asked { actor: recipient.actor.get_id(), answer })
}

/// Waits for all answers, for `timeout` at most.
pub(super) async fn gather<R>(
    cloister: &Cloister,
    calls: Vec<(NodeId, Result<Asked<R>, CallError>)>,
    timeout: Duration,
) -> MulticallReport<R> {
    let deadline = deadline(timeout);
    let mut result = MulticallReport { ok: Vec::with_capacity(calls.len()), failed: Vec::new() };
    for (node, asked) in calls {
        let answer = match asked {
            Ok(asked) => answer(cloister, &node, asked, deadline, timeout).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(answer) => result.ok.push((node, answer)),
            Err(failure) => result.failed.push((node, failure)),
        }
    }
    result
}

/// When `timeout` is over; `None` beyond the end of time.
pub(super) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Waits for one answer, until the deadline at most.
pub(super) async fn answer<R>(
    cloister: &Cloister,
    node: &NodeId,
    asked: Asked<R>,
    deadline: Option<Instant>,
    timeout: Duration,
) -> Result<R, CallError> {
    match within(deadline, asked.answer).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(_)) => Err(why_dropped(cloister, node, asked.actor)),
        None => Err(CallError::TimedOut { timeout }),
    }
}

/// The output of `future`, if it comes before the deadline; one that lies beyond the end of time never comes.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// Why a question was dropped: with its connection, or by the actor.
fn why_dropped(cloister: &Cloister, node: &NodeId, actor: ActorId) -> CallError {
    match actor {
        ActorId::Remote { node_id, .. } if cloister.connection_to(node) != Some(node_id) => {
            CallError::Unreachable
        }
        ActorId::Remote { .. } | ActorId::Local(_) => CallError::Died,
    }
}
