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

/// How long a child may take to stop before this node leaves.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// For how long a child must have run for its earlier failures not to count any more.
const STEADY: Duration = Duration::from_secs(60);

type Starting = Pin<Box<dyn Future<Output = Result<ActorCell, String>> + Send>>;

/// An actor of the program's that runs under the manager while there is a cluster.
///
/// Started when the node is up for the first time. Started again when it fails: when its start fails or panics, when its
/// handler fails or panics, when it is killed. The first pause is 100 ms, each further one twice as long, 5 s at most; the log
/// has its name and the error. Left alone when it ends by itself. When this node leaves and claims nothing any more, the child handles what
/// is in its mailbox, for 3 s at most, and is stopped.
#[derive(Clone)]
pub struct ChildSpec {
    name: Arc<str>,
    /// Whether it is registered under its name whenever it runs.
    registered: bool,
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
        Self { name: name.into(), registered: false, start: Arc::new(start) }
    }

    /// A child that is [registered](Cloister::register) under its name, again after each restart, so that the other nodes find
    /// it: `cast`, `call`, `multicast` and `multicall` reach it whenever it runs.
    ///
    /// While it does not run, before its first start and between a failure and the next start, messages by key that come for it are kept
    /// until it is registered: a call up to its timeout, a cast for ten seconds, as many as `limits.waiting_calls` allows. No handler has
    /// seen them. What was in its mailbox when it failed is lost: those calls end as [`CallError::Died`](crate::CallError::Died). When it
    /// has ended by itself, calls end as [`CallError::NoActor`](crate::CallError::NoActor).
    ///
    /// While another actor of this node has the name, the child does not run, and the log says so.
    ///
    /// # Errors
    ///
    /// [`RegisterError::NotRemotable`] if its messages do not travel.
    ///
    /// ```
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
        Ok(Self { name, registered: true, start: Arc::new(start) })
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
            cloister.shared().registered().supervise(&child.name);
        }
        let slots = children
            .into_iter()
            .map(|child| ChildSlot { child, state: ChildState::NotStarted, failures: 0 })
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

    pub(super) fn started(&mut self, child: usize, started: Result<ActorCell, String>) {
        let Some(slot) = self.slots.get_mut(child) else { return };
        match started {
            Ok(actor) => {
                let id = actor.get_id();
                info!(target: TARGET, child = %slot.child.name, actor = %id, "child started");
                if actor.try_get_supervisor().is_none() {
                    // Spawned without a link: its end would go unnoticed.
                    actor.link(self.manager.get_cell());
                }
                let is_over = actor.get_status() == ActorStatus::Stopped;
                slot.state = ChildState::Running { actor, since: Instant::now() };
                let early = self.ended.iter().position(|(ended, _)| *ended == id);
                match early.map(|early| self.ended.swap_remove(early)) {
                    Some((_, cause)) => drop(self.ended(id, cause.as_deref())),
                    None if is_over => drop(self.ended(id, Some("it ended while it was being started"))),
                    None => {}
                }
            }
            Err(error) => self.restart_later(child, &error),
        }
        if !self.slots.iter().any(|slot| matches!(slot.state, ChildState::Starting(_))) {
            self.ended.clear();
        }
    }

    /// An actor has ended, by itself if there is no cause. Whether it was a child.
    pub(super) fn ended(&mut self, actor: ActorId, cause: Option<&str>) -> bool {
        let is_it = |slot: &ChildSlot| matches!(&slot.state, ChildState::Running { actor: cell, .. } if cell.get_id() == actor);
        let Some(child) = self.slots.iter().position(is_it) else {
            if self.slots.iter().any(|slot| matches!(slot.state, ChildState::Starting(_))) {
                self.ended.push((actor, cause.map(str::to_owned)));
            }
            return false;
        };
        match cause {
            Some(cause) => self.restart_later(child, cause),
            None => {
                self.slots[child].state = ChildState::Finished;
                self.release(child);
            }
        }
        true
    }

    /// The child is not started again: what waits for it under its name waits no more.
    fn release(&self, child: usize) {
        let ChildSpec { name, registered, .. } = &self.slots[child].child;
        if *registered {
            self.cloister.shared().registered().release(name);
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
                            "child has not handled its messages in time: it stops after the present one"
                        );
                        actor.stop(Some("leaving".to_owned()));
                    }
                }
                ChildState::Starting(task) => task.abort(),
                ChildState::NotStarted | ChildState::Finished => {}
            }
        }
    }

    fn restart_later(&mut self, child: usize, error: &str) {
        let slot = &mut self.slots[child];
        if matches!(&slot.state, ChildState::Running { since, .. } if since.elapsed() >= STEADY) {
            slot.failures = 0;
        }
        slot.failures = slot.failures.saturating_add(1);
        let pause = pause_after(slot.failures);
        warn!(target: TARGET, child = %slot.child.name, error, ?pause, "child failed and is started again");
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
