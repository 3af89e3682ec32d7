//! The actor that a program supervises, and that supervises everything else.
//!
//! ```text
//! the program's supervisor
//! └─ ManagerActor
//!    ├─ MonitorActor      holds the core
//!    ├─ ServiceActor      answers other nodes
//!    ├─ links             NodeServer and what keeps connections
//!    └─ children          actors of the program, while the cluster is up
//! ```
//!
//! What the core forgets it must not act upon: when the monitor or the links fail, the manager begins a new *life*, with
//! a new incarnation, after a pause that grows. It fails itself, upwards, when that does not help, or when
//! this node must not go on.

mod address_watch;
mod child;
mod identity;
mod life;
mod place;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cloister_discovery::Discovery;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tracing::{info, warn};

use crate::error::{ExitReason, ListenError, SetupError};
use crate::handle::{Cloister, Shared};
use crate::messages::{Command, Identity, ManagerMessage};
use crate::placement::RingPlan;
use crate::telemetry::TARGET;
use child::Children;
use cloister_config::{CheckedConfig, Config, ConfigSources};
use identity::Naming;
use life::{IncarnationRunner, NotBegun};

pub use child::ChildSpec;

/// How often in a row a life may fail before the manager does.
const MAX_RESTARTS: u32 = 5;

/// Supervises one node: `Actor::spawn_linked(Some("cloister".into()), ManagerActor, arguments, supervisor)`.
///
/// Stopping it is leaving the cluster in order. When it fails, it can be started again with a clone of the same arguments:
/// handles and listeners go on with the new one.
///
/// ```
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
///         myself.get_cell().stop_children_and_wait(None, Some(Duration::from_secs(10))).await;
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

/// What a manager is started with. Clones belong to the same node: start one manager of them at a time.
#[derive(Clone, Debug)]
pub struct ManagerArguments {
    config: Arc<Config>,
    naming: Naming,
    version: Arc<str>,
    build: Option<Build>,
    shared: Arc<Shared>,
    children: Vec<ChildSpec>,
}

/// How another build of this crate would introduce its nodes.
#[derive(Clone, Debug)]
struct Build {
    least: u32,
    most: u32,
    beyond: Vec<u8>,
}

impl ManagerArguments {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`SetupError`] has everything that is wrong with it.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        Self::checked(CheckedConfig::new(config)?)
    }

    /// As [`ManagerArguments::new`], with the configuration of this process: see [`Config::load`].
    ///
    /// # Errors
    ///
    /// [`SetupError`] has everything that is wrong with it.
    pub fn load() -> Result<Self, SetupError> {
        Self::checked(CheckedConfig::load_from(ConfigSources::from_process())?)
    }

    /// As [`ManagerArguments::new`], with a configuration that has been checked: no file is read again.
    ///
    /// # Errors
    ///
    /// [`SetupError::Name`] if the name of the application is none.
    pub fn checked(checked: CheckedConfig) -> Result<Self, SetupError> {
        for warning in checked.warnings() {
            warn!(target: TARGET, "{warning}");
        }
        let (config, seeds, tls) = checked.into_parts();
        let naming = Naming::new(&config, seeds, tls);
        let me = identity::provisional(&config)?;
        let plan = RingPlan::new(config.rings.clone());
        let shared = Arc::new(Shared::new(me, plan, config.split, config.timing.leave_timeout));
        shared.need(config.consensus_for(naming.seed_kind(None)));
        let (config, version) = (Arc::new(config), Arc::default());
        Ok(Self { config, naming, version, build: None, shared, children: Vec::new() })
    }

    /// Looks for peers by `strategy`, too. Unless configured, `consensus` is then 3, as for a service name.
    ///
    /// A strategy is anything that knows addresses; [`discovery`](crate::discovery) shows how one is written.
    #[must_use]
    pub fn discovery(mut self, strategy: impl Discovery) -> Self {
        self.naming.strategies.push(Arc::new(strategy));
        self.shared.need(self.config.consensus_for(self.naming.seed_kind(None)));
        self
    }

    /// The version of the application, which the others show to people.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Introduces this node as another build would, which speaks these versions of the protocol and says `beyond` in
    /// fields that this one does not know. For tests of rolling updates, and no part of the interface.
    #[doc(hidden)]
    #[must_use]
    pub fn built_as(mut self, least: u32, most: u32, beyond: Vec<u8>) -> Self {
        self.build = Some(Build { least, most, beyond });
        self
    }

    /// Adds an actor that runs under the manager: started when the cluster is up for the first time, started again when it
    /// fails, stopped before this node leaves. [`ChildSpec::registered`] is one that the other nodes find by its name.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The handle; of use before the manager runs, too: whoever subscribes now hears everything.
    pub fn handle(&self) -> Cloister {
        Cloister::new(Arc::clone(&self.shared))
    }
}

/// What a manager keeps.
#[derive(Debug)]
pub struct ManagerState {
    arguments: ManagerArguments,
    keeper: IncarnationRunner,
    children: Children,
    failures: u32,
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
            life::stop(&links).await;
        }
        let children = Children::new(arguments.children.clone(), arguments.handle(), myself.clone());
        let keeper = IncarnationRunner::new(Arc::clone(&arguments.shared), myself);
        Ok(ManagerState { arguments, keeper, children, failures: 0 })
    }

    async fn post_start(
        &self,
        _: ActorRef<ManagerMessage>,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(ended) = state.keeper.open_state_file(&state.arguments.config).await {
            return Err(state.fail(ended).await);
        }
        state.identify().await
    }

    async fn handle(
        &self,
        _: ActorRef<ManagerMessage>,
        message: ManagerMessage,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        match message.0 {
            Command::Identified(identity) => state.begin(identity).await,
            Command::Identify => state.identify().await,
            Command::Moved(address) => {
                state.moved(address).await;
                state.identify().await
            }
            Command::Up => {
                state.failures = 0;
                state.children.start();
                Ok(())
            }
            Command::ChildStarted { child, started } => {
                state.children.started(child, started);
                Ok(())
            }
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
        let (who, cause) = match event {
            SupervisionEvent::ActorFailed(who, error) => (who, Some(error.to_string())),
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                // An actor that was killed did not end by its own will.
                (who, reason.filter(|reason| reason == "killed"))
            }
            _ => return Ok(()),
        };
        if state.children.ended(who.get_id(), cause.as_deref()) {
            return Ok(());
        }
        if state.keeper.owns(who.get_id()) {
            let cause = cause.unwrap_or_else(|| format!("{who:?} ended"));
            return state.life_lost(ExitReason::Failed(cause)).await;
        }
        state.arguments.shared.registered().ended(who.get_id(), cause.as_deref());
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<ManagerMessage>,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.shared.registered().unmonitor(&myself.get_cell());
        state.children.stop().await;
        state.keeper.leave().await;
        state.arguments.shared.end(ExitReason::Left);
        info!(target: TARGET, "left");
        Ok(())
    }
}

impl ManagerState {
    /// Finds out who this node is, at once if nothing has to be looked up.
    async fn identify(&mut self) -> Result<(), ActorProcessingErr> {
        match self.arguments.naming.at_once() {
            Some(identity) => self.begin(identity).await,
            None => {
                self.keeper.identify(&self.arguments.naming);
                Ok(())
            }
        }
    }

    /// Begins a life under this identity.
    async fn begin(&mut self, identity: Identity) -> Result<(), ActorProcessingErr> {
        match self.keeper.begin(&self.arguments, &identity).await {
            Ok(()) => Ok(()),
            Err(NotBegun(ExitReason::Listen(error))) if is_final(&error) => {
                Err(self.fail(error.into()).await)
            }
            Err(NotBegun(ended)) => self.life_lost(ended).await,
        }
    }

    /// Ends the life of a node whose machine has another address now. It is as if the process had been restarted.
    async fn moved(&mut self, address: IpAddr) {
        self.keeper.close().await;
        self.arguments.shared.suspend();
        let cause =
            format!("{address}, which this node was known by, is no longer an address of this machine");
        warn!(target: TARGET, cause, "this node begins anew");
        self.arguments.shared.trouble(Some(cause));
    }

    /// Begins a new life after a pause, or gives up.
    async fn life_lost(&mut self, ended: ExitReason) -> Result<(), ActorProcessingErr> {
        self.keeper.close().await;
        self.arguments.shared.suspend();
        self.failures += 1;
        if self.failures >= MAX_RESTARTS {
            return Err(self.fail(ended).await);
        }
        let cause = match ended {
            ExitReason::Failed(cause) => cause,
            ended => ended.to_string(),
        };
        let pause = pause_after(self.failures);
        warn!(target: TARGET, cause, attempt = self.failures, ?pause, "this node begins anew");
        self.arguments.shared.trouble(Some(cause));
        self.keeper.schedule(pause, Command::Identify);
        Ok(())
    }

    /// Gives up: nothing of this node is left behind, and its supervisor hears why.
    async fn fail(&mut self, ended: ExitReason) -> ActorProcessingErr {
        self.keeper.close().await;
        self.arguments.shared.suspend();
        self.arguments.shared.end(ended.clone());
        ended.into()
    }
}

/// Whether another attempt to listen is of no use. It is where this process has listened before: a connection or a socket of
/// an earlier life may still be closing, and a node that was up is worth a few attempts.
fn is_final(error: &ListenError) -> bool {
    error.is_permanent() && !place::has_listened(error.bind)
}

/// Why an actor did not start, without the words that ractor puts around it.
fn cause_of(error: SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// 100 ms after the first failure, twice as long after each further one, 5 s at most.
fn pause_after(failures: u32) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(5);
    LEAST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MOST)
}
