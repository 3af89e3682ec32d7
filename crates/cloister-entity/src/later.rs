//! Replies that are given after their handler has returned.
//!
//! A reply leaves when it is there *and* the state of its message is written, whichever comes last. Until then it is kept here, with the
//! port of its sender. A message that is sent again finds it here, and is not handled again.

mod named;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cloister_table::service::{Bytes, MessageId, ReplyTo};

pub(crate) use self::named::{Names, in_state};
use crate::answer;
use crate::entity::{Entity, HandlerError};
use crate::error::Failure;

/// The reply to a message, to be given later. From [`Context::reply_later`](crate::Context::reply_later).
///
/// It can be kept in a field of the state, or moved into a task. The state has only its name. The reply itself is in the memory of this
/// node: on another one, [`send`](Self::send) does nothing. When it is dropped, and when its node is lost, the caller gets
/// [`Failure::NoReply`] within the time limit of its call.
///
/// A message that fails takes none of the replies that a field has: the state is taken back with their names. In a field with
/// `#[serde(skip)]` they have no name in the state, so a message that fails drops all of them.
#[must_use = "the caller gets `Failure::NoReply` when this is dropped"]
pub struct ReplyLater<E: Entity> {
    /// `None` if it is over: it was given, or is that of another node.
    replies: Option<Arc<Replies>>,
    /// `None` if the sender waits for no reply.
    place: Option<HandlingId>,
    /// The entity stays in memory as long as any of its replies does.
    _awaited: Option<Arc<()>>,
    entity: PhantomData<fn() -> E>,
}

impl<E: Entity> fmt::Debug for ReplyLater<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyLater").field("entity", &E::NAME).field("place", &self.place).finish()
    }
}

impl<E: Entity> ReplyLater<E> {
    pub(crate) fn new(replies: &Arc<Replies>, place: Option<HandlingId>, awaited: &Arc<()>) -> Self {
        let (replies, awaited) = (Some(Arc::clone(replies)), Some(Arc::clone(awaited)));
        Self { replies, place, _awaited: awaited, entity: PhantomData }
    }

    /// Gives the reply. The caller gets it once the state that its message has left is written. It is dropped if the caller has given up.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] if it cannot be encoded, or is larger than [`EntityOptions::max_state_bytes`](crate::EntityOptions::max_state_bytes);
    /// the caller gets [`Failure::NoReply`] then.
    pub fn send(mut self, reply: &E::Reply) -> Result<(), HandlerError> {
        let max = self.replies.as_ref().map_or(usize::MAX, |replies| replies.max_bytes);
        let answer = answer::reply(reply, max).map_err(HandlerError::new)?;
        self.give(answer);
        Ok(())
    }

    /// The caller gets [`Failure::Error`] with this text. What the message has done to the state stays.
    pub fn fail(mut self, error: HandlerError) {
        self.give(answer::failure(&Failure::Error(error.into_text())));
    }

    fn give(&mut self, answer: Bytes) {
        if let (Some(replies), Some(place)) = (self.replies.take(), self.place.take()) {
            replies.give(place, answer);
        }
    }
}

impl<E: Entity> Drop for ReplyLater<E> {
    fn drop(&mut self) {
        if let (Some(replies), Some(place)) = (&self.replies, self.place) {
            replies.change(place, |reply| reply.held -= 1);
        }
    }
}

/// Whether an entity is to give replies.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// As long as another one has it, there is a reply.
    token: Option<Arc<()>>,
    /// When the last one was asked for.
    since: Option<Instant>,
}

impl Awaited {
    /// Another reply is asked for.
    pub(crate) fn add(&mut self) -> &Arc<()> {
        self.since = Some(Instant::now());
        self.token.get_or_insert_default()
    }

    /// Whether there is a reply that a caller may still wait for. No caller waits for longer than `timeout`.
    pub(crate) fn is_awaited(&self, timeout: Duration) -> bool {
        self.token.as_ref().is_some_and(|token| Arc::strong_count(token) > 1)
            && self.since.is_some_and(|since| since.elapsed() < timeout)
    }
}

/// Where a reply is kept: by the sender and the number of its message, and by which handling of the message it is, on which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandlingId {
    origin: u64,
    message: (u64, u64),
    handling: u64,
}

/// The replies of the entities of one type at this node that are to be given later, or were given a short time ago.
pub(crate) struct Replies {
    /// How many bytes a reply may have.
    max_bytes: usize,
    /// For how long a message may be sent again.
    kept: Duration,
    /// No other node has it, nor has this process after it was started again.
    origin: u64,
    known: Mutex<Known>,
    /// How many are known: most entities give none later, and ask for nothing else.
    len: AtomicUsize,
}

#[derive(Default)]
struct Known {
    last: u64,
    replies: HashMap<(u64, u64), Reply>,
    /// Those that were given, in order.
    given: VecDeque<(Instant, HandlingId)>,
}

struct Reply {
    handling: u64,
    answer: Option<Bytes>,
    /// The state of the message is written.
    is_written: bool,
    port: Option<ReplyTo>,
    /// How many [`ReplyLater`] there are of it: more than one while a state is taken back.
    held: usize,
    /// How many states have its name that a message which fails is taken back to.
    named: usize,
}

impl Reply {
    /// Sends what is there to a sender that waits.
    fn settle(&mut self) {
        if let (true, Some(answer)) = (self.is_written, &self.answer)
            && let Some(port) = self.port.take()
        {
            port.done(answer.clone());
        }
    }
}

fn of(id: MessageId) -> (u64, u64) {
    (id.client, id.number)
}

impl Replies {
    pub(crate) fn new(max_bytes: usize, kept: Duration) -> Arc<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Two processes that start in one nanosecond have two numbers.
        let origin = since.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40);
        Arc::new(Self { max_bytes, kept, origin, known: Mutex::default(), len: AtomicUsize::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the reply to a message that is being handled.
    pub(crate) fn open(&self, id: MessageId) -> HandlingId {
        let known = &mut *self.lock();
        while let Some(&(given, place)) = known.given.front()
            && given.elapsed() >= self.kept
        {
            known.given.pop_front();
            known.remove(place);
        }
        known.last += 1;
        let (message, handling) = (of(id), known.last);
        let reply = Reply { handling, answer: None, is_written: false, port: None, held: 1, named: 0 };
        known.replies.insert(message, reply);
        self.len.store(known.replies.len(), Ordering::Release);
        HandlingId { origin: self.origin, message, handling }
    }

    /// The message has left nothing behind: it is handled again, or was refused.
    pub(crate) fn close(&self, place: HandlingId) {
        let mut known = self.lock();
        known.remove(place);
        self.len.store(known.replies.len(), Ordering::Release);
    }

    /// Whether the message was handled here, and its reply is to be given later, or was.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.len.load(Ordering::Acquire) > 0
            && self.lock().replies.get(&of(id)).is_some_and(|reply| reply.is_written)
    }

    /// The state of a message is written: its sender gets the reply when it is there. Also when the message is sent again.
    pub(crate) fn wait(&self, id: Option<MessageId>, port: ReplyTo) {
        let mut known = self.lock();
        match id.and_then(|id| known.replies.get_mut(&of(id))) {
            Some(reply) => {
                reply.is_written = true;
                reply.port = Some(port);
                reply.settle();
            }
            // It was handled by a node that is lost, or too long ago.
            None => port.done(answer::failure(&Failure::NoReply)),
        }
    }

    fn give(&self, place: HandlingId, answer: Bytes) {
        let known = &mut *self.lock();
        let Some(reply) = known.open_reply(place) else { return };
        reply.answer = Some(answer);
        reply.settle();
        known.given.push_back((Instant::now(), place));
    }

    /// Changes what holds or names a reply that is to be given. If nothing does any more it is dropped. Returns whether it is to be given.
    fn change(&self, place: HandlingId, change: impl FnOnce(&mut Reply)) -> bool {
        let is_dropped = {
            let known = &mut *self.lock();
            let Some(reply) = known.open_reply(place) else { return false };
            change(reply);
            reply.held == 0 && reply.named == 0
        };
        if is_dropped {
            self.give(place, answer::failure(&Failure::NoReply));
        }
        !is_dropped
    }

    /// This node begins a new incarnation.
    pub(crate) fn reset(&self) {
        let known = &mut *self.lock();
        known.replies.clear();
        known.given.clear();
        self.len.store(0, Ordering::Release);
    }
}

impl Known {
    /// A reply that is to be given.
    fn open_reply(&mut self, place: HandlingId) -> Option<&mut Reply> {
        let reply = self.replies.get_mut(&place.message)?;
        (reply.handling == place.handling && reply.answer.is_none()).then_some(reply)
    }

    fn remove(&mut self, place: HandlingId) {
        if self.replies.get(&place.message).is_some_and(|reply| reply.handling == place.handling) {
            self.replies.remove(&place.message);
        }
    }
}
