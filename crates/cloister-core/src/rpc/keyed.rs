//! Messages to the owner of a key. The owner may change while a message is on its way.
//!
//! A call is sent again as long as it is certain that no handler has seen it. Until it can be sent it waits for a change of this node: its
//! status, its lease, a link.

mod cast;
mod own;
mod route;
mod target;

use std::time::Duration;

use cloister_proto::{Epoch, NodeId, Time};
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::message::SerializedMessage;
use ractor::{Message, RpcReplyPort};
use tokio::time::{Instant, timeout_at};

use super::call::SLACK;
use super::deliver::{Destination, shown};
use super::envelope::{Envelope, MAX_KEY_LEN};
use crate::error::{CallError, NoAnswer, TrySendError};
use crate::handle::{Cloister, WaitingCall};
use crate::message::{Refusal, is_framed, name_of, refusal_of};
use crate::recorded;

#[cfg(feature = "test-support")]
pub(crate) use self::cast::enveloped;
pub(super) use self::cast::{Limit, cast};
use self::own::{Own, send_to_own};
use self::route::Route;
use self::target::Inbox;

/// For how long an owner that is not sure yet keeps a cast.
const CAST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often an actor may end or drop a call that may be handled twice. A message that ends each actor that gets it ends no more of them.
const MAX_DEATHS: u32 = 3;

/// The pause before such a call is sent again, unless this node changes before. The second is longer: a change may be on its way.
const DEATH_PAUSES: [Duration; MAX_DEATHS as usize - 1] =
    [Duration::from_millis(10), Duration::from_millis(100)];

/// A call with less time left is not sent again to a node that has kept it: whether its answer comes in time would be chance.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);

/// Where the limit of a call is beyond all instants, as `Duration::MAX` is: thirty years.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Why a message goes nowhere any more.
const ENDED: &str = "this node has left, or has ended";

/// A call that has been encoded.
struct Encoded {
    variant: String,
    args: Vec<u8>,
    /// Where the answer goes.
    port: Option<RpcReplyPort<Vec<u8>>>,
    /// Whether the answer is framed by the code of the macro.
    framed: bool,
    type_name: &'static str,
    /// Data of the message's own.
    metadata: Option<Vec<u8>>,
}

/// How a call begins.
enum Begun {
    /// The actor of this node has the message, by the view of this epoch, since then.
    Own {
        epoch: Option<Epoch>,
        at: Time,
    },
    /// This node is not the owner now. The message is encoded.
    Encoded(Box<Encoded>),
    Failed(Box<CallError>),
}

impl Begun {
    /// It has ended at once.
    #[cold]
    fn failed(error: CallError) -> Self {
        recorded::call(error.label(), Duration::ZERO);
        Self::Failed(error.into())
    }
}

/// What came of one attempt.
enum Attempt {
    /// The answer is on its way to the caller's port.
    Answered,
    /// No handler has seen the message: it may be sent again after the next change.
    NotStarted(&'static str),
    /// No handler has seen the message, and the owner is the right one: it may be sent again at once.
    Again,
    /// A handler may have seen the message, for this reason there is no answer, and it may be handled twice. It may be sent again after the next
    /// change, or after a pause.
    MayRepeat(NoAnswer, Option<Duration>),
}

/// What has become of a call so far.
#[derive(Default)]
struct Tried {
    /// The node that the message was sent to last, and the epoch of the view by which it was chosen.
    last: Option<(NodeId, Epoch)>,
    /// The first of those that may have handled the message, with the epoch, and why it gave no answer.
    uncertain: Option<(NodeId, Epoch, NoAnswer)>,
    /// How often an actor has ended, or has dropped the message.
    deaths: u32,
}

/// A call to the owner of a key.
pub(super) struct KeyedCall<'a> {
    pub(super) cloister: &'a Cloister,
    pub(super) name: &'a str,
    pub(super) key: &'a [u8],
    pub(super) timeout: Duration,
    /// Whether the message may be handled more than once.
    retry_uncertain: bool,
    /// Whether there was room for it when it began, so that no limit of this node refuses its first attempt.
    admitted: bool,
    /// Unknown as long as this node may be the owner: then its lease is compared with the clock, and no clock is read twice.
    began: Option<Instant>,
}

impl<'a> KeyedCall<'a> {
    pub(super) fn new(cloister: &'a Cloister, name: &'a str, key: &'a [u8], timeout: Duration) -> Self {
        Self { cloister, name, key, timeout, retry_uncertain: false, admitted: false, began: None }
    }

    /// The same for a message that may be handled more than once.
    pub(super) fn retry_uncertain(self) -> Self {
        Self { retry_uncertain: true, ..self }
    }

    /// Sends the message to the owner, and waits for the answer.
    ///
    /// On the owner this future waits for the answer itself, without one within another: each moves the answer once more, in a place as large
    /// as the largest error. All that is rare is elsewhere.
    pub(super) async fn ask<M, R>(self, message: impl FnOnce(RpcReplyPort<R>) -> M) -> Result<R, CallError>
    where
        M: Message,
        R: Send + 'static,
    {
        let (port, answer) = oneshot();
        let message = message((port, self.timeout.saturating_add(SLACK)).into());
        let error = match self.begin(message) {
            Begun::Own { epoch, at } => {
                let clock = self.cloister.shared().clock();
                let began = clock.instant_of(at);
                let deadline = began.checked_add(self.timeout).unwrap_or_else(|| began + FOR_EVER);
                let cause = match timeout_at(deadline.into(), answer).await {
                    Ok(Ok(answer)) => {
                        recorded::answered_here(clock, at);
                        return Ok(answer);
                    }
                    Ok(Err(_)) => NoAnswer::Died,
                    Err(_) => NoAnswer::TimedOut,
                };
                self.unanswered_here(epoch, began.into(), cause)
            }
            Begun::Encoded(encoded) => {
                let call = Self { began: Some(Instant::now()), ..self };
                // On the heap, so that the future of a call to this node is small.
                return Box::pin(call.follow(*encoded, answer)).await;
            }
            Begun::Failed(error) => error,
        };
        Err(*error)
    }

    /// Hands the message to the actor of this node if that is the owner, and else encodes it.
    fn begin<M: Message>(&self, message: M) -> Begun {
        if let Err(error) = check_key(self.cloister, self.name, self.key) {
            return Begun::failed(error);
        }
        let own = match self.retry_uncertain {
            // It can be sent again once it is encoded.
            true => Own::NotNow(message),
            // The common case on the owner: nothing is encoded.
            false => send_to_own(self.cloister, self.name, self.key, message),
        };
        match own {
            Own::Sent { epoch, at } => Begun::Own { epoch, at },
            Own::Failed(failed) => Begun::failed(failed.error),
            Own::NotNow(message) => self.encode(message),
        }
    }

    #[inline(never)] // The future of a call has no part of it.
    fn encode<M: Message>(&self, message: M) -> Begun {
        match Encoded::of(message) {
            Ok(encoded) => Begun::Encoded(encoded.into()),
            Err(cause) => {
                let target = self.destination(&self.cloister.node(), self.cloister.epoch()).target();
                let (sent, cause) = (name_of::<M>().into(), cause.into());
                Begun::failed(CallError::NotEncodable { target, sent, cause })
            }
        }
    }

    /// The actor of this node gave no answer.
    #[cold]
    fn unanswered_here(&self, epoch: Option<Epoch>, began: Instant, cause: NoAnswer) -> Box<CallError> {
        let waited = if cause == NoAnswer::TimedOut { self.timeout } else { began.elapsed() };
        let error = self.destination(&self.cloister.node(), epoch).uncertain(waited, cause);
        recorded::call(error.label(), waited);
        error.into()
    }

    /// How long it has been under way.
    fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// As [`ask`](KeyedCall::ask), but gives back what makes the message if a limit of this node refuses it, or it goes nowhere any more.
    pub(super) async fn try_ask<M, R, F>(self, message: F) -> Result<R, TrySendError<F>>
    where
        M: Message,
        R: Send + 'static,
        F: FnOnce(RpcReplyPort<R>) -> M,
    {
        if let Err(error) = self.room() {
            recorded::call(error.label(), self.elapsed());
            return Err(TrySendError::returned(error, message));
        }
        Ok(Self { admitted: true, ..self }.ask(message).await?)
    }

    /// Whether the limits of this node let in a message for the key now.
    fn room(&self) -> Result<(), CallError> {
        let route = self.route();
        let waits = || {
            self.cloister.shared().room_to_wait().map_err(|full| {
                let here = self.cloister.node();
                self.destination(&here, self.cloister.epoch()).too_many_waiting(full)
            })
        };
        match &route {
            Route::Own(_) => Ok(()),
            Route::Ended => Err(self.unsent(ENDED, &Tried::default())),
            Route::Nowhere(_) => waits(),
            Route::Inbox { owner, epoch } => match Inbox::of(self.cloister, &route) {
                Some(inbox) => inbox.room(self.destination(owner, Some(*epoch))),
                None => waits(),
            },
        }
    }

    /// Sends an encoded message to whichever node is the owner, until one takes it.
    async fn follow<R>(self, encoded: Encoded, answer: OneshotReceiver<R>) -> Result<R, CallError> {
        // A node that leaves waits for it.
        let _in_progress = self.cloister.begin_own_call();
        let mut tried = Tried::default();
        let answer = self.try_owners(encoded, answer, &mut tried).await;
        let answer = match (answer, tried.uncertain) {
            // Whatever came of it later, the first attempt may have been handled.
            (Err(error), Some((node, epoch, cause))) if !error.may_have_arrived() => {
                Err(self.destination(&node, Some(epoch)).uncertain(self.elapsed(), cause))
            }
            (answer, _) => answer,
        };
        recorded::call(answer.as_ref().err().map_or("ok", CallError::label), self.elapsed());
        answer
    }

    async fn try_owners<R>(
        &self,
        mut encoded: Encoded,
        answer: OneshotReceiver<R>,
        tried: &mut Tried,
    ) -> Result<R, CallError> {
        // Before the first look that counts: no change is missed.
        let mut turns = self.cloister.shared().turns();
        let mut waiting: Option<WaitingCall> = None;
        loop {
            turns.borrow_and_update();
            let route = self.route();
            let mut pause = None;
            let why = match &route {
                Route::Nowhere(why) => why,
                Route::Ended => return Err(self.unsent(ENDED, tried)),
                Route::Own(owner) | Route::Inbox { owner, .. } => {
                    let epoch = match &route {
                        Route::Inbox { epoch, .. } => *epoch,
                        _ => self.cloister.epoch().unwrap_or(Epoch::ZERO),
                    };
                    let destination = self.destination(owner, Some(epoch));
                    match self
                        .attempt(&route, destination, epoch, &mut encoded, (tried, waiting.is_none()))
                        .await?
                    {
                        Attempt::Answered => {
                            // It has come in time. A task decodes it, and ends at once.
                            let cause = |_| destination.uncertain(self.elapsed(), NoAnswer::not_decodable());
                            return answer.await.map_err(cause);
                        }
                        Attempt::Again => continue,
                        Attempt::NotStarted(why) => why,
                        Attempt::MayRepeat(cause, after) => {
                            tried.uncertain.get_or_insert_with(|| (owner.clone(), epoch, cause));
                            pause = after;
                            "a node that may have handled it gave no answer"
                        }
                    }
                }
            };
            if waiting.is_none() {
                let (shared, len) = (self.cloister.shared(), encoded.args.len());
                waiting = Some(match self.admitted && tried.last.is_none() {
                    true => shared.wait_admitted(len),
                    false => shared.wait(len).map_err(|full| {
                        let here = self.cloister.node();
                        self.destination(&here, self.cloister.epoch()).too_many_waiting(full)
                    })?,
                });
            }
            let (deadline, resumes) = (self.deadline(), pause.map(|pause| Instant::now() + pause));
            let (until, is_last) = match (deadline, resumes) {
                (Some(deadline), Some(resumes)) if resumes < deadline => (Some(resumes), false),
                (None, Some(resumes)) => (Some(resumes), false),
                (deadline, _) => (deadline, true),
            };
            let changed = match until {
                Some(until) => timeout_at(until, turns.changed()).await.is_ok(),
                None => turns.changed().await.is_ok(),
            };
            if !changed && is_last {
                return Err(self.unsent(why, tried));
            }
        }
    }

    /// No node has taken the message.
    fn unsent(&self, cause: &'static str, tried: &Tried) -> CallError {
        let (name, key) = (self.name.to_owned(), shown(self.key));
        let (node, epoch) = match tried.last.clone() {
            Some((node, epoch)) => (Some(node), Some(epoch)),
            None => (None, self.cloister.epoch()),
        };
        CallError::NoOwner { name, key, node, epoch, waited: self.elapsed(), cause }
    }

    fn deadline(&self) -> Option<Instant> {
        self.began?.checked_add(self.timeout)
    }

    fn destination<'b>(&'b self, node: &'b NodeId, epoch: Option<Epoch>) -> Destination<'b> {
        Destination { name: self.name, key: Some(self.key), node, epoch, began: self.began }
    }

    fn route(&self) -> Route {
        Route::of(self.cloister, self.key)
    }

    /// Sends the message to the inbox of the owner, and waits for its answer.
    async fn attempt(
        &self,
        route: &Route,
        destination: Destination<'_>,
        epoch: Epoch,
        encoded: &mut Encoded,
        (tried, is_first): (&mut Tried, bool),
    ) -> Result<Attempt, CallError> {
        let Some(inbox) = Inbox::of(self.cloister, route) else {
            return Ok(Attempt::NotStarted("the owner is not linked"));
        };
        let left = self.timeout.saturating_sub(self.elapsed());
        if left.is_zero() {
            return Ok(Attempt::NotStarted("its time was over before it could be sent"));
        }
        let envelope = Envelope {
            name: self.name.to_owned(),
            key: self.key.to_vec(),
            epoch,
            direct: false,
            timeout: left,
            type_name: (!encoded.framed).then(|| encoded.type_name.to_owned()),
            sender: self.cloister.incarnation(),
            metadata: encoded.metadata.clone(),
        };
        let (sender, answer) = oneshot::<Vec<u8>>();
        let message = SerializedMessage::Call {
            variant: encoded.variant.clone(),
            args: envelope.seal(&encoded.args).map_err(|long| long.error(destination.target()))?,
            reply: (sender, left.saturating_add(SLACK)).into(),
            metadata: None,
        };
        // The first attempt, without a wait before it.
        let admitted = self.admitted && is_first;
        if !inbox.send(destination, message, admitted)? {
            return Ok(Attempt::NotStarted("the owner is not linked"));
        }
        tried.last = Some((destination.node.clone(), epoch));
        let received = match self.deadline() {
            Some(deadline) => timeout_at(deadline, answer).await,
            None => Ok(answer.await),
        };
        let bytes = match received {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                let cause = inbox.why_dropped(self.cloister, destination);
                return match self.retry_uncertain {
                    // With its link, or its inbox: what follows is a view without the node, or a link to its next incarnation.
                    true => Ok(Attempt::MayRepeat(cause, None)),
                    false => Err(destination.uncertain(self.elapsed(), cause)),
                };
            }
            Err(_) => return Err(destination.uncertain(self.timeout, NoAnswer::TimedOut)),
        };
        match refusal_of(&bytes) {
            Ok(None) => {
                let bytes = if encoded.framed { bytes } else { bytes.get(1..).unwrap_or_default().to_vec() };
                encoded.pass_on(bytes);
                Ok(Attempt::Answered)
            }
            Ok(Some(Refusal::NotOwner { .. })) => {
                Ok(Attempt::NotStarted("the node that should own it does not"))
            }
            // A node keeps a message for a while only, however long its sender waits.
            Ok(Some(Refusal::Expired)) if left_until(self.deadline()) > LAST_ATTEMPT => Ok(Attempt::Again),
            Ok(Some(Refusal::Expired)) => Ok(Attempt::NotStarted(
                "the node that is to own it has kept it, and has not handed it to an actor in time",
            )),
            Ok(Some(Refusal::Died)) if self.retry_uncertain && tried.deaths + 1 < MAX_DEATHS => {
                let pause = DEATH_PAUSES[tried.deaths as usize];
                tried.deaths += 1;
                Ok(Attempt::MayRepeat(NoAnswer::Died, Some(pause)))
            }
            Ok(Some(refusal)) => Err(destination.refused(encoded.sent(), refusal, self.elapsed())),
            Err(cause) => Err(destination.uncertain(self.elapsed(), NoAnswer::Malformed(cause.into()))),
        }
    }
}

impl Encoded {
    fn of<M: Message>(message: M) -> Result<Self, &'static str> {
        let message = message.serialize().map_err(|_| "see the log")?;
        let framed = is_framed(&message);
        let SerializedMessage::Call { variant, args, reply, metadata } = message else {
            return Err("it has no port for an answer");
        };
        Ok(Self { variant, args, port: Some(reply), framed, type_name: name_of::<M>(), metadata })
    }

    /// What was sent, for errors: the type and the variant, or the type.
    fn sent(&self) -> &str {
        if self.framed { &self.variant } else { self.type_name }
    }

    /// Gives the answer to the caller's port, which decodes it.
    fn pass_on(&mut self, bytes: Vec<u8>) {
        if let Some(port) = self.port.take() {
            // The caller may have given up.
            let _ = port.send(bytes);
        }
    }
}

/// Refuses a key that is too long, whichever node owns it.
fn check_key(cloister: &Cloister, name: &str, key: &[u8]) -> Result<(), CallError> {
    if key.len() <= MAX_KEY_LEN {
        return Ok(());
    }
    let here = cloister.node();
    let target =
        Destination { name, key: Some(key), node: &here, epoch: cloister.epoch(), began: None }.target();
    Err(CallError::TooLarge { target, len: key.len(), max: MAX_KEY_LEN })
}

/// How much time is left until `deadline`; the longest time if there is none.
fn left_until(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests;
