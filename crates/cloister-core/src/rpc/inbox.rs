//! What comes in for the actors of this node. A message by key is taken by the owner alone, at the moment that the actor gets it.
//!
//! ```text
//!  message ─▶ does this node own the key now?
//!              yes ─────────────────────────────▶ the actor's mailbox; kept while its manager starts it
//!              it may soon (a round is under way) ▶ kept until the next change, in order
//!              no ──────────────────────────────▶ NotOwner: the sender finds the owner
//! ```
//!
//! Whichever way a message was addressed, its type is compared with that of the actor.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_net::log_limiter::LogLimiter;
use cloister_proto::{Epoch, Incarnation, Slot, Status};
use ractor::message::SerializedMessage;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, pg};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::envelope::Envelope;
use super::groups::{INBOX, NODE_SCOPE};
use super::inbox_message::InboxMessage;
use super::service::summary;
use super::{CallsInProgress, unread};
use crate::handle::{MessageType, Named, OwnMessage, Shared, TooMany, WaitingLimits, lane};
use crate::message::{
    CallersPort, Refusal, Sender, UnreadKind, differ_by_version, framing, log_unreadable, names_its_type,
    note,
};
use crate::placement::Snapshot;
use crate::recorded;
use crate::telemetry::TARGET;
use crate::telemetry::rejections::Reason;

/// For how long a message is kept at most, whatever its sender says.
const MAX_KEEP: Duration = Duration::from_secs(60);

/// A kept call is refused this long before its deadline, so that the refusal arrives in time: an eighth of the timeout, at most 250 ms.
const ANSWER_MARGIN: (u32, Duration) = (8, Duration::from_millis(250));

/// The minimal time between two looks for messages whose time is over.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(10);

/// Takes messages for the owner of a key, and tells other nodes how the cluster looks from here. It is the one actor of a node that others see besides
/// those of the program: each costs every other node an actor in its place.
#[derive(Debug)]
pub(crate) struct InboxActor;

#[derive(Debug)]
pub(crate) struct InboxState {
    shared: Arc<Shared>,
    kept: KeptMessages,
    /// Tells this actor of changes.
    wakes: JoinHandle<()>,
    /// Tells other nodes what this one cannot read.
    reports: JoinHandle<()>,
    /// Tells this actor at this instant that the time of a message is over.
    alarm: Option<(Instant, JoinHandle<()>)>,
    /// Limits the lines about casts that are dropped.
    dropped: LogLimiter,
}

/// The messages that are kept, in order.
#[derive(Debug)]
struct KeptMessages {
    limits: WaitingLimits,
    /// By the order in which they came.
    messages: BTreeMap<u64, Kept>,
    /// When the time of each is over.
    ends: BTreeSet<(Instant, u64)>,
    next: u64,
    bytes: usize,
    /// How many there are for each lane.
    lanes: HashMap<u64, usize>,
}

/// A message that is kept.
#[derive(Debug)]
struct Kept {
    envelope: Envelope,
    slot: Slot,
    message: SerializedMessage,
    /// It is kept no longer than this. Then its sender learns that no handler has seen it.
    until: Instant,
    /// Of a message of this node's own.
    own: Option<OwnMessage>,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Deliver,
    Keep,
    NotOwner(Option<Epoch>),
}

impl Disposition {
    /// For a message whose sender had installed the view of `epoch`.
    fn of(snapshot: &Snapshot, shared: &Shared, key: &[u8], (sender, epoch): (Incarnation, Epoch)) -> Self {
        if snapshot.is_mine(None, key, shared.clock()) {
            return Self::Deliver;
        }
        let owner = || snapshot.ring(None).and_then(|ring| ring.owner_of(key));
        match snapshot.state().status {
            Status::Stopping | Status::Stopped => Self::NotOwner(snapshot.epoch()),
            // Its lease may come back, and the sender may know a later view.
            // The owner itself sends it: it leaves, and the next view is on its way.
            Status::Up if owner().is_some_and(|owner| owner.incarnation() == sender) => Self::Keep,
            Status::Up if snapshot.holds(shared.clock()) && snapshot.epoch() >= Some(epoch) => {
                Self::NotOwner(snapshot.epoch())
            }
            _ => Self::Keep,
        }
    }
}

impl Actor for InboxActor {
    type Msg = InboxMessage;
    type State = InboxState;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        myself: ActorRef<InboxMessage>,
        shared: Arc<Shared>,
    ) -> Result<InboxState, ActorProcessingErr> {
        let mut turns = shared.turns();
        let inbox = myself.clone();
        let wakes = tokio::spawn(async move {
            while turns.changed().await.is_ok() && inbox.cast(InboxMessage::Changed).is_ok() {}
        });
        pg::join_scoped(NODE_SCOPE.to_owned(), INBOX.to_owned(), vec![myself.get_cell()]);
        let limits = shared.waiting_limits();
        let reports = tokio::spawn(unread::send_reports(Arc::clone(&shared)));
        let (kept, dropped) = (KeptMessages::new(limits), LogLimiter::default());
        Ok(InboxState { shared, kept, wakes, reports, alarm: None, dropped })
    }

    async fn handle(
        &self,
        myself: ActorRef<InboxMessage>,
        message: InboxMessage,
        state: &mut InboxState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            InboxMessage::Bytes(message) => state.take_in(message, None),
            InboxMessage::Own(message, own) => state.take_in(message, Some(own)),
            InboxMessage::Changed => state.look_again(),
            InboxMessage::Expired => {
                state.alarm = None;
                state.expire();
            }
            InboxMessage::State(reply) => {
                // The caller may have given up.
                let _ = reply.send(summary(state.shared.snapshot().state()));
            }
            InboxMessage::Unread(bytes) => unread::reported(&state.shared, &bytes),
            InboxMessage::Probe => {}
        }
        state.set_alarm(&myself);
        Ok(())
    }
}

impl Drop for InboxState {
    fn drop(&mut self) {
        self.wakes.abort();
        self.reports.abort();
        if let Some((_, alarm)) = &self.alarm {
            alarm.abort();
        }
        let epoch = self.shared.look(Snapshot::epoch);
        for kept in self.kept.take() {
            self.refuse(kept, Refusal::NotOwner { epoch });
        }
    }
}

impl InboxState {
    /// That of a node without a manager, which gets no change.
    #[cfg(feature = "test-support")]
    pub(crate) fn on_paper(shared: Arc<Shared>) -> Self {
        let kept = KeptMessages::new(shared.waiting_limits());
        let idle = || tokio::spawn(std::future::ready(()));
        Self { shared, kept, wakes: idle(), reports: idle(), alarm: None, dropped: LogLimiter::default() }
    }

    pub(crate) fn take_in(&mut self, mut message: SerializedMessage, own: Option<OwnMessage>) {
        let args = match &mut message {
            SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args,
            SerializedMessage::CallReply(..) => return,
        };
        let Some(envelope) = Envelope::open(args) else {
            recorded::rejection(Reason::Malformed);
            debug!(target: TARGET, "a message for the owner of a key has no envelope");
            return;
        };
        let is_call = matches!(message, SerializedMessage::Call { .. });
        let until = Instant::now() + keep_for(envelope.timeout, is_call);
        let slot = Slot::of(&envelope.key);
        if envelope.direct {
            return self.deliver(Kept { envelope, slot, message, until, own });
        }
        self.dispatch(Kept { envelope, slot, message, until, own }, true);
    }

    /// Does with a message what is to be done. If it is `new`, others for its key may have come before it.
    fn dispatch(&mut self, kept: Kept, new: bool) {
        let Kept { envelope, .. } = &kept;
        let sender = (envelope.sender, envelope.epoch);
        let verdict = Disposition::of(&self.shared.snapshot(), &self.shared, &envelope.key, sender);
        match verdict {
            Disposition::Deliver => {
                let registered = self.shared.registered();
                if registered.named(&envelope.name).is_none() && registered.is_supervised(&envelope.name) {
                    return self.keep(kept);
                }
                if new && !self.kept.messages.is_empty() && self.kept.has(kept.lane()) {
                    // The owner is known since this moment, or its actor runs, and the change is still in the mailbox.
                    self.look_again();
                }
                self.deliver(kept);
            }
            Disposition::NotOwner(epoch) => self.refuse(kept, Refusal::NotOwner { epoch }),
            Disposition::Keep => self.keep(kept),
        }
    }

    /// Keeps a message until the next change, unless too many are kept.
    fn keep(&mut self, kept: Kept) {
        self.expire();
        if let Err((refused, full)) = self.kept.keep(kept) {
            recorded::rejection(Reason::Overloaded);
            self.refuse(*refused, Refusal::Full(full));
        }
    }

    /// Tells the senders of messages whose time is over that no handler has seen them, and none will.
    fn expire(&mut self) {
        for kept in self.kept.take_expired(Instant::now()) {
            self.refuse(kept, Refusal::Expired);
        }
    }

    /// Wakes this actor when the next message expires.
    fn set_alarm(&mut self, myself: &ActorRef<InboxMessage>) {
        let Some(end) = self.kept.first_end() else { return };
        let at = end.max(Instant::now() + EXPIRY_INTERVAL);
        if self.alarm.as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        if let Some((_, later)) = self.alarm.take() {
            later.abort();
        }
        let inbox = myself.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            // It may be ending.
            let _ = inbox.cast(InboxMessage::Expired);
        });
        self.alarm = Some((at, alarm));
    }

    /// Dispatches what is kept once more, in order.
    fn look_again(&mut self) {
        self.expire();
        let before = self.kept.take();
        for kept in before {
            self.dispatch(kept, false);
        }
    }

    /// Hands a message to its actor.
    fn deliver(&mut self, kept: Kept) {
        let Some(Named { actor, takes }) = self.shared.registered().named(&kept.envelope.name) else {
            return self.refuse(kept, Refusal::NoActor);
        };
        if let Some(sent) = other_type(&kept, takes) {
            return refuse_type(kept, takes, sent);
        }
        let Kept { envelope, slot, message, until, own } = kept;
        let (message, callers) = for_actor(&envelope, message, self.shared.calls_in_progress());
        if let Err(error) = actor.send_serialized(message) {
            debug!(target: TARGET, ?actor, "the actor is ending");
            let MessagingErr::SendErr(message) = *error else { return };
            let Some(message) = taken_back(message, callers) else { return };
            self.not_taken(Kept { envelope, slot, message, until, own });
        }
    }

    /// An actor that was found has ended before it got a message.
    fn not_taken(&mut self, kept: Kept) {
        match self.shared.registered().is_supervised(&kept.envelope.name) && !kept.envelope.direct {
            true => self.keep(kept),
            false => self.refuse(kept, Refusal::NoActor),
        }
    }

    /// Tells the sender of a call why it has no answer. A cast is logged here.
    fn refuse(&mut self, kept: Kept, refusal: Refusal) {
        match kept.message {
            SerializedMessage::Call { reply, .. } => drop(reply.send(refusal.bytes())),
            SerializedMessage::Cast { .. } | SerializedMessage::CallReply(..) => {
                recorded::rejection(Reason::Misdirected);
                let Some(missed) = self.dropped.allow(Instant::now()) else { return };
                let (name, key) = (kept.envelope.name, super::shown(&kept.envelope.key));
                warn!(
                    target: TARGET, name, key, reason = ?refusal, missed,
                    "a message for the owner of a key was dropped: this node is not its owner, or has no such actor, or has not had one \
                     in time; send what must arrive by `call`, which finds the owner"
                );
            }
        }
    }
}

/// For how long a message is kept whose sender waits for so long.
fn keep_for(timeout: Duration, is_call: bool) -> Duration {
    let (part, max) = ANSWER_MARGIN;
    let margin = if is_call { (timeout / part).min(max) } else { Duration::ZERO };
    (timeout - margin).min(MAX_KEEP)
}

impl KeptMessages {
    fn new(limits: WaitingLimits) -> Self {
        Self {
            limits,
            messages: BTreeMap::new(),
            ends: BTreeSet::new(),
            next: 0,
            bytes: 0,
            lanes: HashMap::new(),
        }
    }

    /// All of them, in order; none is kept then.
    fn take(&mut self) -> impl Iterator<Item = Kept> + use<> {
        (self.bytes, self.lanes, self.ends) = (0, HashMap::new(), BTreeSet::new());
        std::mem::take(&mut self.messages).into_values()
    }

    /// Those whose time is over. They are kept no more.
    fn take_expired(&mut self, now: Instant) -> Vec<Kept> {
        let mut expired = Vec::new();
        while let Some(&(end, number)) = self.ends.first().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, number));
            let Some(kept) = self.messages.remove(&number) else { continue };
            self.bytes -= kept.len();
            if let Entry::Occupied(mut lane) = self.lanes.entry(kept.lane()) {
                *lane.get_mut() -= 1;
                if *lane.get() == 0 {
                    lane.remove();
                }
            }
            expired.push(kept);
        }
        expired
    }

    /// When the time of the next is over.
    fn first_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Whether any is of this lane.
    fn has(&self, lane: u64) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Keeps a message; gives it back if too many are kept.
    fn keep(&mut self, kept: Kept) -> Result<(), (Box<Kept>, TooMany)> {
        if let Err(full) = self.limits.check(self.messages.len(), self.bytes, kept.len()) {
            return Err((Box::new(kept), full));
        }
        self.bytes += kept.len();
        *self.lanes.entry(kept.lane()).or_default() += 1;
        self.ends.insert((kept.until, self.next));
        self.messages.insert(self.next, kept);
        self.next += 1;
        Ok(())
    }
}

impl Kept {
    fn lane(&self) -> u64 {
        lane(self.slot, &self.envelope.name)
    }

    fn len(&self) -> usize {
        let args = match &self.message {
            SerializedMessage::Cast { args, .. } | SerializedMessage::Call { args, .. } => args.len(),
            SerializedMessage::CallReply(..) => 0,
        };
        args + self.envelope.key.len() + self.envelope.name.len()
    }
}

/// What was sent, if it is of another type than the actor takes. The variants of a type of the derive macro are compared by its code.
fn other_type(kept: &Kept, takes: MessageType) -> Option<String> {
    match (&kept.envelope.type_name, &kept.message) {
        (Some(sent), _) => (sent != takes.name).then(|| sent.clone()),
        // It names its type, and ractor's own code would drop it without a word.
        (None, SerializedMessage::Cast { variant, .. } | SerializedMessage::Call { variant, .. }) => {
            takes.schema.is_none().then(|| variant.clone())
        }
        (None, SerializedMessage::CallReply(..)) => None,
    }
}

/// Refuses a message of another type, or notes it for its sender.
fn refuse_type(kept: Kept, takes: MessageType, sent: String) {
    recorded::rejection(Reason::Unreadable);
    let cause = match differ_by_version(&sent, takes.name) {
        true => "it is of another version of the type",
        false => "it is of another type",
    };
    let cause = cause.to_owned();
    let expected = takes.schema.map_or_else(|| takes.name.to_owned(), ToString::to_string);
    log_unreadable(&sent, &expected, &cause);
    match kept.message {
        SerializedMessage::Call { reply, .. } => {
            drop(reply.send(Refusal::Unreadable { expected, cause }.bytes()))
        }
        SerializedMessage::Cast { .. } | SerializedMessage::CallReply(..) => {
            let Envelope { sender, name, .. } = kept.envelope;
            note(UnreadKind { sender, name, sent, expected, cause });
        }
    }
}

/// Prepares a message for its actor. A cast that the derive macro decodes carries its sender. A call gets a wrapped reply port: it frames the
/// answer, reports a drop, and counts as in progress. Calls that the macro decodes wrap their port themselves.
fn for_actor(
    envelope: &Envelope,
    message: SerializedMessage,
    in_progress: &CallsInProgress,
) -> (SerializedMessage, Option<CallersPort>) {
    let by_macro = names_its_type(&message);
    let metadata = || envelope.metadata.clone();
    match message {
        SerializedMessage::Call { variant, args, reply, .. } => {
            // A node that leaves waits for it. One without a limit may be kept for ever.
            let in_progress = reply.get_timeout().map(|_| in_progress.begin());
            let (reply, callers) = framing(reply, by_macro, in_progress);
            (SerializedMessage::Call { variant, args, reply, metadata: metadata() }, Some(callers))
        }
        SerializedMessage::Cast { variant, args, .. } if by_macro => {
            let sender = Sender { incarnation: envelope.sender, name: envelope.name.clone() };
            (SerializedMessage::Cast { variant, args, metadata: Some(sender.metadata()) }, None)
        }
        SerializedMessage::Cast { variant, args, .. } => {
            (SerializedMessage::Cast { variant, args, metadata: metadata() }, None)
        }
        reply @ SerializedMessage::CallReply(..) => (reply, None),
    }
}

/// The message as it was before it was made ready for an actor; `None` if its caller has got an answer.
fn taken_back(message: SerializedMessage, callers: Option<CallersPort>) -> Option<SerializedMessage> {
    Some(match message {
        SerializedMessage::Call { variant, args, .. } => {
            SerializedMessage::Call { variant, args, reply: callers?.take()?, metadata: None }
        }
        SerializedMessage::Cast { variant, args, .. } => {
            SerializedMessage::Cast { variant, args, metadata: None }
        }
        SerializedMessage::CallReply(..) => return None,
    })
}

#[cfg(test)]
mod tests;
