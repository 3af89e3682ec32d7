//! The entities of one type at this node: which of them have work, and which are idle.
//!
//! ```text
//!  table ──deliver──▶ inbox of the key ──▶ a task, while there is work ──▶ object: load · handle · write
//!                          ▲
//!  clock, while there are objects or timers: timers that are due · states to be written · idle objects
//! ```

mod clock;
mod one_way;
mod running;
mod serving;
mod timed;
mod write_through;

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cloister_core::Slot;
use cloister_core::internal::{LogLimiter, exponential, text};
use cloister_core::telemetry::TARGET;
use cloister_table::TableError;
use cloister_table::service::{Accepted, Bytes, Planned, ReplyTo, ServiceTable, decode};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

use self::one_way::{OneWay, OneWays};
use self::running::Running;
use self::timed::Unread;
use self::write_through::WriteThrough;
use crate::answer;
use crate::entity::Entity;
use crate::error::Failure;
use crate::later::Replies;
use crate::object::{self, Object, Surroundings, Turn, text_of};
use crate::options::EntityOptions;
use crate::timers::Schedule;
use crate::views::Views;

/// The pauses before a message that was accepted is tried again: each twice the one before.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// What is logged of a message that may have been handled, or be at the next owner.
const MAY_BE_LOST: &str =
    "a message without a waiting sender may be lost; read the entity before it is sent again";

/// Into how many parts the objects are divided, each behind a lock of its own.
const PARTS: u16 = 16;

/// The entities of one type at this node.
pub(crate) struct Objects<E> {
    myself: Weak<Objects<E>>,
    options: EntityOptions,
    views: Arc<Views>,
    parts: Vec<Mutex<HashMap<Bytes, ActiveEntity<E>>>>,
    schedule: Schedule,
    /// The slots that are served, and whose timers are not in the schedule yet.
    unread: Unread,
    replies: Arc<Replies>,
    waiting_bytes: AtomicUsize,
    one_ways: Arc<OneWays>,
    timers_running: AtomicUsize,
    tasks: AtomicU64,
    /// From an announced round on, until its view has begun, all is written at once.
    writes_through: WriteThrough,
    /// Whether the clock runs, and what wakes it.
    clock: AtomicBool,
    wake: Notify,
    failures: Mutex<LogLimiter>,
}

/// An entity that has work, or has had some a short time ago.
struct ActiveEntity<E> {
    inbox: VecDeque<Work>,
    /// The senders of the messages in the inbox, and of the one that is handled, by all of their names; `None` if it waits for no answer.
    senders: HashMap<(u64, u64), Option<ReplyTo>>,
    /// `None` while a task works with it, or if it has to be loaded.
    object: Option<Object<E>>,
    /// The number of the task that works with it.
    task: Option<u64>,
    /// That task handles a message whose sender waits for no answer.
    handles_one_way: bool,
    used: Instant,
}

impl<E> Default for ActiveEntity<E> {
    fn default() -> Self {
        Self {
            inbox: VecDeque::new(),
            senders: HashMap::new(),
            object: None,
            task: None,
            handles_one_way: false,
            used: Instant::now(),
        }
    }
}

impl<E> ActiveEntity<E> {
    /// How many messages wait here whose senders do not, beside the one that is handled.
    fn one_ways(&self) -> usize {
        self.inbox.iter().filter(|work| work.is_one_way()).count()
    }

    /// Whether a message is here under any of its names: it may come from its sender, and from each node that has passed it on. Else it is
    /// here from now on. Its sender is the one that has sent it last.
    fn has_taken(&mut self, message: &Accepted, reply: &mut Option<ReplyTo>) -> bool {
        let is_here = names_of(message).any(|name| self.senders.contains_key(&name));
        if !is_here {
            self.senders.extend(names_of(message).map(|name| (name, None)));
        }
        // A call has one name.
        if let Some(sender) = names_of(message).last().and_then(|name| self.senders.get_mut(&name))
            && reply.is_some()
        {
            *sender = reply.take();
        }
        is_here
    }
}

/// What is to be done with an entity.
enum Work {
    Message(Waiting),
    Timer,
    /// Write what is not written. A round may wait until this is dropped.
    Flush(Option<Arc<Planned>>),
}

/// A message in the inbox.
struct Waiting {
    message: Accepted,
    /// Its sender does not wait for an answer.
    one_way: Option<OneWay>,
    since: Instant,
    /// Moves to [`ActiveEntity::senders`].
    reply: Option<ReplyTo>,
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Work::Message(Waiting { message, .. }) => message.message.len() + message.key.len(),
            Work::Timer | Work::Flush(_) => 0,
        }
    }

    fn is_one_way(&self) -> bool {
        matches!(self, Work::Message(Waiting { one_way: Some(_), .. }))
    }
}

impl<E: Entity> Objects<E> {
    pub(crate) fn new(options: EntityOptions, views: Arc<Views>) -> Arc<Self> {
        let replies = Replies::new(options.max_state_bytes, options.timeout);
        Arc::new_cyclic(|myself| Self {
            myself: Weak::clone(myself),
            options,
            views,
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            schedule: Schedule::default(),
            unread: Unread::default(),
            replies,
            waiting_bytes: AtomicUsize::new(0),
            one_ways: Arc::default(),
            timers_running: AtomicUsize::new(0),
            tasks: AtomicU64::new(0),
            writes_through: WriteThrough::default(),
            clock: AtomicBool::new(false),
            wake: Notify::new(),
            failures: Mutex::default(),
        })
    }

    fn part(&self, key: &[u8]) -> MutexGuard<'_, HashMap<Bytes, ActiveEntity<E>>> {
        let number = usize::from(Slot::of(key).number() % PARTS);
        self.parts[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<Bytes, ActiveEntity<E>>>> {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many entities are objects at this moment.
    pub(crate) fn active(&self) -> usize {
        self.all().map(|part| part.len()).sum()
    }

    /// Gives an entity work; starts its task if there is none. A message that is there already, and was sent again since its sender has
    /// waited for long, only has its sender replaced.
    fn give(&self, table: &ServiceTable, key: &Bytes, mut work: Work) {
        let mut part = self.part(key);
        let place = part.entry(Bytes::clone(key)).or_default();
        if let Work::Message(Waiting { message, reply, .. }) = &mut work
            && place.has_taken(message, reply)
        {
            return;
        }
        self.waiting_bytes.fetch_add(work.len(), Ordering::Relaxed);
        place.inbox.push_back(work);
        if place.task.is_some() {
            return;
        }
        let task = self.tasks.fetch_add(1, Ordering::Relaxed);
        place.task = Some(task);
        drop(part);
        if let Some(objects) = self.myself.upgrade() {
            let running = Running::new(Arc::clone(&objects), task, Bytes::clone(key));
            table.spawn(objects.work(running, table.clone()));
        }
    }

    /// Handles the messages of an entity until there are none.
    async fn work(self: Arc<Self>, mut running: Running<E>, table: ServiceTable) {
        let key = Bytes::clone(running.key());
        let text = text_of_key(&key);
        let warn = |what: &str, cause: &str| self.warn(&text, what, cause);
        while let Some(work) = running.next() {
            self.waiting_bytes.fetch_sub(work.len(), Ordering::Relaxed);
            let with = Surroundings {
                table: &table,
                options: &self.options,
                key: &text,
                replies: &self.replies,
                views: &self.views,
                writes_through: self.writes_through.is_on(Instant::now),
                warn: &warn,
            };
            match work {
                Work::Message(Waiting { message, one_way: Some(_one_way), .. }) => {
                    self.handle_one_way(&mut running, &with, &message).await;
                    running.sender_of(&message);
                }
                Work::Message(Waiting { message, since, reply, .. }) => {
                    if since.elapsed() >= self.options.timeout {
                        // Its sender has given it up.
                        running.sender_of(&message);
                        continue;
                    }
                    let turn = self.handle(&mut running.object, &with, &message).await;
                    // There is none if this node has begun anew: its sender sends it again.
                    if let Some(reply) = running.sender_of(&message).or(reply) {
                        self.answer(&message, reply, turn);
                    }
                }
                Work::Timer => {
                    running.has_timer = true;
                    let object = &mut running.object;
                    let mut paused = self.schedule.paused(&key);
                    let turn = AssertUnwindSafe(object::handle_timer(object, &with, &key, &mut paused));
                    let turn = turn.catch_unwind().await;
                    let turn = turn.unwrap_or_else(|panic| panicked(object, &with, panic.as_ref()));
                    running.has_timer = false;
                    self.timer_is_over(&with, &key, running.object.as_ref(), turn, paused);
                }
                Work::Flush(_planned) => {
                    let object = &mut running.object;
                    let turn = AssertUnwindSafe(object::flush(object, &with, &key));
                    let turn = turn.catch_unwind().await;
                    let turn = turn.unwrap_or_else(|panic| panicked(object, &with, panic.as_ref()));
                    if let Err(cause) = object::in_words(turn) {
                        self.warn(&text, "a state was not written", &cause);
                    }
                    self.timer_of(&key, running.object.as_ref());
                }
            }
            self.start_clock(&table);
        }
    }

    fn answer(&self, message: &Accepted, reply: ReplyTo, turn: Turn) {
        match turn {
            Turn::Done(answer) if answer::is_later(&answer) => self.replies.wait(message.id(), reply),
            Turn::Done(answer) => reply.done(answer),
            Turn::NotDone(cause) => reply.again(cause),
            Turn::Uncertain => reply.uncertain(),
        }
    }

    /// Handles a message.
    async fn handle(
        &self,
        object: &mut Option<Object<E>>,
        with: &Surroundings<'_>,
        message: &Accepted,
    ) -> Turn {
        let turn = AssertUnwindSafe(object::handle(object, with, message)).catch_unwind().await;
        let turn = turn.unwrap_or_else(|panic| panicked(object, with, panic.as_ref()));
        self.timer_of(&message.key, object.as_ref());
        turn
    }

    /// Handles a message that was accepted here, or passes it on to the owner of this moment. Those behind it wait: so they stay in order.
    /// Each has its time from its turn on: in a long inbox it would be over for all that wait when a view ends.
    async fn handle_one_way(&self, running: &mut Running<E>, with: &Surroundings<'_>, message: &Accepted) {
        let (began, cloister) = (Instant::now(), with.table.cloister());
        let mut failures = 0;
        let cause = loop {
            let cause = match self.handle(&mut running.object, with, message).await {
                Turn::Done(answer) => {
                    if let Some(failure) = answer::failed(&answer) {
                        let cause = failure.to_string();
                        (with.warn)("a message without a waiting sender was not handled", &cause);
                    }
                    return;
                }
                Turn::Uncertain => {
                    return (with.warn)(MAY_BE_LOST, "its view ended before all copies had it");
                }
                Turn::NotDone(cause) => cause,
            };
            // A node that has begun anew has another task for the key.
            let leaving = self.one_ways.leaving();
            let is_elsewhere = cloister.whois(&message.key) != Some(cloister.node()) || !running.is_present();
            let passed_on = match &leaving {
                Some(leaving) => Some(leaving.pass_on(message).await),
                None if is_elsewhere => Some(with.table.pass_on(message).await),
                None => None,
            };
            let cause = match passed_on {
                Some(passed_on) => match passed_on {
                    Ok(()) => return,
                    Err(error @ TableError::Busy { .. }) => error.to_string(),
                    Err(error) if error.may_be_done() => {
                        return (with.warn)(MAY_BE_LOST, &error.to_string());
                    }
                    // It has waited for long.
                    Err(error) => break error.to_string(),
                },
                None => cause,
            };
            failures += 1;
            let pause = exponential(MIN_PAUSE, MAX_PAUSE, failures);
            if began.elapsed() + pause >= self.options.timeout {
                break cause;
            }
            sleep(pause).await;
        };
        (with.warn)("a message without a waiting sender is lost; send it again", &cause);
    }

    /// As [`warn`](Self::warn), of an encoded key.
    fn warn_of(&self, key: &[u8], what: &str, cause: &str) {
        self.warn(&text_of_key(key), what, cause);
    }

    /// Drops what waits: calls are sent again by their clients. Returns how many messages are lost whose senders have been answered. Those
    /// that work now put nothing back.
    fn drop_waiting(&self) -> usize {
        let mut lost = 0;
        for mut part in self.all() {
            self.forget(part.values().flat_map(|place| &place.inbox));
            lost += part.values().map(ActiveEntity::one_ways).sum::<usize>();
            part.clear();
        }
        lost
    }

    /// So many messages are lost whose senders have been answered.
    fn warn_of_lost(&self, one_ways: usize, cause: &str) {
        if one_ways == 0 {
            return;
        }
        let mut limiter = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, entity = E::NAME, messages = one_ways, error = cause, missed,
                "messages without a waiting sender are lost; send them again"
            );
        }
    }

    /// This work is not done any more.
    fn forget<'a>(&self, inbox: impl Iterator<Item = &'a Work>) {
        for work in inbox {
            self.waiting_bytes.fetch_sub(work.len(), Ordering::Relaxed);
            if matches!(work, Work::Timer) {
                self.timers_running.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    fn warn(&self, key: &str, what: &str, cause: &str) {
        let mut limiter = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            let key = text::sanitize_to(key, 64);
            warn!(target: TARGET, entity = E::NAME, key = %key, error = cause, missed, "{what}");
        }
    }
}

/// The table encodes keys of text only.
fn text_of_key(key: &[u8]) -> String {
    decode(key).unwrap_or_default()
}

/// What names a message: each that has sent it, with its number there.
fn names_of(message: &Accepted) -> impl Iterator<Item = (u64, u64)> {
    message.ids().map(|id| (id.client, id.number))
}

/// What a panic beside the handler leaves, as that of a `Serialize`, is not kept.
fn panicked<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    panic: &(dyn std::any::Any + Send),
) -> Turn {
    object::restore(object, with);
    Turn::Done(answer::failure(&Failure::Panicked(text_of(panic))))
}

#[cfg(test)]
mod tests;
