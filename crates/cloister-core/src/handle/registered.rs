//! The actors of this node that are registered, so that the failure of one is logged with its name.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};
use ractor::{ActorCell, ActorId, ActorStatus, Message};
use tracing::{error, info};

use crate::message::{Schema, name_of, schema_of};
use crate::telemetry::TARGET;

/// The actors that are registered, with their names. The manager monitors them while it runs.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    actors: Mutex<BTreeMap<u64, Registration>>,
    /// The same actors by their names: a table that is replaced as a whole, while `actors` is locked, and read without a lock.
    by_name: Arc<ArcSwap<ByName>>,
    /// The names of children that are registered whenever they run, each with the manager that runs them, or starts them again.
    supervised: Mutex<BTreeMap<String, ActorId>>,
}

type ByName = BTreeMap<String, Named>;
type SeenByName = Cache<Arc<ArcSwap<ByName>>, Arc<ByName>>;

thread_local! {
    /// The table of names that this thread has seen last, of the one node that a program has; `None` while it looks. Whether the table is still
    /// the present one is a plain load, where loading it anew takes two atomic exchanges.
    static SEEN: Cell<Option<SeenByName>> = const { Cell::new(None) };
}

/// An actor under a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) actor: ActorCell,
    pub(crate) takes: MessageType,
}

/// The type of the messages of an actor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageType {
    pub(crate) name: &'static str,
    /// What the derive macro of this library knows of it; `None` for ractor's own.
    pub(crate) schema: Option<&'static Schema>,
}

#[derive(Debug)]
struct Registration {
    actor: ActorCell,
    takes: MessageType,
    names: BTreeSet<String>,
}

impl MessageType {
    pub(crate) fn of<M: Message>() -> Self {
        Self { name: name_of::<M>(), schema: schema_of::<M>() }
    }

    /// The group of the actors that are registered under `name` and take messages of this type. `None` for the types of the derive macro: two
    /// releases of one may differ, and the inbox tells the sender what cannot be read.
    pub(crate) fn group(&self, name: &str) -> Option<String> {
        self.schema.is_none().then(|| format!("{name}\n{}", self.name))
    }
}

impl Registered {
    fn actors(&self) -> MutexGuard<'_, BTreeMap<u64, Registration>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `actor` has this name from now on. The manager, if one runs, hears how it ends, unless it supervises it anyway.
    ///
    /// # Errors
    ///
    /// Another actor that has the name.
    pub(crate) fn add(
        &self,
        name: &str,
        actor: ActorCell,
        takes: MessageType,
        manager: Option<&ActorCell>,
    ) -> Result<(), ActorCell> {
        let mut actors = self.actors();
        // What ended while no manager ran was not heard of.
        actors.retain(|_, entry| entry.actor.get_status() < ActorStatus::Stopping);
        let has_name =
            |entry: &&Registration| entry.names.contains(name) && entry.actor.get_id() != actor.get_id();
        if let Some(other) = actors.values().find(has_name) {
            return Err(other.actor.clone());
        }
        if let Some(manager) = manager {
            monitor(manager, &actor);
        }
        let pid = actor.get_id().pid();
        let entry =
            actors.entry(pid).or_insert_with(|| Registration { actor, takes, names: BTreeSet::new() });
        entry.names.insert(name.to_owned());
        self.publish(&actors);
        Ok(())
    }

    /// The actor of this name, if it takes messages.
    pub(crate) fn named(&self, name: &str) -> Option<Named> {
        self.with_named(name, |named| named.cloned())
    }

    /// Shows `with` the actor of this name, if it takes messages. Takes no lock and counts no reference: each call by key looks here.
    pub(crate) fn with_named<T>(&self, name: &str, with: impl FnOnce(Option<&Named>) -> T) -> T {
        let seen = SEEN.try_with(Cell::take).ok().flatten();
        let mut seen = seen
            .filter(|seen| std::ptr::eq(seen.arc_swap(), &*self.by_name))
            .unwrap_or_else(|| Cache::new(Arc::clone(&self.by_name)));
        let takes_messages = |named: &&Named| named.actor.get_status() < ActorStatus::Draining;
        let result = with(seen.load().get(name).filter(takes_messages));
        // A thread that is ending has no place for it.
        let _ = SEEN.try_with(|of_thread| of_thread.set(Some(seen)));
        result
    }

    /// Whether an actor of this name runs at times: one that the manager starts and registers. Asked when none does now.
    pub(crate) fn is_supervised(&self, name: &str) -> bool {
        self.supervised().contains_key(name)
    }

    /// `manager` runs an actor of this name from now on.
    pub(crate) fn supervise(&self, name: &str, manager: ActorId) {
        self.supervised().insert(name.to_owned(), manager);
    }

    /// It does so no more. The next manager may do so already: one that failed is dropped after its supervisor has heard of it.
    pub(crate) fn release(&self, name: &str, manager: ActorId) {
        let mut supervised = self.supervised();
        if supervised.get(name) == Some(&manager) {
            supervised.remove(name);
        }
    }

    fn supervised(&self) -> MutexGuard<'_, BTreeMap<String, ActorId>> {
        self.supervised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, actors: &BTreeMap<u64, Registration>) {
        let names = actors.values().flat_map(|entry| {
            let named = Named { actor: entry.actor.clone(), takes: entry.takes };
            entry.names.iter().map(move |name| (name.clone(), named.clone()))
        });
        self.by_name.store(Arc::new(names.collect()));
    }

    /// `actor` has this name no more.
    pub(crate) fn remove(&self, name: &str, actor: &ActorCell, manager: Option<&ActorCell>) {
        let mut actors = self.actors();
        let pid = actor.get_id().pid();
        let Some(entry) = actors.get_mut(&pid) else { return };
        entry.names.remove(name);
        if entry.names.is_empty() {
            actors.remove(&pid);
            if let Some(manager) = manager {
                manager.unmonitor(actor.clone());
            }
        }
        self.publish(&actors);
    }

    /// `manager` starts, and hears from now on how each of them ends.
    pub(crate) fn monitor(&self, manager: &ActorCell) {
        self.actors().values().for_each(|entry| monitor(manager, &entry.actor));
    }

    /// `manager` ends.
    pub(crate) fn unmonitor(&self, manager: &ActorCell) {
        self.actors().values().for_each(|entry| manager.unmonitor(entry.actor.clone()));
    }

    /// An actor has ended, by itself if there is no cause. Logs it if it was registered.
    pub(crate) fn ended(&self, actor: ActorId, cause: Option<&str>) {
        let mut actors = self.actors();
        let Some(entry) = actors.remove(&actor.pid()) else { return };
        self.publish(&actors);
        drop(actors);
        let names: Vec<String> = entry.names.into_iter().collect();
        let name = names.join(", ");
        match cause {
            Some(error) => error!(
                target: TARGET, name, %actor, error,
                "registered actor failed: its name is free until another actor is registered; an actor of \
                 `ChildSpec::registered` is restarted"
            ),
            None => info!(target: TARGET, name, %actor, "registered actor stopped"),
        }
    }
}

/// A supervisor is notified of its children in any case.
fn monitor(manager: &ActorCell, actor: &ActorCell) {
    let is_child =
        actor.try_get_supervisor().is_some_and(|supervisor| supervisor.get_id() == manager.get_id());
    if !is_child && manager.get_status() < ActorStatus::Stopping {
        manager.monitor(actor.clone());
    }
}
