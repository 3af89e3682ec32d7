//! Asking many at once.

use std::time::Duration;

use cloister_proto::NodeId;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::{ActorId, Message, RpcReplyPort};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::deliver::{Destination, FramedAnswer, Recipient};
use super::report::MulticallReport;
use crate::error::{CallError, NoAnswer};
use crate::handle::Cloister;
use crate::recorded;

/// How much longer ractor's own machinery waits than the caller, so that the caller's timeout is what is met first.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// What has come in time.
enum Received<R> {
    Answer(R),
    /// A task decodes it, and ends at once.
    Decoding(OneshotReceiver<R>),
}

impl<R> Received<R> {
    async fn decoded(self) -> Result<R, NoAnswer> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Decoding(answer) => answer.await.map_err(|_| NoAnswer::not_decodable()),
        }
    }
}

/// A question under way.
pub(super) struct PendingCall<R> {
    actor: ActorId,
    answer: OneshotReceiver<R>,
    /// What the answer comes through first, if the receiver may refuse the message.
    framed: Option<FramedAnswer>,
}

impl<R> PendingCall<R> {
    /// What comes for what began at `began`, however long that takes.
    ///
    /// # Errors
    ///
    /// The refusal of the receiver, or why there is no answer.
    async fn received(
        self,
        cloister: &Cloister,
        destination: Destination<'_>,
        began: Instant,
    ) -> Result<Received<R>, CallError> {
        let dropped =
            || destination.uncertain(began.elapsed(), why_dropped(cloister, destination, self.actor));
        let Some(framed) = self.framed else {
            return self.answer.await.map(Received::Answer).map_err(|_| dropped());
        };
        let sent = framed.sent.clone();
        match framed.pass_on().await {
            Some(Ok(())) => Ok(Received::Decoding(self.answer)),
            Some(Err(Ok(refusal))) => Err(destination.refused(&sent, refusal, began.elapsed())),
            Some(Err(Err(cause))) => {
                Err(destination.uncertain(began.elapsed(), NoAnswer::Malformed(cause.into())))
            }
            None => Err(dropped()),
        }
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

/// Waits for all answers to what began at `began`, for `timeout` at most. One that does not come keeps none of the others back. Only what
/// has come is looked at, and one timer serves them all.
pub(super) async fn gather<R>(
    cloister: &Cloister,
    name: &str,
    calls: Vec<(NodeId, Result<PendingCall<R>, CallError>)>,
    began: Instant,
    timeout: Duration,
) -> MulticallReport<R> {
    // A node that leaves waits for it.
    let _in_progress = cloister.begin_own_call();
    let (nodes, asked): (Vec<NodeId>, Vec<_>) = calls.into_iter().unzip();
    let destination = |n: usize| Destination::of_node(name, &nodes[n], Some(began));
    let mut came: Vec<Option<_>> = nodes.iter().map(|_| None).collect();
    let mut note = |(n, received): (usize, Result<Received<R>, CallError>)| {
        came[n] = Some((received, began.elapsed()));
    };
    let mut waiting = FuturesUnordered::new();
    for (n, asked) in asked.into_iter().enumerate() {
        match asked {
            Ok(asked) => {
                waiting.push(async move { (n, asked.received(cloister, destination(n), began).await) })
            }
            Err(failure) => note((n, Err(failure))),
        }
    }
    let in_time = async {
        while let Some(received) = waiting.next().await {
            note(received);
        }
    };
    if within(began.checked_add(timeout), in_time).await.is_none() {
        // What came in the same instant.
        while let Some(Some(received)) = unconstrained(waiting.next()).now_or_never() {
            note(received);
        }
    }
    drop(waiting);
    let mut result = MulticallReport { ok: Vec::with_capacity(nodes.len()), failed: Vec::new() };
    for (n, came) in came.into_iter().enumerate() {
        let answer = match came {
            Some((received, took)) => finished(destination(n), received, took).await,
            None => finished(destination(n), Err(timed_out(destination(n), timeout)), timeout).await,
        };
        match answer {
            Ok(answer) => result.ok.push((nodes[n].clone(), answer)),
            Err(failure) => result.failed.push((nodes[n].clone(), failure)),
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
    let _in_progress = cloister.begin_own_call();
    let received = match asked {
        Ok(asked) => within(began.checked_add(timeout), asked.received(cloister, destination, began))
            .await
            .unwrap_or_else(|| Err(timed_out(destination, timeout))),
        Err(failure) => Err(failure),
    };
    finished(destination, received, began.elapsed()).await
}

/// Records what came of a question after so long, and decodes the answer.
async fn finished<R>(
    destination: Destination<'_>,
    received: Result<Received<R>, CallError>,
    took: Duration,
) -> Result<R, CallError> {
    let answer = match received {
        Ok(received) => received.decoded().await.map_err(|cause| destination.uncertain(took, cause)),
        Err(failure) => Err(failure),
    };
    recorded::call(answer.as_ref().err().map_or("ok", CallError::label), took);
    answer
}

fn timed_out(destination: Destination<'_>, timeout: Duration) -> CallError {
    destination.uncertain(timeout, NoAnswer::TimedOut)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloister_config::Config;
    use cloister_proto::{Incarnation, Member};
    use ractor::message::SerializedMessage;

    use super::*;
    use crate::handle::Shared;
    use crate::message::{answer as framed, call};
    use crate::placement::RingPlan;
    use crate::rpc::inbox_message::InboxMessage;

    const TIMEOUT: Duration = Duration::from_millis(50);

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n)
    }

    fn cloister() -> Cloister {
        let me = Member::without_tags(node(1));
        Cloister::new(Arc::new(Shared::new(me, RingPlan::default(), &Config::default())))
    }

    /// A call of a number to an actor of another node, and where that node's answer goes.
    fn pending() -> (PendingCall<u64>, RpcReplyPort<Vec<u8>>) {
        let (port, answer) = oneshot();
        let mut message = call("Cart::Count", &(), RpcReplyPort::from(port)).unwrap();
        let framed = FramedAnswer::intercept::<InboxMessage>(&mut message, true);
        let SerializedMessage::Call { reply, .. } = message else { panic!("it is a call") };
        (PendingCall { actor: ActorId::Remote { node_id: 1, pid: 1 }, answer, framed }, reply)
    }

    /// A node that is asked before the others does not answer. The others have, and their answers are not decoded yet.
    #[tokio::test]
    async fn a_node_that_does_not_answer_keeps_no_other_answer_back() {
        let (cloister, began) = (cloister(), Instant::now());
        let (silent, _kept) = pending();
        let (second, reply) = pending();
        // MessagePack of a small number is the number.
        reply.send(framed(vec![7])).unwrap();
        let calls = vec![(node(2), Ok(silent)), (node(3), Ok(second))];
        let report = gather(&cloister, "cart", calls, began, TIMEOUT).await;
        assert_eq!(report.ok, [(node(3), 7)]);
        assert!(matches!(
            &report.failed[..],
            [(silent, CallError::Uncertain { cause: NoAnswer::TimedOut, .. })] if *silent == node(2)
        ));
    }

    #[tokio::test]
    async fn an_answer_that_is_decoded_after_the_deadline_counts_if_it_came_in_time() {
        let (cloister, began) = (cloister(), Instant::now());
        let (asked, reply) = pending();
        reply.send(framed(vec![7])).unwrap();
        tokio::time::sleep(2 * TIMEOUT).await;
        let report = gather(&cloister, "cart", vec![(node(2), Ok(asked))], began, TIMEOUT).await;
        assert_eq!(report.ok, [(node(2), 7)]);
    }

    #[tokio::test]
    async fn an_answer_of_another_type_is_malformed_and_its_actor_has_not_died() {
        let (asked, reply) = pending();
        // MessagePack of a text.
        reply.send(framed(b"\xa1x".to_vec())).unwrap();
        let report = gather(&cloister(), "cart", vec![(node(2), Ok(asked))], Instant::now(), TIMEOUT).await;
        let [(_, CallError::Uncertain { cause: NoAnswer::Malformed(cause), .. })] = &report.failed[..] else {
            panic!("{:?}", report.failed)
        };
        assert!(cause.contains("no value of the type"), "{cause}");
    }
}
