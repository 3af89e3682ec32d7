//! The actor that a program supervises, and that supervises everything else.
//!
//! ```text
//! the program's supervisor
//! └─ ManagerActor
//!    ├─ MonitorActor      holds the core
//!    ├─ InboxActor        takes messages by key, and answers other nodes
//!    ├─ links             NodeServer and what keeps connections
//!    └─ children          actors of the program, while the cluster is up
//! ```
//!
//! What the core forgets it must not act upon. So when the monitor or the links fail, the manager begins a new *incarnation* of the node,
//! after a pause that grows. It fails itself, upwards, when that does not help, or when this node must not go on.

mod address_watch;
mod arguments;
mod child;
mod close;
mod identity;
mod incarnation;
#[cfg(test)]
mod mailbox;
mod place;
mod restart;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error::{ExitReason, ListenError};
use crate::messages::{Command, Identity, ManagerMessage};
use crate::telemetry::TARGET;
use child::{Children, Consequence};
use incarnation::{IncarnationRunner, NotBegun};
use restart::pause_after;

pub use arguments::ManagerArguments;
pub use child::ChildSpec;

/// How often in a row an incarnation may fail before the manager does.
const MAX_RESTARTS: u32 = 5;

/// Supervises one node: `Actor::spawn_linked(Some("cloister".into()), ManagerActor, arguments, supervisor)`.
///
/// Stopping it is leaving the cluster in order. When it fails, it can be started again with a clone of the same arguments:
/// handles and listeners go on with the new one.
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// # use std::time::Duration;
/// use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
/// use cloister::ractor_cluster::RactorMessage;
/// use cloister::{Config, ManagerActor, ManagerArguments};
///
/// struct Supervisor;
///
/// #[derive(RactorMessage)]
/// enum SupervisorMessage {}
///
/// impl Actor for Supervisor {
///     type Msg = SupervisorMessage;
///     type State = ManagerArguments;
///     type Arguments = ManagerArguments;
///
///     async fn pre_start(
///         &self,
///         myself: ActorRef<SupervisorMessage>,
///         arguments: ManagerArguments,
///     ) -> Result<ManagerArguments, ActorProcessingErr> {
///         start(&myself, &arguments).await?;
///         Ok(arguments)
///     }
///
///     async fn handle_supervisor_evt(
///         &self,
///         myself: ActorRef<SupervisorMessage>,
///         event: SupervisionEvent,
///         arguments: &mut ManagerArguments,
///     ) -> Result<(), ActorProcessingErr> {
///         match event {
///             // Its panic, or what the cluster cannot go on after. A supervisor worth its name counts.
///             SupervisionEvent::ActorFailed(..) => start(&myself, arguments).await,
///             _ => Ok(()),
///         }
///     }
///
///     async fn post_stop(
///         &self,
///         myself: ActorRef<SupervisorMessage>,
///         _: &mut ManagerArguments,
///     ) -> Result<(), ActorProcessingErr> {
///         // Otherwise the manager would be killed, and the others would miss the goodbye.
///         // Longer than `drain_delay`, `drain_timeout` and `leave_timeout` together.
///         myself.get_cell().stop_children_and_wait(None, Some(Duration::from_secs(30))).await;
///         Ok(())
///     }
/// }
///
/// async fn start(
///     supervisor: &ActorRef<SupervisorMessage>,
///     arguments: &ManagerArguments,
/// ) -> Result<(), ActorProcessingErr> {
///     let name = Some("cloister".to_owned());
///     Actor::spawn_linked(name, ManagerActor, arguments.clone(), supervisor.get_cell()).await?;
///     Ok(())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = ManagerArguments::new(Config::new("shop"))?;
/// let cloister = arguments.handle();
/// let (supervisor, supervised) = Actor::spawn(None, Supervisor, arguments).await?;
/// cloister.wait_until_up(Duration::from_secs(10)).await?;
///
/// supervisor.stop(None);
/// supervised.await?;
/// assert_eq!(cloister.wait_stopped().await, cloister::ExitReason::Left);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ManagerActor;

/// What a manager keeps.
#[derive(Debug)]
pub struct ManagerState {
    arguments: ManagerArguments,
    runner: IncarnationRunner,
    children: Children,
    failures: u32,
    /// Whether the node joins as soon as children run that are started before.
    awaits_children: bool,
    /// The task of a node that was asked to leave, until the manager is stopped. It is dropped with the manager.
    draining: JoinSet<()>,
}

impl Actor for ManagerActor {
    type Msg = ManagerMessage;
    type State = ManagerState;
    type Arguments = ManagerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ManagerMessage>,
        arguments: ManagerArguments,
    ) -> Result<ManagerState, ActorProcessingErr> {
        place::take(&myself.get_cell(), &arguments.shared).await?;
        if let Some(links) = arguments.shared.manage(myself.get_cell()) {
            close::stop(&links).await;
        }
        arguments.shared.define(&arguments.definitions);
        let children = Children::new(arguments.children.clone(), arguments.handle(), myself.clone());
        let runner = IncarnationRunner::new(Arc::clone(&arguments.shared), myself);
        let draining = JoinSet::new();
        Ok(ManagerState { arguments, runner, children, failures: 0, awaits_children: false, draining })
    }

    async fn post_start(
        &self,
        _: ActorRef<ManagerMessage>,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(ended) = state.runner.open_state_file(&state.arguments.config).await {
            return Err(state.fail(ended).await);
        }
        state.identify().await
    }

    async fn handle(
        &self,
        myself: ActorRef<ManagerMessage>,
        message: ManagerMessage,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        match message.0 {
            Command::Leave => {
                state.drain(myself);
                Ok(())
            }
            Command::Identified(identity) => state.begin(identity).await,
            Command::Identify => state.identify().await,
            Command::Moved(cause) => {
                state.moved(cause).await;
                state.identify().await
            }
            Command::Up => {
                state.failures = 0;
                if !state.is_leaving() {
                    state.children.start();
                }
                Ok(())
            }
            Command::ChildStarted { child, started } => {
                let consequence = state.children.started(child, started);
                state.follow(consequence).await
            }
            Command::ChildOver { actor } => match state.children.over(actor) {
                Some(consequence) => state.follow(consequence).await,
                None => Ok(()),
            },
            Command::StartChild { child } => {
                state.children.start_one(child);
                Ok(())
            }
            Command::Failed(ended) => Err(state.fail(ended).await),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<ManagerMessage>,
        event: SupervisionEvent,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, cause) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, Some(error.to_string())),
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                // An actor that was killed has failed.
                (actor, reason.filter(|reason| reason == "killed"))
            }
            _ => return Ok(()),
        };
        if let Some(consequence) = state.children.ended(actor.get_id(), cause.as_deref()) {
            return state.follow(consequence).await;
        }
        if state.runner.owns(actor.get_id()) {
            let cause = cause.unwrap_or_else(|| format!("{actor:?} ended"));
            return state.incarnation_lost(ExitReason::Failed(cause)).await;
        }
        state.arguments.shared.registered().ended(actor.get_id(), cause.as_deref());
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<ManagerMessage>,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        if state.is_leaving() {
            // It has ended, or was given up.
            let _ = state.draining.join_next().await;
        } else {
            // The supervisor stops its manager: from here on no event of a child is handled.
            state.arguments.shared.drain().await;
        }
        state.arguments.shared.registered().unmonitor(&myself.get_cell());
        state.runner.leave(state.children.stop()).await;
        state.arguments.shared.end(ExitReason::Left);
        let node = state.arguments.shared.incarnation().snapshot().state().node.id.name().clone();
        info!(target: TARGET, %node, "left the cluster");
        Ok(())
    }
}

impl ManagerState {
    /// Whether this node was asked to leave.
    fn is_leaving(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Drains while the manager goes on: children that fail meanwhile are started again. Then the manager is stopped.
    fn drain(&mut self, myself: ActorRef<ManagerMessage>) {
        if self.is_leaving() {
            return;
        }
        let shared = Arc::clone(&self.arguments.shared);
        self.draining.spawn(async move {
            shared.drain().await;
            myself.stop(Some(ExitReason::Left.to_string()));
        });
    }

    /// The incarnation of a node that was asked to leave has ended: there is nothing to drain for.
    fn cut_draining_short(&mut self, cause: &str) {
        warn!(target: TARGET, error = cause, "this node leaves before it has drained");
        self.draining.abort_all();
        self.runner.stop_manager();
    }

    /// Finds out the address of this node, at once if nothing has to be looked up, and joins. Waits for the children that run before.
    async fn identify(&mut self) -> Result<(), ActorProcessingErr> {
        if self.is_leaving() {
            return Ok(());
        }
        let awaited = self.children.start_before_joining();
        let has_waited = std::mem::replace(&mut self.awaits_children, awaited.is_some());
        if let Some(child) = awaited {
            self.arguments.shared.trouble(Some(format!("this node joins when child `{child}` has started")));
            return Ok(());
        }
        if has_waited {
            self.arguments.shared.trouble(None);
        }
        match self.arguments.naming.at_once() {
            Some(identity) => self.begin(identity).await,
            None => {
                self.runner.identify(&self.arguments.naming);
                Ok(())
            }
        }
    }

    /// Begins an incarnation under this identity.
    async fn begin(&mut self, identity: Identity) -> Result<(), ActorProcessingErr> {
        if self.is_leaving() {
            return Ok(());
        }
        match self.runner.begin(&self.arguments, &identity).await {
            Ok(()) => Ok(()),
            Err(NotBegun(ExitReason::Listen(error))) if is_final(&error) => {
                Err(self.fail(error.into()).await)
            }
            Err(NotBegun(ended)) => self.incarnation_lost(ended).await,
        }
    }

    /// What follows for the node from the start or the end of a child.
    async fn follow(&mut self, consequence: Consequence) -> Result<(), ActorProcessingErr> {
        match consequence {
            Consequence::None if self.awaits_children => self.identify().await,
            Consequence::None => Ok(()),
            Consequence::BeginAnew { cause, pause } => {
                self.awaits_children = false;
                self.runner.close().await;
                self.arguments.shared.suspend();
                if self.is_leaving() {
                    self.cut_draining_short(&cause);
                    return Ok(());
                }
                warn!(target: TARGET, error = cause, ?pause, "this node begins anew: correct its `error`");
                self.arguments.shared.trouble(Some(cause));
                self.runner.schedule(pause, Command::Identify);
                Ok(())
            }
            Consequence::Fail { cause } => Err(self.fail(ExitReason::Failed(cause)).await),
        }
    }

    /// Ends the incarnation of a node that has another address now. It is as if the process had been restarted.
    async fn moved(&mut self, cause: String) {
        self.runner.close().await;
        self.arguments.shared.suspend();
        if self.is_leaving() {
            return self.cut_draining_short(&cause);
        }
        info!(target: TARGET, error = cause, "this node begins anew");
        self.arguments.shared.trouble(Some(cause));
    }

    /// Begins a new incarnation after a pause, or gives up.
    async fn incarnation_lost(&mut self, ended: ExitReason) -> Result<(), ActorProcessingErr> {
        self.runner.close().await;
        self.arguments.shared.suspend();
        self.failures += 1;
        if self.failures >= MAX_RESTARTS {
            return Err(self.fail(ended).await);
        }
        if self.is_leaving() {
            self.cut_draining_short(&ended.to_string());
            return Ok(());
        }
        let cause = match ended {
            ExitReason::Failed(cause) => cause,
            ended => ended.to_string(),
        };
        let pause = pause_after(self.failures);
        warn!(
            target: TARGET, error = cause, attempt = self.failures, ?pause,
            "this node begins anew, and ends after {MAX_RESTARTS} failures in a row: correct its `error`"
        );
        self.arguments.shared.trouble(Some(cause));
        self.runner.schedule(pause, Command::Identify);
        Ok(())
    }

    /// Gives up: nothing of this node is left behind, and its supervisor hears why.
    async fn fail(&mut self, ended: ExitReason) -> ActorProcessingErr {
        self.runner.close().await;
        self.arguments.shared.suspend();
        self.arguments.shared.end(ended.clone());
        ended.into()
    }
}

/// Whether another attempt to listen is of no use. This process has listened there before. A connection or a socket of an earlier
/// incarnation may still be closing, and a node that was up is worth a few attempts.
fn is_final(error: &ListenError) -> bool {
    error.is_permanent() && !place::has_listened(error.bind)
}
