//! An operation, from its first attempt to its end.
//!
//! What may have been done is repeated under the same number, which its owner and the copies remember as long as this node stays a
//! member. So it is done once, however often it is sent.

use std::time::Duration;

use cloister_core::{CallError, Epoch, NoAnswer, NodeId, Slot};
use ractor::RpcReplyPort;
use ractor::concurrency::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::blob::Blob;
use crate::core::Core;
use crate::error::{Destination, TableError, shown};
use crate::message::{Answer, Operation, Outcome, Request, TableMessage};
use crate::options::decode;

/// How long one attempt waits for its answer, if it can be repeated. A link may be lost without a word.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The pause before an operation that was not begun is sent again, unless the view of this node changes before.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the time limit of an operation is beyond all instants, as `Duration::MAX` is: thirty years.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// An operation under way.
struct Running<'a> {
    core: &'a Core,
    key: &'a [u8],
    began: Instant,
    deadline: Instant,
    /// The node and the view of the last attempt.
    node: Option<NodeId>,
    epoch: Option<Epoch>,
    /// The view of the first attempt that may have been done, and why that is not known.
    uncertain: Option<(Epoch, String)>,
}

/// What came of an attempt.
enum Attempt {
    Done(Outcome),
    Failed(TableError),
    Again { cause: String, may_be_done: bool },
}

/// Why a call has no answer. Its own text names the key as it is encoded.
fn in_words(error: &CallError) -> String {
    match error {
        CallError::Uncertain { cause: NoAnswer::TimedOut, waited, .. } => {
            format!("no answer within {waited:.1?}")
        }
        CallError::Uncertain { cause: NoAnswer::LinkLost, .. } => {
            "the link was lost before the answer came".to_owned()
        }
        CallError::Uncertain { cause: NoAnswer::Died, .. } => "its table has ended or begun anew".to_owned(),
        other => other.to_string(),
    }
}

/// Does an operation on a key, encoded, at its owner; returns what came of it, and where.
pub(crate) async fn operate(
    core: &Core,
    key: &[u8],
    operation: Operation,
) -> Result<(Outcome, Destination), TableError> {
    let began = Instant::now();
    let deadline = began.checked_add(core.options.timeout).unwrap_or_else(|| began + FOR_EVER);
    let mut running = Running { core, key, began, deadline, node: None, epoch: None, uncertain: None };
    let mut number = (!matches!(operation, Operation::Get)).then(|| core.numbers.open());
    let mut view = core.view.subscribe();
    loop {
        let known =
            match timeout_at(deadline, view.wait_for(|view| view.epoch.is_some() || view.is_over)).await {
                Ok(Ok(known)) => *known,
                Ok(Err(_)) | Err(_) => return Err(running.ended("this node is up in no view")),
            };
        let Some(epoch) = known.epoch else {
            return Err(running.ended("this node leaves, or has ended"));
        };
        if running.uncertain.as_ref().is_some_and(|(first, _)| *first < known.since) {
            // The owners have forgotten what this node did before.
            return Err(running.ended("this node was no member for a while"));
        }
        let id = number.as_ref().map(|number| number.id(core.cloister.node().incarnation().0));
        let key = Blob(key.into());
        let request = Request { epoch: epoch.as_u64(), key, id, operation: operation.clone() };
        let cause = match running.attempt(epoch, request).await {
            Attempt::Done(outcome) => {
                let (node, epoch, waited) = (running.node, running.epoch, running.began.elapsed());
                return Ok((outcome, Destination { node, epoch, waited }));
            }
            Attempt::Failed(error) => return Err(error),
            Attempt::Again { cause, may_be_done } => {
                if may_be_done && let Some(number) = &mut number {
                    if matches!(operation, Operation::Deliver { one_way: true, .. }) {
                        // A node that has accepted it, unheard, passes it on until then.
                        number.keep_for(core.options.timeout);
                    }
                    running.uncertain.get_or_insert_with(|| (epoch, cause.clone()));
                    if !core.repeats() {
                        return Err(running.ended(&cause));
                    }
                }
                cause
            }
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(running.ended(&cause));
        }
        // A refusal is most often of a node that was in the next view before this one.
        let _ = timeout(PAUSE, view.changed()).await;
    }
}

impl Running<'_> {
    /// The operation is over without an answer.
    fn ended(&self, cause: &str) -> TableError {
        let (table, key) = (self.core.table.clone(), shown(self.key));
        let (node, epoch, waited) = (self.node.clone(), self.epoch, self.began.elapsed());
        match &self.uncertain {
            Some((_, first)) if first != cause => {
                let cause = format!("{first}; then {cause}");
                TableError::Uncertain { table, key, node, epoch, waited, cause }
            }
            Some(_) => TableError::Uncertain { table, key, node, epoch, waited, cause: cause.to_owned() },
            None => TableError::Unavailable { table, key, node, epoch, waited, cause: cause.to_owned() },
        }
    }

    async fn attempt(&mut self, epoch: Epoch, request: Request) -> Attempt {
        let core = self.core;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = if core.repeats() { left.min(ATTEMPT) } else { left };
        self.epoch = Some(epoch);
        self.node = core.cloister.whois(self.key);
        let answered = if core.cloister.claim().is_some_and(|claim| claim.owns(Slot::of(self.key))) {
            let (port, answer) = oneshot();
            core.operate(request, RpcReplyPort::from(port));
            match timeout(left, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(("the table of this node has begun anew".to_owned(), true)),
                Err(_) => Err((format!("no answer within {left:?}"), true)),
            }
        } else {
            let message = |reply| TableMessage::Operate { request, reply };
            let answer = core.cloister.call(&core.actor, self.key, message, left).await;
            answer.map_err(|error| {
                if let CallError::Uncertain { node, .. } = &error {
                    self.node = Some(node.clone());
                }
                (in_words(&error), error.may_have_arrived())
            })
        };
        match answered {
            Ok(answer) => self.of_answer(answer),
            Err((cause, may_be_done)) => Attempt::Again { cause, may_be_done },
        }
    }

    fn of_answer(&self, answer: Answer) -> Attempt {
        let place = || {
            let (table, key) = (self.core.table.clone(), shown(self.key));
            (table, key, self.node.clone(), self.epoch, self.began.elapsed())
        };
        match answer {
            Answer::Done(outcome) => Attempt::Done(outcome),
            Answer::Written(bytes) => match decode(&bytes.0) {
                // Had it been done before, its answer of then would be here.
                Ok(Outcome::Full { bytes, max }) => {
                    let (table, key, node, epoch, waited) = place();
                    Attempt::Failed(TableError::Full { table, key, node, epoch, waited, bytes, max })
                }
                Ok(outcome) => Attempt::Done(outcome),
                Err(cause) => {
                    let (table, key, node, epoch, waited) = place();
                    Attempt::Failed(TableError::NotDecodable { table, key, node, epoch, waited, cause })
                }
            },
            Answer::Refused(cause) => Attempt::Again { cause, may_be_done: false },
            Answer::Uncertain => Attempt::Again {
                cause: "its view ended before all copies had it".to_owned(),
                may_be_done: true,
            },
            Answer::Lost if self.uncertain.is_none() => {
                let (table, key, node, epoch, waited) = place();
                Attempt::Failed(TableError::Lost { table, key, node, epoch, waited })
            }
            Answer::Busy if self.uncertain.is_none() => {
                let (table, key, node, epoch, waited) = place();
                Attempt::Failed(TableError::Busy { table, key, node, epoch, waited })
            }
            Answer::Lost => Attempt::Again { cause: "all copies are gone".to_owned(), may_be_done: true },
            Answer::Busy => Attempt::Again { cause: "the owner is busy".to_owned(), may_be_done: true },
        }
    }
}
