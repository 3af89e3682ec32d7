//! What a manager is started with.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_config::{CheckedConfig, Config, ConfigSources};
use cloister_discovery::Discovery;
use cloister_proto::MAX_DEFINITIONS;
use tracing::warn;

use super::child::ChildSpec;
use super::identity::{self, IdentityFinder};
use crate::error::{DefinitionError, SetupError};
use crate::handle::{Cloister, Shared};
use crate::placement::RingPlan;
use crate::telemetry::TARGET;

/// What a manager is started with. Clones belong to the same node: start one manager of them at a time.
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// use cloister::{Config, ManagerArguments};
///
/// let arguments = ManagerArguments::new(Config::new("shop"))?.version("1.4.2");
/// // What is registered and subscribed on its handle is there before the node joins.
/// let cloister = arguments.handle();
/// assert_eq!((arguments.config().name.as_str(), cloister.consensus()), ("shop", 1));
/// # Ok::<(), cloister::SetupError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManagerArguments {
    pub(super) config: Arc<Config>,
    pub(super) naming: IdentityFinder,
    pub(super) version: Arc<str>,
    #[cfg(feature = "test-support")]
    pub(super) build: Option<Build>,
    pub(super) shared: Arc<Shared>,
    pub(super) children: Vec<ChildSpec>,
    pub(super) definitions: BTreeMap<String, String>,
}

/// How another build of this crate would introduce its nodes.
#[cfg(feature = "test-support")]
#[derive(Clone, Debug)]
pub(super) struct Build {
    min: u32,
    max: u32,
    beyond: Vec<u8>,
}

#[cfg(feature = "test-support")]
impl Build {
    /// Makes `hello` that of a node of this build.
    pub(super) fn introduce(&self, hello: &mut cloister_proto::Hello) {
        (hello.protocol_min, hello.protocol_max) = (self.min, self.max);
        hello.unknown_fields.clone_from(&self.beyond);
    }
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
        let naming = IdentityFinder::new(&config, seeds, tls);
        let me = identity::provisional(&config)?;
        let plan = RingPlan::new(config.rings.clone());
        let shared = Arc::new(Shared::new(me, plan, &config));
        shared.need(config.consensus_for(naming.seed_kind(None)));
        let (config, version) = (Arc::new(config), Arc::default());
        Ok(Self {
            config,
            naming,
            version,
            #[cfg(feature = "test-support")]
            build: None,
            shared,
            children: Vec::new(),
            definitions: BTreeMap::new(),
        })
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

    /// The version of the application. The others show it: [`Peer::version`](crate::Peer::version), and `GET /members`. Default: none.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Introduces this node as another build would, which speaks these versions of the protocol and says `beyond` in
    /// fields that this one does not know. For tests of rolling updates.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn built_as(mut self, min: u32, max: u32, beyond: Vec<u8>) -> Self {
        self.build = Some(Build { min, max, beyond });
        self
    }

    /// Adds an actor that runs under the manager. It is started when the cluster is up for the first time, and again when it fails. It is
    /// stopped when this node leaves and claims nothing any more. [`ChildSpec::registered`] is one that the other nodes find by its name.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Says how the program of this node defines something that every node must define alike, such as the copies of a table. `name` is
    /// for people, as in `table stock`. `definition` is compared, as in `copies 2, on_loss empty`. What the same name had before is
    /// replaced.
    ///
    /// A node whose program defines the same name differently is refused, as one with other `[rings]` is. Both sides log both definitions,
    /// and `/readyz` of the node that is kept out shows them. What only one of two nodes defines does not keep them apart, so a rolling
    /// update may add and remove definitions.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] if the manager runs already, or has too many.
    ///
    /// ```
    /// # fn example(arguments: &mut cloister_core::ManagerArguments) -> Result<(), cloister_core::DefinitionError> {
    /// // All nodes cut the night into as many jobs.
    /// arguments.define("schedule nightly", "64 jobs")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn define(&mut self, name: &str, definition: &str) -> Result<(), DefinitionError> {
        if self.shared.is_managed() {
            return Err(DefinitionError::Started { node: self.handle().node().name().to_string() });
        }
        if self.definitions.len() >= MAX_DEFINITIONS && !self.definitions.contains_key(name) {
            return Err(DefinitionError::TooMany { max: MAX_DEFINITIONS });
        }
        self.definitions.insert(name.to_owned(), definition.to_owned());
        Ok(())
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The handle. It can be used before the manager runs: a listener that is subscribed now receives every change.
    #[must_use]
    pub fn handle(&self) -> Cloister {
        Cloister::new(Arc::clone(&self.shared))
    }
}
