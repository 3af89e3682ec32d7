//! All listeners of a node, and the state that they got last.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use cloister_proto::{Change, ClusterState, DownReason, Held, Member, Status};
use ractor::{ActorId, ActorRef, Message};
use tracing::{debug, error};

use super::hold::{HoldOffer, HoldToken};
use super::state_change::{Placement, StateChange};

/// Whether the rounds of the cluster wait for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldMode {
    /// The listener is offered a [`Hold`], and has so long to take it.
    Holds(Duration),
    /// The same, also before a planned change, for which it warms up while all nodes are up.
    WarmsUp(Duration),
    /// The listener is offered none.
    Without,
}

impl HoldMode {
    /// How long the listener has to take the hold of a change, or of an announced round; `None` if it gets none.
    fn grace(self, is_planned: bool) -> Option<Duration> {
        match self {
            Self::WarmsUp(grace) => Some(grace),
            Self::Holds(grace) => Some(grace).filter(|_| !is_planned),
            Self::Without => None,
        }
    }
}

/// One actor that gets every change.
pub(crate) struct Listener {
    id: ActorId,
    hold_mode: HoldMode,
    deliver: Box<dyn Fn(StateChange) -> Delivery + Send>,
}

/// Whether a listener took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Taken,
    Dead,
}

impl Listener {
    pub(crate) fn new<M>(actor: ActorRef<M>, hold_mode: HoldMode) -> Self
    where
        M: Message + From<StateChange>,
    {
        let id = actor.get_id();
        let deliver = move |change: StateChange| match actor.cast(M::from(change)) {
            Ok(()) => Delivery::Taken,
            Err(_) => Delivery::Dead,
        };
        Self { id, hold_mode, deliver: Box::new(deliver) }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("id", &self.id).field("hold_mode", &self.hold_mode).finish()
    }
}

/// All listeners of a node. They outlive the manager: one that is restarted goes on where the last one ended.
///
/// Code of the program (the conversion of a change into a message) runs while `subscribers` is locked. So only the monitor waits
/// for that lock. New listeners queue in `pending`, and the thread that has the lock admits them.
#[derive(Debug)]
pub(crate) struct Listeners {
    pending: Mutex<Vec<Listener>>,
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug)]
struct Subscribers {
    listeners: Vec<Listener>,
    /// What a new listener receives: the present state.
    latest: StateChange,
    /// What the present round waits for, if any listener may still hold it.
    holding: Weak<HoldToken>,
}

impl Listeners {
    /// No listener yet. The first one will receive `state`.
    pub(crate) fn new(state: Arc<ClusterState>) -> Self {
        let latest = StateChange::present(state);
        let subscribers = Subscribers { listeners: Vec::new(), latest, holding: Weak::new() };
        Self { pending: Mutex::default(), subscribers: Mutex::new(subscribers) }
    }

    /// Tells `listener` the present state, and every change from there on. Subscribing again starts anew.
    pub(crate) fn add(&self, listener: Listener) {
        lock(&self.pending).push(listener);
        self.admit();
    }

    /// Tells all listeners of a change to `state`, which is that of `change` with the number of this node; the answer is whether any of them got
    /// the `hold`. Tells none if `is_over`, which is asked while no incarnation can
    /// begin: a change of the one before would come after its end.
    pub(crate) fn notify(
        &self,
        change: &cloister_proto::Transition,
        state: Arc<ClusterState>,
        placement: Placement,
        hold: Option<impl FnOnce() -> Arc<HoldToken>>,
        is_over: impl FnOnce() -> bool,
    ) -> bool {
        let mut subscribers = lock(&self.subscribers);
        if is_over() {
            return false;
        }
        // Without a listener to hold it there is no hold: dropping one would cost the round a trip by the mailbox.
        let is_planned = matches!(change.hold, Some(Held::Intent(_)));
        let held =
            subscribers.listeners.iter().any(|listener| listener.hold_mode.grace(is_planned).is_some());
        let holding = hold.filter(|_| held).map(|hold| hold());
        let held = holding.is_some();
        let change = StateChange {
            seq: state.seq,
            from: change.from,
            to: change.to,
            changes: change.changes.clone().into(),
            state,
            moved: placement.moved.into(),
            rings: placement.rings,
            predecessor: placement.predecessor,
            offer: None,
        };
        subscribers.notify(&change, holding.as_ref(), is_planned);
        drop(subscribers);
        self.admit();
        held
    }

    /// Whether any listener warms up before planned changes.
    pub(crate) fn warm_up(&self) -> bool {
        let warms = |listener: &Listener| matches!(listener.hold_mode, HoldMode::WarmsUp(_));
        lock(&self.subscribers).listeners.iter().any(warms) || lock(&self.pending).iter().any(warms)
    }

    /// A new incarnation of the node begins: listeners receive every member as down, until the next view. Returns the `seq` at which it begins.
    pub(crate) fn restart(&self, node: Member) -> u64 {
        let mut subscribers = lock(&self.subscribers);
        let before = Arc::clone(&subscribers.latest.state);
        if before.status == Status::Down {
            Arc::make_mut(&mut subscribers.latest.state).node = node;
        } else {
            let change = closing(&before, node);
            subscribers.notify(&change, None, false);
        }
        let seq = subscribers.latest.state.seq;
        drop(subscribers);
        self.admit();
        seq
    }

    fn admit(&self) {
        // Checked again each time `subscribers` was released: a thread that finds it locked leaves its listener in `pending`.
        while !lock(&self.pending).is_empty() {
            let mut subscribers = match self.subscribers.try_lock() {
                Ok(subscribers) => subscribers,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let pending = std::mem::take(&mut *lock(&self.pending));
            for listener in pending {
                subscribers.add(listener);
            }
        }
    }
}

impl Subscribers {
    fn add(&mut self, listener: Listener) {
        self.listeners.retain(|known| known.id != listener.id);
        if deliver(&listener, self.latest.clone()) == Delivery::Taken {
            self.listeners.push(listener);
        }
    }

    /// Tells all; those that may hold a change get `holding`, of an announced round if `is_planned`.
    fn notify(&mut self, change: &StateChange, holding: Option<&Arc<HoldToken>>, is_planned: bool) {
        self.latest = StateChange {
            rings: change.rings.clone(),
            predecessor: change.predecessor,
            ..StateChange::present(Arc::clone(&change.state))
        };
        if let Some(holding) = self.holding.upgrade() {
            holding.on_change(&change.state);
        }
        if let Some(holding) = holding {
            self.holding = Arc::downgrade(holding);
        }
        self.listeners.retain(|listener| {
            let mut change = change.clone();
            if let (Some(holding), Some(grace)) = (holding, listener.hold_mode.grace(is_planned)) {
                let offer = HoldOffer::new(holding);
                offer.close_after(grace, listener.id);
                change.offer = Some(offer);
            }
            deliver(listener, change) == Delivery::Taken
        });
    }
}

fn deliver(listener: &Listener, change: StateChange) -> Delivery {
    let delivery = catch_unwind(AssertUnwindSafe(|| (listener.deliver)(change)));
    match delivery {
        Ok(Delivery::Taken) => {}
        Ok(Delivery::Dead) => debug!(listener = %listener.id, "listener is dead: dropped"),
        Err(_) => error!(listener = %listener.id, "listener panicked while taking a change: dropped"),
    }
    delivery.unwrap_or(Delivery::Dead)
}

/// The end of an incarnation that did not say goodbye: all its members are down.
fn closing(before: &ClusterState, node: Member) -> StateChange {
    let mut changes: Vec<Change> = before
        .members
        .iter()
        .map(|member| Change::NodeDown {
            node: member.id.clone(),
            reason: if member.id == before.node.id { DownReason::Replaced } else { DownReason::Unreachable },
        })
        .collect();
    if before.sentry.is_some() {
        changes.push(Change::SentryChanged { from: before.sentry.clone(), to: None });
    }
    let mut state = ClusterState::initial(node);
    state.seq = before.seq + 1;
    let state = Arc::new(state);
    StateChange { from: before.status, changes: changes.into(), ..StateChange::present(state) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
