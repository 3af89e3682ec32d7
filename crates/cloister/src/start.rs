//! Joining a cluster in one line.

use std::fmt;
use std::time::Duration;

use cloister_core::config::{ConfigError, OnAssemblyTimeout};
use cloister_core::ractor::{Actor, SpawnErr};
use cloister_core::{Cloister, Config, Ended, ManagerActor, ManagerArguments, NotUp, SetupError};
use thiserror::Error;
use tracing::warn;

use crate::signals;

/// The name under which the manager is registered in ractor.
const MANAGER: &str = "cloister";

/// How often a node that waits for others says what is missing.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// Why a node did not come up. Its `Debug` is its message, which is what a `main` that returns it prints.
#[derive(Error)]
#[non_exhaustive]
pub enum StartError {
    /// It is configured wrongly; nothing was started.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The manager could not be started; most likely one runs already, and a process can be one node only.
    #[error("the manager could not be started: {0}; is another one running in this process?")]
    Spawn(#[from] SpawnErr),
    /// The admin server cannot listen; the node has left again.
    #[error("admin.listen: cannot listen on {address}: {cause}")]
    Admin {
        /// Where it should listen.
        address: std::net::SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Too few nodes came together within `assembly_timeout`, and the configuration says to give up; the node has left again.
    #[error(transparent)]
    NotUp(#[from] NotUp),
    /// The node cannot go on.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
/// ```no_run
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let cloister = cloister::start().await?;
///     // … the program, as long as the cluster lasts …
///     match cloister.stopped().await {
///         cloister::Ended::Left => Ok(()),
///         failed => Err(failed.into()),
///     }
/// }
/// ```
pub async fn start() -> Result<Cloister, StartError> {
    start_with(Config::load()?).await
}

/// As [`start`], with a configuration of one's own: for example `Config::new("shop")`, or [`Config::load`] with changes.
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
    start_prepared(ManagerArguments::new(config)?).await
}

/// As [`start`], after preparations: what is registered and subscribed on the handle of `arguments` is there before this node
/// joins. A store must be, since the others hand over its part while the node comes in.
///
/// ```
/// use cloister::ractor::Actor;
/// # use cloister::ractor::{ActorProcessingErr, ActorRef};
/// # use cloister::ractor_cluster::RactorMessage;
/// use cloister::{Config, ManagerArguments, StateChange};
/// # struct Store;
/// # #[derive(RactorMessage)]
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
/// let cloister = cloister::start_prepared(arguments).await?;
/// # cloister.leave().await;
/// # Ok(())
/// # }
/// ```
pub async fn start_prepared(arguments: ManagerArguments) -> Result<Cloister, StartError> {
    let cloister = arguments.handle();
    let config = arguments.config().clone();
    Actor::spawn(Some(MANAGER.to_owned()), ManagerActor, arguments).await?;
    signals::leave_on_signal(&cloister);
    let up = async {
        serve_admin(&cloister, &config).await?;
        assemble(&cloister, &config).await
    };
    match up.await {
        Ok(()) => Ok(cloister),
        Err(error) => {
            cloister.leave().await;
            Err(error)
        }
    }
}

#[cfg(feature = "admin")]
async fn serve_admin(cloister: &Cloister, config: &Config) -> Result<(), StartError> {
    let Some(address) = config.admin_listen else { return Ok(()) };
    let server = crate::admin::serve(cloister, address).await;
    server.map(drop).map_err(|cause| StartError::Admin { address, cause })
}

#[cfg(not(feature = "admin"))]
async fn serve_admin(_: &Cloister, config: &Config) -> Result<(), StartError> {
    if let Some(address) = config.admin_listen {
        warn!(%address, "admin.listen is set, but this program was built without the feature `admin`");
    }
    Ok(())
}

/// Waits until the node is up, or gives up as configured.
async fn assemble(cloister: &Cloister, config: &Config) -> Result<(), StartError> {
    let (mut limit, exits) = match config.assembly_timeout {
        Some(limit) => (limit, config.on_assembly_timeout == OnAssemblyTimeout::Exit),
        None => (REMIND_EVERY, false),
    };
    loop {
        let Err(not_up) = cloister.wait_until_up(limit).await else { return Ok(()) };
        match not_up.ended {
            // Only a signal can have asked for that: its handler ends the process within a moment, with status 0.
            Some(Ended::Left) => return std::future::pending().await,
            Some(ended) => return Err(ended.into()),
            None => {}
        }
        if exits {
            return Err(not_up.into());
        }
        warn!(cause = %not_up, "waiting for others");
        limit = REMIND_EVERY;
    }
}
