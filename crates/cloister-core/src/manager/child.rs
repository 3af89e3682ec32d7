//! Actors of the program's that live with the cluster.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{ActorCell, ActorId, ActorRef, ActorStatus, Message, SpawnErr};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::{info, warn};

use super::restart::{cause_of, pause_after};
use crate::error::RegisterError;
use crate::handle::Cloister;
use crate::messages::{Command, ManagerMessage};
use crate::telemetry::TARGET;

/// How long a child may take for what is in its mailbox, when this node leaves.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// For how long a child must have run for its earlier failures not to count any more.
const STEADY: Duration = Duration::from_secs(60);

type Starting = Pin<Box<dyn Future<Output = Result<ActorCell, String>> + Send>>;

/// An actor of the program's that runs under the manager while there is a cluster.
///
/// Started when the node is up for the first time, or [before it joins](ChildSpec::before_joining). Started again when it fails: when its start fails or panics, when its
/// handler fails or panics, when it is killed. The first pause is 100 ms, each further one twice as long, 5 s at most; the log
/// has its name and the error. Left alone when it ends by itself. When this node leaves and claims nothing any more, the child handles what
/// is in its mailbox, for 3 s at most, and is stopped.
///
/// The node stays a member while a child is restarted, unless the child is [vital](ChildSpec::vital).
#[derive(Clone)]
pub struct ChildSpec {
    name: Arc<str>,
    /// Whether it is registered under its name whenever it runs.
    registered: bool,
    before_joining: bool,
    vital: bool,
    start: Arc<dyn Fn(Cloister, ActorCell) -> Starting + Send + Sync>,
}

impl ChildSpec {
    /// A child of this name, for the log, that `start` spawns, linked to the cell it is given:
    ///
    /// ```
    /// # use cloister_core::{ChildSpec, Cloister};
    /// # use cloister_core::ractor::{self, Actor, ActorProcessingErr, ActorRef};
    /// # use cloister_core::ractor_cluster::RactorMessage;
    /// struct Worker;
    /// #[derive(RactorMessage)]
    /// enum WorkerMessage {}
    /// impl Actor for Worker {
    ///     type Msg = WorkerMessage;
    ///     type State = Cloister;
    ///     type Arguments = Cloister;
    ///     async fn pre_start(
    ///         &self,
    ///         _: ActorRef<WorkerMessage>,
    ///         cloister: Cloister,
    ///     ) -> Result<Cloister, ActorProcessingErr> {
    ///         Ok(cloister)
    ///     }
    /// }
    /// let child = ChildSpec::new("worker", |cloister, supervisor| async move {
    ///     let (worker, _) = Actor::spawn_linked(None, Worker, cloister, supervisor).await?;
    ///     Ok(worker.get_cell())
    /// });
    /// ```
    pub fn new<F, S>(name: &str, start: S) -> Self
    where
        S: Fn(Cloister, ActorCell) -> F + Send + Sync + 'static,
        F: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        let start = move |cloister, supervisor| -> Starting {
            let starting = start(cloister, supervisor);
            Box::pin(async move { starting.await.map_err(cause_of) })
        };
        Self::named(name.into(), false, start)
    }

    /// A child that is [registered](Cloister::register) under its name, again after each restart. So the other nodes find it: `cast`,
    /// `call`, `multicast` and `multicall` reach it whenever it runs.
    ///
    /// It does not run before its first start, nor between a failure and the next start. Messages by key that come for it meanwhile are
    /// kept until it is registered, as many as `limits.waiting_calls` allows. A call is kept up to its timeout, a cast for ten seconds. No
    /// handler has seen them. What was in its mailbox when it failed is lost: those calls end as
    /// [`CallError::Uncertain`](crate::CallError::Uncertain). When it has ended by itself, calls end as
    /// [`CallError::NoActor`](crate::CallError::NoActor).
    ///
    /// While another actor of this node has the name, the child does not run, and the log says so.
    ///
    /// # Errors
    ///
    /// [`RegisterError::NotRemotable`] if its messages do not travel.
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// # use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
    /// # use cloister::Message;
    /// # use cloister::{ChildSpec, Config, ManagerArguments};
    /// # struct Cart;
    /// #[derive(Message)]
    /// enum CartMessage {
    ///     Count(RpcReplyPort<u64>),
    /// }
    /// # impl Actor for Cart {
    /// #     type Msg = CartMessage;
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<CartMessage>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let cart = ChildSpec::registered("cart", |_, supervisor| async move {
    ///     let (cart, _) = Actor::spawn_linked(None, Cart, (), supervisor).await?;
    ///     Ok(cart)
    /// })?;
    /// let arguments = ManagerArguments::new(Config::new("shop"))?.child(cart);
    /// # Ok(())
    /// # }
    /// ```
    pub fn registered<M, F, S>(name: &str, start: S) -> Result<Self, RegisterError>
    where
        M: Message,
        S: Fn(Cloister, ActorCell) -> F + Send + Sync + 'static,
        F: Future<Output = Result<ActorRef<M>, SpawnErr>> + Send + 'static,
    {
        RegisterError::unless_remotable::<M>(name)?;
        let name: Arc<str> = name.into();
        let registered = Arc::clone(&name);
        let start = move |cloister: Cloister, supervisor| -> Starting {
            let name = Arc::clone(&registered);
            let starting = start(cloister.clone(), supervisor);
            Box::pin(async move {
                let actor = starting.await.map_err(cause_of)?;
                cloister.register(&name, &actor).map_err(|error| {
                    actor.stop(None);
                    error.to_string()
                })?;
                Ok(actor.get_cell())
            })
        };
        Ok(Self::named(name, true, start))
    }

    fn named(
        name: Arc<str>,
        registered: bool,
        start: impl Fn(Cloister, ActorCell) -> Starting + Send + Sync + 'static,
    ) -> Self {
        Self { name, registered, before_joining: false, vital: false, start: Arc::new(start) }
    }

    /// The same child, started before this node joins: it runs, and is registered if it is to be, before the first link is made. A store
    /// needs this, since the others hand over its part while the node comes in.
    ///
    /// The node joins once all such children run. As with a supervisor's children in ractor or OTP, a first start that fails is the failure
    /// of the whole. The node does not join, the manager fails, and [`wait_stopped`](Cloister::wait_stopped) has the name of the child and
    /// the error. A start that never returns delays the join; `/readyz` says which child is awaited.
    ///
    /// Later such a child is restarted as any other, and the node stays a member meanwhile, unless it is [vital](ChildSpec::vital).
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// # use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
    /// # use cloister::{ChildSpec, Config, ManagerArguments, Message};
    /// # struct Store;
    /// #[derive(Message)]
    /// enum StoreMessage {
    ///     Get(String, RpcReplyPort<Option<String>>),
    /// }
    /// # impl Actor for Store {
    /// #     type Msg = StoreMessage;
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<StoreMessage>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // It keeps its data in memory. So it is there before the node joins, and a node whose store is empty joins anew.
    /// let store = ChildSpec::registered("store", |_, supervisor| async move {
    ///     Ok(Actor::spawn_linked(None, Store, (), supervisor).await?.0)
    /// })?;
    /// let store = store.before_joining().vital();
    /// let arguments = ManagerArguments::new(Config::new("shop"))?.child(store);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn before_joining(mut self) -> Self {
        self.before_joining = true;
        self
    }

    /// The same child, without which this node must not go on: for a store that loses its memory when it ends.
    ///
    /// When it has run and ends, in whatever way, this incarnation of the node ends with it. The node claims nothing from then on, its
    /// links are closed, and the others see it go down. After a pause that grows, a new incarnation begins: to the others it is as if
    /// the process had been restarted. The child is started again before it joins if it is started
    /// [before joining](ChildSpec::before_joining), else when it is up. Other children go on.
    ///
    /// A start that fails is no end: it is repeated after a pause, as for any child.
    #[must_use]
    pub fn vital(mut self) -> Self {
        self.vital = true;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildSpec").field(&self.name).finish()
    }
}

/// The children of one manager.
#[derive(Debug)]
pub(super) struct Children {
    slots: Vec<ChildSlot>,
    /// Actors that ended while a child was being started: one of them may be that child.
    ended: Vec<(ActorId, Option<String>)>,
    cloister: Cloister,
    manager: ActorRef<ManagerMessage>,
}

#[derive(Debug)]
struct ChildSlot {
    child: ChildSpec,
    state: ChildState,
    failures: u32,
    /// Whether it has ever run.
    has_run: bool,
}

/// What the start or the end of a child means for the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The node goes on.
    None,
    /// A vital child has ended: the next incarnation begins after this pause.
    BeginAnew { cause: String, pause: Duration },
    /// A child without which the node does not join cannot be started.
    Fail { cause: String },
}

#[derive(Debug)]
enum ChildState {
    NotStarted,
    /// Being started, or waiting for its next start, by this task.
    Starting(AbortHandle),
    /// Running.
    Running {
        actor: ActorCell,
        since: Instant,
    },
    /// It has ended by itself.
    Finished,
}

impl Children {
    pub(super) fn new(
        children: Vec<ChildSpec>,
        cloister: Cloister,
        manager: ActorRef<ManagerMessage>,
    ) -> Self {
        for child in children.iter().filter(|child| child.registered) {
            cloister.shared().registered().supervise(&child.name, manager.get_id());
        }
        let slots = children
            .into_iter()
            .map(|child| ChildSlot { child, state: ChildState::NotStarted, failures: 0, has_run: false })
            .collect();
        Self { slots, ended: Vec::new(), cloister, manager }
    }

    /// Starts those that have not been started.
    pub(super) fn start(&mut self) {
        for child in 0..self.slots.len() {
            if matches!(self.slots[child].state, ChildState::NotStarted) {
                self.start_one(child);
            }
        }
    }

    /// Starts those that run before the node joins and have not been started; the first one that does not run yet is awaited.
    pub(super) fn start_before_joining(&mut self) -> Option<&str> {
        for child in 0..self.slots.len() {
            let slot = &self.slots[child];
            if slot.child.before_joining && matches!(slot.state, ChildState::NotStarted) {
                self.start_one(child);
            }
        }
        let awaited =
            |slot: &&ChildSlot| slot.child.before_joining && matches!(slot.state, ChildState::Starting(_));
        self.slots.iter().find(awaited).map(|slot| &*slot.child.name)
    }

    /// Starts one in a task of its own: what it does meanwhile is the program's business, and so is its panic.
    pub(super) fn start_one(&mut self, child: usize) {
        let Some(slot) = self.slots.get_mut(child) else { return };
        let start = Arc::clone(&slot.child.start);
        let (cloister, manager) = (self.cloister.clone(), self.manager.clone());
        let task = tokio::spawn(async move {
            let supervisor = manager.get_cell();
            let mut starting = JoinSet::new();
            // The closure may panic before there is a future.
            starting.spawn(async move { start(cloister, supervisor).await });
            let started = match starting.join_next().await {
                Some(Ok(started)) => started,
                Some(Err(error)) => Err(panic_of(error)),
                None => return,
            };
            // A manager that is gone takes its children with it.
            let _ = manager.cast(ManagerMessage(Command::ChildStarted { child, started }));
        });
        slot.state = ChildState::Starting(task.abort_handle());
    }

    pub(super) fn started(&mut self, child: usize, started: Result<ActorCell, String>) -> Consequence {
        let Some(slot) = self.slots.get_mut(child) else { return Consequence::None };
        let consequence = match started {
            Ok(actor) => {
                let id = actor.get_id();
                info!(target: TARGET, child = %slot.child.name, actor = %id, "child started");
                if actor.try_get_supervisor().is_none() {
                    // Spawned without a link: its end would go unnoticed.
                    actor.link(self.manager.get_cell());
                }
                if actor.get_status() == ActorStatus::Stopped {
                    // ractor reports the end before this status, so the report is handled before this message. Without a link there is none.
                    // A manager that is gone takes its children with it.
                    let _ = self.manager.cast(ManagerMessage(Command::ChildOver { actor: id }));
                }
                slot.state = ChildState::Running { actor, since: Instant::now() };
                slot.has_run = true;
                let early = self.ended.iter().position(|(ended, _)| *ended == id);
                let early = early.map(|early| self.ended.swap_remove(early));
                early.and_then(|(_, cause)| self.ended(id, cause.as_deref())).unwrap_or(Consequence::None)
            }
            Err(error) if slot.child.before_joining && !slot.has_run => Consequence::Fail {
                cause: format!(
                    "child `{}` did not start, and this node does not join without it: {error}",
                    slot.child.name
                ),
            },
            Err(error) => {
                self.restart_later(child, &error);
                Consequence::None
            }
        };
        if !self.slots.iter().any(|slot| matches!(slot.state, ChildState::Starting(_))) {
            self.ended.clear();
        }
        consequence
    }

    /// An actor had ended when its start was heard of. If its end was not reported, nothing was to report it.
    pub(super) fn over(&mut self, actor: ActorId) -> Option<Consequence> {
        self.ended(actor, Some("it ended while it was being started"))
    }

    /// An actor has ended, by itself if there is no cause; `None` if it was no child.
    pub(super) fn ended(&mut self, actor: ActorId, cause: Option<&str>) -> Option<Consequence> {
        let is_it = |slot: &ChildSlot| matches!(&slot.state, ChildState::Running { actor: cell, .. } if cell.get_id() == actor);
        let Some(child) = self.slots.iter().position(is_it) else {
            if self.slots.iter().any(|slot| matches!(slot.state, ChildState::Starting(_))) {
                self.ended.push((actor, cause.map(str::to_owned)));
            }
            return None;
        };
        if self.slots[child].child.vital {
            return Some(self.vital_ended(child, cause));
        }
        match cause {
            Some(cause) => self.restart_later(child, cause),
            None => {
                self.slots[child].state = ChildState::Finished;
                self.release(child);
            }
        }
        Some(Consequence::None)
    }

    /// It is started again with the next incarnation.
    fn vital_ended(&mut self, child: usize, cause: Option<&str>) -> Consequence {
        let pause = self.count_failure(child);
        let slot = &mut self.slots[child];
        slot.state = ChildState::NotStarted;
        let cause = cause.map_or_else(|| "it stopped".to_owned(), |cause| format!("it failed: {cause}"));
        Consequence::BeginAnew {
            cause: format!("vital child `{}` has ended: {cause}", slot.child.name),
            pause,
        }
    }

    /// The child is not started again: what waits for it under its name waits no more.
    fn release(&self, child: usize) {
        let ChildSpec { name, registered, .. } = &self.slots[child].child;
        if *registered {
            self.cloister.shared().registered().release(name, self.manager.get_id());
            self.cloister.shared().turn();
        }
    }

    /// Stops all, the last one first, once they have handled what they have; waits for them for a while. What comes by key for a registered one is kept, and goes to the next owner
    /// when this node leaves.
    pub(super) async fn stop(&mut self) {
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        for slot in self.slots.iter_mut().rev() {
            match std::mem::replace(&mut slot.state, ChildState::Finished) {
                ChildState::Running { actor, .. } => {
                    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                    if actor.drain_and_wait(Some(left)).await.is_err() {
                        warn!(
                            target: TARGET, child = %slot.child.name, limit = ?STOP_LIMIT,
                            "child has not handled its messages in time, and stops after the present one: wait for long work in a \
                             hook of `Cloister::on_drain`"
                        );
                        actor.stop(Some("leaving".to_owned()));
                    }
                }
                ChildState::Starting(task) => task.abort(),
                ChildState::NotStarted | ChildState::Finished => {}
            }
        }
    }

    /// Counts a failure more, and says after how long the child is started again.
    fn count_failure(&mut self, child: usize) -> Duration {
        let slot = &mut self.slots[child];
        if matches!(&slot.state, ChildState::Running { since, .. } if since.elapsed() >= STEADY) {
            slot.failures = 0;
        }
        slot.failures = slot.failures.saturating_add(1);
        pause_after(slot.failures)
    }

    fn restart_later(&mut self, child: usize, error: &str) {
        let pause = self.count_failure(child);
        let slot = &mut self.slots[child];
        warn!(
            target: TARGET, child = %slot.child.name, error, ?pause,
            "child failed and is started again: correct its `error`"
        );
        let manager = self.manager.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // A manager that is gone starts no child.
            let _ = manager.cast(ManagerMessage(Command::StartChild { child }));
        });
        slot.state = ChildState::Starting(task.abort_handle());
    }
}

impl Drop for Children {
    /// A manager that panics stops nothing.
    fn drop(&mut self) {
        for (child, slot) in self.slots.iter().enumerate() {
            if let ChildState::Starting(task) = &slot.state {
                task.abort();
            }
            self.release(child);
        }
    }
}

/// The words of a panic.
fn panic_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            words.map_or_else(
                || "its start panicked".to_owned(),
                |words| format!("its start panicked: {words}"),
            )
        }
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
