//! Actors of the program's that live with the cluster.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef, SpawnErr};
use tracing::{info, warn};

use super::{ManagerMessage, Order, pause_after};
use crate::handle::Cloister;
use crate::telemetry::TARGET;

/// How long a child may take to stop before this node leaves.
const STOP_LIMIT: Duration = Duration::from_secs(3);

type Starting = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// An actor of the program's that runs under the manager while there is a cluster.
///
/// Started when the node is up for the first time; started again, after a pause that grows, when it fails; left alone when it
/// ends by itself; stopped before this node leaves.
#[derive(Clone)]
pub struct Child {
    name: Arc<str>,
    start: Arc<dyn Fn(Cloister, ActorCell) -> Starting + Send + Sync>,
}

impl Child {
    /// A child of this name, for the log, that `start` spawns, linked to the cell it is given:
    ///
    /// ```
    /// # use cloister_core::{Child, Cloister};
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
    /// let child = Child::new("worker", |cloister, supervisor| async move {
    ///     let (worker, _) = Actor::spawn_linked(None, Worker, cloister, supervisor).await?;
    ///     Ok(worker.get_cell())
    /// });
    /// ```
    pub fn new<F, S>(name: &str, start: S) -> Self
    where
        S: Fn(Cloister, ActorCell) -> F + Send + Sync + 'static,
        F: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        Self { name: name.into(), start: Arc::new(move |cloister, cell| Box::pin(start(cloister, cell))) }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.name).finish()
    }
}

/// The children of one manager.
#[derive(Debug)]
pub(super) struct Children {
    seats: Vec<Seat>,
    cloister: Cloister,
    manager: ActorRef<ManagerMessage>,
}

#[derive(Debug)]
struct Seat {
    child: Child,
    taken: Taken,
    failures: u32,
}

#[derive(Debug)]
enum Taken {
    /// Not started yet.
    No,
    /// Being started, or waiting for its next start.
    Soon,
    /// Running.
    By(ActorCell),
    /// It has ended by itself.
    NoMore,
}

impl Children {
    pub(super) fn new(children: Vec<Child>, cloister: Cloister, manager: ActorRef<ManagerMessage>) -> Self {
        let seats = children.into_iter().map(|child| Seat { child, taken: Taken::No, failures: 0 }).collect();
        Self { seats, cloister, manager }
    }

    /// Starts those that have not been started.
    pub(super) fn start(&mut self) {
        for child in 0..self.seats.len() {
            if matches!(self.seats[child].taken, Taken::No) {
                self.start_one(child);
            }
        }
    }

    /// Starts one in a task of its own: what it does meanwhile is the program's business.
    pub(super) fn start_one(&mut self, child: usize) {
        let Some(seat) = self.seats.get_mut(child) else { return };
        seat.taken = Taken::Soon;
        let starting = (seat.child.start)(self.cloister.clone(), self.manager.get_cell());
        let manager = self.manager.clone();
        tokio::spawn(async move {
            let started = starting.await;
            // A manager that is gone takes its children with it.
            let _ = manager.cast(ManagerMessage(Order::ChildStarted { child, started }));
        });
    }

    pub(super) fn started(&mut self, child: usize, started: Result<ActorCell, SpawnErr>) {
        let Some(seat) = self.seats.get_mut(child) else { return };
        match started {
            Ok(actor) => {
                info!(target: TARGET, child = %seat.child.name, actor = %actor.get_id(), "child started");
                seat.taken = Taken::By(actor);
            }
            Err(error) => self.again(child, &error.to_string()),
        }
    }

    /// An actor has ended, by itself if there is no cause. Whether it was a child.
    pub(super) fn ended(&mut self, actor: ActorId, cause: Option<&str>) -> bool {
        let is_it = |seat: &Seat| matches!(&seat.taken, Taken::By(cell) if cell.get_id() == actor);
        let Some(child) = self.seats.iter().position(is_it) else { return false };
        match cause {
            Some(cause) => self.again(child, cause),
            None => self.seats[child].taken = Taken::NoMore,
        }
        true
    }

    /// Stops all, the last one first, and waits for them for a while.
    pub(super) async fn stop(&mut self) {
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        for seat in self.seats.iter_mut().rev() {
            if let Taken::By(actor) = std::mem::replace(&mut seat.taken, Taken::NoMore) {
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                let stopped = actor.stop_and_wait(Some("leaving".to_owned()), Some(left)).await;
                if stopped.is_err() {
                    warn!(target: TARGET, child = %seat.child.name, "child did not stop in time");
                }
            }
        }
    }

    fn again(&mut self, child: usize, cause: &str) {
        let seat = &mut self.seats[child];
        seat.failures += 1;
        seat.taken = Taken::Soon;
        let pause = pause_after(seat.failures);
        warn!(target: TARGET, child = %seat.child.name, cause, ?pause, "child failed and is started again");
        let manager = self.manager.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // A manager that is gone starts nobody.
            let _ = manager.cast(ManagerMessage(Order::StartChild { child }));
        });
    }
}
