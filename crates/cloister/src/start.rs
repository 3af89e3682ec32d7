//! Joining a cluster in one line.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cloister_core::config::{ConfigError, OnAssemblyTimeout};
use cloister_core::ractor::{Actor, ActorCell, SpawnErr};
use cloister_core::{
    AlreadyRunning, Cloister, Config, ExitReason, ManagerActor, ManagerArguments, NotUpError, SetupError,
};
use thiserror::Error;
use tracing::warn;

use crate::signals::{self, Ending};

/// The name under which the manager is registered in ractor.
const MANAGER: &str = "cloister";

/// How often a node that waits for others says what is missing.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// Why a node did not come up. Its `Debug` is its message, which is what a `main` that returns it prints.
///
/// [`start`] has an example.
#[derive(Error)]
#[non_exhaustive]
pub enum StartError {
    /// It is configured wrongly; nothing was started.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Another node runs in this process; nothing was started.
    #[error(transparent)]
    AlreadyRunning(#[from] AlreadyRunning),
    /// The manager could not be started: an actor of the program has its name, `cloister`.
    #[error("the manager could not be started: {0}; leave the name `cloister` to it")]
    Spawn(SpawnErr),
    /// The admin server cannot listen; nothing was started, or the node has left again.
    #[error("admin.listen: cannot listen on {address}: {cause}")]
    Admin {
        /// Where it should listen.
        address: std::net::SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Too few nodes came together within `assembly_timeout`, and the configuration says to give up; the node has left again.
    #[error(transparent)]
    NotUp(#[from] NotUpError),
    /// The node cannot go on.
    #[error(transparent)]
    Ended(#[from] ExitReason),
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SpawnErr> for StartError {
    fn from(error: SpawnErr) -> Self {
        match error {
            SpawnErr::StartupFailed(cause) => match cause.downcast::<AlreadyRunning>() {
                Ok(running) => Self::AlreadyRunning(*running),
                Err(cause) => Self::Spawn(SpawnErr::StartupFailed(cause)),
            },
            // The name of the manager belongs to the node that runs, or to an actor of the program.
            error => AlreadyRunning::now().map_or(Self::Spawn(error), Self::AlreadyRunning),
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        SetupError::from(error).into()
    }
}

/// Joins the cluster that `cloister.toml` and the environment describe, and returns when this node is up.
///
/// Without any configuration it is one node without a network, up at once. Otherwise it waits for the others: for ever, or for
/// `assembly_timeout` if `on_assembly_timeout = "exit"`. The admin server, if there is one, answers from the beginning.
/// SIGTERM and SIGINT leave the cluster in order, see [`signals`].
///
/// A caller that stops waiting, for example by a time-out of its own, leaves nothing behind. The node leaves in the background, and the
/// signal handler and the admin server end with it. A process is one node: a second start fails until the first node has left.
///
/// # Errors
///
/// [`StartError`] says why the node did not come up. The node has then left again, or was not started.
///
/// ```no_run
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let cloister = cloister::start().await?;
///     // … the program, as long as the cluster lasts …
///     match cloister.wait_stopped().await {
///         cloister::ExitReason::Left => Ok(()),
///         failed => Err(failed.into()),
///     }
/// }
/// ```
pub async fn start() -> Result<Cloister, StartError> {
    start_with_arguments(ManagerArguments::load()?).await
}

/// As [`start`], with a configuration of one's own: for example `Config::new("shop")`, or [`Config::load`] with changes.
///
/// # Errors
///
/// As [`start`].
///
/// ```
/// use cloister::Config;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cloister = cloister::start_with(Config::new("shop").tags(["memory"])).await?;
/// assert!(cloister.is_mine("user:42"));
/// cloister.leave().await;
/// # Ok(())
/// # }
/// ```
pub async fn start_with(config: Config) -> Result<Cloister, StartError> {
    start_with_arguments(ManagerArguments::new(config)?).await
}

/// As [`start`], after preparations: what is registered and subscribed on the handle of `arguments` is there before this node
/// joins. A store must be, since the others hand over its part while the node comes in.
///
/// # Errors
///
/// As [`start`], but for the configuration, which [`ManagerArguments`] has checked.
///
/// ```
/// use cloister::ractor::Actor;
/// # use cloister::ractor::{ActorProcessingErr, ActorRef};
/// # use cloister::Message;
/// use cloister::{Config, ManagerArguments, StateChange};
/// # struct Store;
/// # #[derive(Message)]
/// # #[message(local)]
/// # struct Changed(StateChange);
/// # impl From<StateChange> for Changed {
/// #     fn from(change: StateChange) -> Self {
/// #         Self(change)
/// #     }
/// # }
/// # impl Actor for Store {
/// #     type Msg = Changed;
/// #     type State = ();
/// #     type Arguments = ();
/// #     async fn pre_start(&self, _: ActorRef<Changed>, (): ()) -> Result<(), ActorProcessingErr> {
/// #         Ok(())
/// #     }
/// # }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = ManagerArguments::new(Config::new("shop"))?;
/// let (store, _) = Actor::spawn(None, Store, ()).await?;
/// arguments.handle().subscribe(&store);
/// let cloister = cloister::start_with_arguments(arguments).await?;
/// # cloister.leave().await;
/// # Ok(())
/// # }
/// ```
pub async fn start_with_arguments(arguments: ManagerArguments) -> Result<Cloister, StartError> {
    // This start may be given up, too, while it waits: then the next one waits for the same node.
    let given_up = GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((number, before)) = given_up {
        before.leave().await;
        let mut given_up = GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.take_if(|(latest, _)| *latest == number);
    }
    let cloister = arguments.handle();
    let config = arguments.config().clone();
    // A port that is taken is an error before the others hear of this node.
    let admin = AdminListener::bind(&config)?;
    let (manager, _) = Actor::spawn(Some(MANAGER.to_owned()), ManagerActor, arguments).await?;
    let started = Started(Some((manager.get_cell(), cloister.clone())));
    let ending = signals::attend(&cloister, ended(manager.get_cell()));
    let up = async {
        admin.serve(&cloister, &config, manager.get_cell())?;
        assemble(&cloister, &config, &ending).await
    };
    match up.await {
        Ok(()) => {
            started.keep();
            Ok(cloister)
        }
        Err(error) => {
            cloister.leave().await;
            started.keep();
            Err(error)
        }
    }
}

/// The last node whose start was given up, and the number of its manager. It leaves, and the next start waits for that.
static GIVEN_UP: Mutex<Option<(u64, Cloister)>> = Mutex::new(None);

/// A node that is being started. Dropped before it is up, it leaves in the background.
struct Started(Option<(ActorCell, Cloister)>);

impl Started {
    /// It is up, or has left.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some((manager, cloister)) = self.0.take() {
            manager.stop(Some("the start was given up".to_owned()));
            let given_up = (manager.get_id().pid(), cloister);
            *GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner) = Some(given_up);
        }
    }
}

/// Waits until the manager has ended.
async fn ended(manager: ActorCell) {
    // Without a time-out it cannot fail.
    let _ = manager.wait(None).await;
}

/// The socket of the admin server, if there is to be one.
#[cfg(feature = "admin")]
struct AdminListener(Option<crate::admin::Listener>);

#[cfg(feature = "admin")]
impl AdminListener {
    /// Listens, unless a node of this process still has a port of its own: the manager says whether that one is waited for.
    fn bind(config: &Config) -> Result<Self, StartError> {
        let listener = match config.admin_listen {
            Some(_) if AlreadyRunning::now().is_some() => None,
            Some(address) => Some(listen(address)?),
            None => None,
        };
        Ok(Self(listener))
    }

    /// Answers until the manager has ended.
    fn serve(self, cloister: &Cloister, config: &Config, manager: ActorCell) -> Result<(), StartError> {
        let Some(address) = config.admin_listen else { return Ok(()) };
        let listener = match self.0 {
            Some(listener) => listener,
            None => listen(address)?,
        };
        listener.serve(cloister, Some(config), ended(manager));
        Ok(())
    }
}

#[cfg(feature = "admin")]
fn listen(address: std::net::SocketAddr) -> Result<crate::admin::Listener, StartError> {
    crate::admin::Listener::bind(address).map_err(|cause| StartError::Admin { address, cause })
}

#[cfg(not(feature = "admin"))]
struct AdminListener;

#[cfg(not(feature = "admin"))]
impl AdminListener {
    fn bind(config: &Config) -> Result<Self, StartError> {
        if let Some(address) = config.admin_listen {
            warn!(local_addr = %address, "admin.listen is set, but this program was built without the feature `admin`");
        }
        Ok(Self)
    }

    fn serve(self, _: &Cloister, _: &Config, _: ActorCell) -> Result<(), StartError> {
        Ok(())
    }
}

/// Waits until the node is up, or gives up as configured.
async fn assemble(cloister: &Cloister, config: &Config, ending: &Ending) -> Result<(), StartError> {
    let (mut limit, exits) = match config.assembly_timeout {
        Some(limit) => (limit, config.on_assembly_timeout == OnAssemblyTimeout::Exit),
        None => (REMIND_EVERY, false),
    };
    loop {
        let Err(not_up) = cloister.wait_until_up(limit).await else { return Ok(()) };
        match not_up.ended {
            // The handler of the signal ends the process within a moment, with status 0.
            Some(ExitReason::Left) if ending.ends_process().await => return std::future::pending().await,
            Some(ended) => return Err(ended.into()),
            None => {}
        }
        if exits {
            return Err(not_up.into());
        }
        warn!(reason = %not_up, "waiting for others");
        limit = REMIND_EVERY;
    }
}
