//! The operations of this node that wait for an answer of another.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_core::{CallError, NodeId};
use ractor::ActorId;
use ractor::concurrency::{OneshotReceiver, OneshotSender, oneshot};

use crate::message::Answer;

/// Why an operation has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// There is no link to the owner, so it did not leave this node.
    NotLinked,
    /// It did not leave this node.
    NotSent(CallError),
    /// The link was lost, or the table of the other node has ended.
    LinkLost,
}

/// The operations of this node that wait for an answer of another.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    /// The actor that it was sent to, which is another one after each loss of the link. `None` before it was sent.
    actor: Option<ActorId>,
    answer: OneshotSender<Result<Answer, Failure>>,
}

/// An operation that waits. When this is dropped, its answer is of no use any more.
pub(crate) struct PendingRequest<'a> {
    requests: &'a Requests,
    pub(crate) number: u64,
    pub(crate) answer: OneshotReceiver<Result<Answer, Failure>>,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.requests.lock().waiting.remove(&self.number);
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation that is sent to `node` next.
    pub(crate) fn open(&self, node: &NodeId) -> PendingRequest<'_> {
        let (sender, answer) = oneshot();
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, Waiting { node: node.clone(), actor: None, answer: sender });
        PendingRequest { requests: self, number, answer }
    }

    /// These are on their way to this actor.
    pub(crate) fn sent(&self, numbers: &[u64], actor: ActorId) {
        let mut state = self.lock();
        for number in numbers {
            if let Some(waiting) = state.waiting.get_mut(number) {
                waiting.actor = Some(actor);
            }
        }
    }

    /// These have no answer.
    pub(crate) fn failed(&self, numbers: &[u64], failure: &Failure) {
        let mut state = self.lock();
        for waiting in numbers.iter().filter_map(|number| state.waiting.remove(number)) {
            drop(waiting.answer.send(Err(failure.clone())));
        }
    }

    /// The actors of other nodes are these from now on: what was sent to others has no answer.
    pub(crate) fn only(&self, is_linked: impl Fn(&NodeId, ActorId) -> bool) {
        let is_lost = |_: &u64, waiting: &mut Waiting| {
            waiting.actor.is_some_and(|actor| !is_linked(&waiting.node, actor))
        };
        for (_, waiting) in self.lock().waiting.extract_if(is_lost) {
            drop(waiting.answer.send(Err(Failure::LinkLost)));
        }
    }

    /// A node has answered. It may say anything: an operation that was sent to another one waits on.
    pub(crate) fn answered(&self, node: &NodeId, number: u64, answer: Answer) {
        let mut state = self.lock();
        if state.waiting.get(&number).is_some_and(|waiting| waiting.node == *node)
            && let Some(waiting) = state.waiting.remove(&number)
        {
            // The caller may have given up.
            drop(waiting.answer.send(Ok(answer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use cloister_core::Incarnation;

    use super::*;

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n)
    }

    fn actor(connection: u64) -> ActorId {
        ActorId::Remote { node_id: connection, pid: 7 }
    }

    #[test]
    fn only_the_node_that_was_asked_answers_and_once() {
        let requests = Requests::default();
        let mut pending = requests.open(&node(2));
        requests.sent(&[pending.number], actor(1));
        requests.answered(&node(3), pending.number, Answer::Busy);
        requests.answered(&node(2), pending.number + 1, Answer::Busy);
        assert!(pending.answer.try_recv().is_err());
        requests.answered(&node(2), pending.number, Answer::Lost);
        requests.answered(&node(2), pending.number, Answer::Busy);
        assert!(matches!(pending.answer.try_recv(), Ok(Ok(Answer::Lost))));
    }

    #[test]
    fn what_was_sent_by_a_link_that_is_gone_has_no_answer_and_what_was_not_sent_waits() {
        let requests = Requests::default();
        let [mut before, mut after, mut unsent, mut other] = [2, 2, 2, 3].map(|n| requests.open(&node(n)));
        requests.sent(&[before.number], actor(1));
        requests.sent(&[after.number], actor(4));
        requests.sent(&[other.number], actor(2));
        requests.only(|at, by| (at, by) == (&node(2), actor(4)) || (at, by) == (&node(3), actor(2)));
        assert!(matches!(before.answer.try_recv(), Ok(Err(Failure::LinkLost))));
        for pending in [&mut after, &mut unsent, &mut other] {
            assert!(pending.answer.try_recv().is_err());
        }
        requests.failed(&[unsent.number], &Failure::NotLinked);
        assert!(matches!(unsent.answer.try_recv(), Ok(Err(Failure::NotLinked))));
    }

    #[test]
    fn what_was_given_up_is_forgotten() {
        let requests = Requests::default();
        drop(requests.open(&node(2)));
        assert!(requests.lock().waiting.is_empty());
    }
}
