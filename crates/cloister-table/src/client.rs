//! An operation, from its first attempt to its end.
//!
//! What may have been done is repeated under the same number, which its owner and the copies remember as long as this node stays a
//! member. So it is done once, however often it is sent.

use std::time::Duration;

use cloister_core::internal::{self, recorded};
use cloister_core::{Epoch, NodeId};
use ractor::concurrency::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::blob::Blob;
use crate::core::Core;
use crate::error::{Destination, TableError, shown};
use crate::message::{Answer, Operation, Outcome, Request};
use crate::options::decode;
use crate::reply::Reply;
use crate::requests::Failure;

/// How long one attempt waits for its answer, if it can be repeated. A link may be lost without a word.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The pauses before an operation that was not begun is sent again, the first and the longest, unless the view of this node or a link changes
/// before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(160));

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

/// Does an operation on a key, encoded, at its owner; returns what came of it, and where.
pub(crate) async fn operate(
    core: &Core,
    key: &[u8],
    operation: Operation,
) -> Result<(Outcome, Destination), TableError> {
    let began = Instant::now();
    let deadline = began.checked_add(core.options.timeout).unwrap_or_else(|| began + FOR_EVER);
    let mut running = Running { core, key, began, deadline, node: None, epoch: None, uncertain: None };
    let _busy = core.exchange.under_way.begin();
    let mut number = (!matches!(operation, Operation::Get)).then(|| core.numbers.open());
    let (mut view, mut links, mut refusals) = (core.view.subscribe(), core.exchange.linked.subscribe(), 0);
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
        links.mark_unchanged();
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
        // What is sent with less time left may be done, and its answer is not waited for.
        let (now, last) = (Instant::now(), deadline - PAUSES.0);
        if now >= last {
            return Err(running.ended(&cause));
        }
        refusals += 1;
        let pause = internal::exponential(PAUSES.0, PAUSES.1, refusals);
        // A refusal is most often of a node that was in the next view before this one.
        tokio::select! {
            () = sleep_until(last.min(now + pause)) => {}
            _ = view.changed() => {}
            _ = links.changed() => {}
        }
    }
}

/// Sends an operation to the owner of its key, and waits for the answer. The error says why there is none, and whether it may be done.
pub(crate) async fn ask(
    core: &Core,
    owner: &NodeId,
    request: Request,
    limit: Duration,
) -> Result<Answer, (String, bool)> {
    // A node that leaves waits for it.
    let _in_progress = internal::begin_own_call(&core.cloister);
    let began = Instant::now();
    let mut pending = core.exchange.request(owner, request);
    let answered = timeout(limit, &mut pending.answer).await;
    let (outcome, result) = match answered {
        Ok(Ok(Ok(Answer::Dropped))) => ("died", Err(("its table has ended or begun anew".to_owned(), true))),
        Ok(Ok(Ok(answer))) => ("ok", Ok(answer)),
        Ok(Ok(Err(Failure::LinkLost)) | Err(_)) => {
            ("link_lost", Err(("the link was lost before the answer came".to_owned(), true)))
        }
        Ok(Ok(Err(Failure::NotLinked))) => ("not_linked", Err(("its owner is not linked".to_owned(), false))),
        Ok(Ok(Err(Failure::NotSent(error)))) => {
            (internal::outcome_of(&error), Err((error.to_string(), false)))
        }
        Err(_) => ("timed_out", Err((format!("no answer within {limit:.1?}"), true))),
    };
    recorded::call(outcome, began.elapsed());
    result
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
        let Some(owner) = self.node.clone() else {
            return Attempt::Again { cause: "this node is in no view".to_owned(), may_be_done: false };
        };
        let answered = if owner == core.cloister.node() {
            let (port, answer) = oneshot();
            core.operate(request, Reply::from(port));
            match timeout(left, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(("the table of this node has begun anew".to_owned(), true)),
                Err(_) => Err((format!("no answer within {left:?}"), true)),
            }
        } else {
            ask(core, &owner, request, left).await
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
            Answer::Dropped => {
                Attempt::Again { cause: "its table has ended or begun anew".to_owned(), may_be_done: true }
            }
            Answer::Lost => Attempt::Again { cause: "all copies are gone".to_owned(), may_be_done: true },
            Answer::Busy => Attempt::Again { cause: "the owner is busy".to_owned(), may_be_done: true },
        }
    }
}
