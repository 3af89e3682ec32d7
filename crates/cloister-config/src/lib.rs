//! The configuration from a file, the environment and code. An error lists every problem at once.
//!
//! ```
//! # mod cloister { pub use ::cloister_config as config; }
//! use cloister::config::Config;
//!
//! let config = Config::new("shop").seeds(["10.0.0.1", "10.0.0.2"]).consensus(2);
//! let warnings = config.check()?;
//! # assert!(warnings.is_empty());
//! # Ok::<(), cloister::config::ConfigError>(())
//! ```
//!
//! [`Config::load`] reads `cloister.toml` in the current directory if there is one, or the file that
//! `CLOISTER__CONFIG` names, which must exist. The environment goes over the file, code goes over both:
//!
//! ```no_run
//! # mod cloister { pub use ::cloister_config as config; }
//! use cloister::config::{Config, ConfigSources};
//!
//! let config = Config::load_from(ConfigSources::from_process().overrides(|config| config.tags(["cache"])))?;
//! # Ok::<(), cloister::config::ConfigError>(())
//! ```
//!
//! Two underscores stand between the levels of a key in a variable. Kubernetes gives every pod a `CLOISTER_PORT` of its own when a service
//! is called `cloister`: that means nothing here. Any other variable that would be a key with two underscores, such as `CLOISTER_SEEDS`, is
//! refused. Lists are separated by commas, and an empty one is none. Any other variable that is empty is refused, since more often than not
//! it was meant to be set. Durations have units: `250ms`, `2s`, `1m30s`; so have sizes: `64MiB`.
//!
//! | key | environment | default | meaning |
//! |---|---|---|---|
//! | `name` | `CLOISTER__NAME` | file name of the program | name of the application; only nodes of one name form a cluster |
//! | `seeds` (or `sentry`) | `CLOISTER__SEEDS` | none | where to look for peers: a service name, or a list of `host` or `host:port` |
//! | `consensus` | `CLOISTER__CONSENSUS` | 1 without seeds, majority of a list and this node, 3 for a service name or a strategy of your own | how many nodes must be connected before the cluster is up for the first time |
//! | `host` | `CLOISTER__HOST` | found out from the seeds | IP address or DNS name at which the others reach this node |
//! | `port` | `CLOISTER__PORT` | the one that the list of seeds gives for this node, else `4370` | port for the other nodes |
//! | `naming` | `CLOISTER__NAMING` | `auto` | how the node is addressed: `auto`, `long` (IP address or full name), `short` (host name), `none` (no network) |
//! | `cookie` | `CLOISTER__COOKIE` | none | secret that all nodes share |
//! | `cookie_file` | `CLOISTER__COOKIE_FILE` | none | file with that secret, instead of `cookie` |
//! | `tls.cert` | `CLOISTER__TLS__CERT` | none | PEM file with the certificate of this node; it, `tls.key` and `tls.ca` together mean mutual TLS |
//! | `tls.key` | `CLOISTER__TLS__KEY` | none | PEM file with the private key of that certificate |
//! | `tls.ca` | `CLOISTER__TLS__CA` | none | PEM file with the certificate of the authority that signs all nodes, or of several |
//! | `tls.server_name` | `CLOISTER__TLS__SERVER_NAME` | the `name` above | name that the certificate of every node must carry |
//! | `tags` | `CLOISTER__TAGS` | none | words that describe this node; rings choose their members by them |
//! | `assembly_timeout` | `CLOISTER__ASSEMBLY_TIMEOUT` | none | how long the first assembly may take |
//! | `on_assembly_timeout` | `CLOISTER__ON_ASSEMBLY_TIMEOUT` | `wait` | what to do then. `wait`: log what is missing, and go on. `exit`: the node leaves, and `start` returns `StartError::NotUp`; the process goes on |
//! | `drain_delay` | `CLOISTER__DRAIN_DELAY` | `0s` | how long a node that is asked to leave serves as before while `/readyz` says 503, so that load balancers stop first |
//! | `drain_timeout` | `CLOISTER__DRAIN_TIMEOUT` | `10s` | how long the drain hooks of the program may take before the node leaves |
//! | `split` | `CLOISTER__SPLIT` | `majority` | which part goes on when the network splits: `majority`, `consensus`, `keep-oldest` |
//! | `state_file` | `CLOISTER__STATE_FILE` | none | file, on a disk that outlives the process, in which a node keeps the last views over a restart; for `split = majority` |
//! | `timing.heartbeat_every` | `CLOISTER__TIMING__HEARTBEAT_EVERY` | `500ms` | how often a node tells its peers that it lives |
//! | `timing.unreachable_after` | `CLOISTER__TIMING__UNREACHABLE_AFTER` | `3s` | after how long a silence a peer counts as gone |
//! | `timing.lease` | `CLOISTER__TIMING__LEASE` | `2s` | how long the word of the others lets a node act as sentry or owner |
//! | `timing.settle` | `CLOISTER__TIMING__SETTLE` | `20ms` | how long to wait for more newcomers before taking them in |
//! | `timing.rehash_timeout` | `CLOISTER__TIMING__REHASH_TIMEOUT` | `10s` | how long listeners may hold a new view at most |
//! | `timing.leave_timeout` | `CLOISTER__TIMING__LEAVE_TIMEOUT` | `15s` | how long a node that leaves stays linked at most, until the others have taken over; longer than `timing.rehash_timeout` |
//! | `timing.trust_refusal` | `CLOISTER__TIMING__TRUST_REFUSAL` | `auto` | whether an address that refuses proves that the process there has ended: `auto` (not of a node whose `host` is no address of its machine), `true`, `false` |
//! | `limits.link_bytes` | `CLOISTER__LIMITS__LINK_BYTES` | `64MiB` | how many bytes may wait to be sent to one peer; past that, messages to it fail with `Overloaded` |
//! | `limits.waiting_calls` | `CLOISTER__LIMITS__WAITING_CALLS` | `16384` | how many calls by key may wait for an owner, at their sender and at the node that keeps them until it owns the key. Past that, calls fail with `TooManyWaiting` |
//! | `limits.waiting_bytes` | `CLOISTER__LIMITS__WAITING_BYTES` | `64MiB` | how many bytes these calls may have, on each side |
//! | `limits.table_bytes` | `CLOISTER__LIMITS__TABLE_BYTES` | no limit | how many bytes the keys and values of all tables and entities may have on this node, with its copies and with answers that are kept for a while. Past that, writes that need more fail with `TableError::Full` |
//! | `rings.<name>.tags` | `CLOISTER__RINGS__<NAME>__TAGS` | no further rings | a ring over the members that carry all of these tags |
//! | `admin.listen` | `CLOISTER__ADMIN__LISTEN` | off | `address:port` of the admin HTTP server; `[::]` for all addresses of both families |
//! | `admin.hosts` | `CLOISTER__ADMIN__HOSTS` | none | public names under which the admin HTTP server may be asked, besides those of the node and its seeds |

mod check;
mod checked;
mod choice;
mod env;
mod file;
mod keys;
mod layer;
mod load;
mod parsed;
mod problem;
mod secret;
mod seeds;
mod set;
mod settings;
mod size;
mod tls;

use std::num::NonZeroUsize;

pub use checked::CheckedConfig;
pub use choice::{Naming, OnAssemblyTimeout};
pub use cloister_discovery::SeedKind;
pub use cloister_net::tls::{CertificateWarning, TlsFileError};
// Its `Timestamp` is what `CertificateWarning` has.
pub use jiff;
pub use keys::KEYS;
pub use load::ConfigSources;
pub use problem::{ConfigError, Origin, Problem, ProblemKind, Warning};
pub use secret::Secret;
pub use settings::{Config, DEFAULT_PORT};
pub use tls::Tls;

impl Config {
    /// Loads the configuration from `cloister.toml` and the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(ConfigSources::from_process())
    }

    /// Loads the configuration from these sources.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn load_from(sources: ConfigSources) -> Result<Self, ConfigError> {
        CheckedConfig::load_from(sources).map(CheckedConfig::into_config)
    }

    /// Checks the configuration and returns warnings. It reads the cookie file and the files of TLS.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] has every problem, each with its origin.
    pub fn check(&self) -> Result<Vec<Warning>, ConfigError> {
        CheckedConfig::read_anew(self.clone()).map(|checked| checked.keep_parsed().1)
    }

    /// How many nodes must be connected, as configured. The default is 1 without seeds, the majority of a list and this node, and 3 for a
    /// service name, whose size is not known beforehand. The number of nodes in [`SeedKind::List`] includes this node, whether the list
    /// names it or not.
    pub fn consensus_for(&self, seeds: SeedKind) -> NonZeroUsize {
        self.consensus.and_then(NonZeroUsize::new).unwrap_or_else(|| seeds::default_consensus(seeds))
    }

    /// The hosts and names of the seeds, without ports; none if a seed cannot be used. The admin HTTP server may be asked under these.
    ///
    /// ```
    /// # mod cloister { pub use ::cloister_config as config; }
    /// use cloister::config::Config;
    ///
    /// let config = Config::new("shop").seeds(["10.0.0.1", "shop.internal:4371"]);
    /// assert_eq!(config.seed_names(), ["10.0.0.1", "shop.internal"]);
    /// ```
    #[must_use]
    pub fn seed_names(&self) -> Vec<String> {
        seeds::names(self)
    }

    /// The secret that all nodes share, from [`Config::cookie`] or [`Config::cookie_file`], if there is one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read or holds no secret.
    pub fn shared_secret(&self) -> Result<Option<Secret>, ConfigError> {
        match &self.cookie_file {
            Some(path) => load::read_secret(path).map(Some).map_err(|kind| {
                let shown = Some(problem::quoted(&path.display().to_string()));
                ConfigError { problems: vec![self.problem("cookie_file", shown, kind)] }
            }),
            None => Ok(self.cookie.clone()),
        }
    }
}
