//! Everything that can be configured, with its defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use cloister_proto::{CommonSettings, SplitPolicy, Timing, TrustRefusal};

use super::choice::{Naming, OnAssemblyTimeout};
use super::keys;
use super::parsed::Parsed;
use super::problem::{Origin, Problem, ProblemKind};
use super::secret::Secret;
use super::tls::Tls;

/// The port for other nodes, unless another is configured.
///
/// [`Config`] has an example.
pub const DEFAULT_PORT: u16 = 4370;

/// How many bytes may wait to be sent to one peer, unless it is configured.
const DEFAULT_LINK_BYTES: u64 = 64 << 20;

/// The default of [`Config::drain_timeout`].
const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// How many calls may wait for an owner, unless it is configured.
const DEFAULT_WAITING_CALLS: usize = 16_384;

/// How many bytes of them, unless it is configured.
const DEFAULT_WAITING_BYTES: u64 = 64 << 20;

/// The name of an application that has none.
const DEFAULT_NAME: &str = "cloister";

/// Everything that can be configured.
///
/// Read the fields, and set them by the methods of the same names. The methods record that code set the value, so that
/// [`Config::check`] reports the right origin. A `Config` that was loaded has been checked; one that was built in code has not.
///
/// The first start after a load or a check uses what that has read of the files of TLS, unless their names have changed since.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use std::time::Duration;
///
/// use cloister::config::{Config, DEFAULT_PORT};
///
/// let config = Config::new("shop")
///     .seeds(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
///     .cookie("correct horse")
///     .tags(["cache"])
///     .ring("cache", ["cache"])
///     .drain_delay(Duration::from_secs(5));
/// assert!(config.check()?.is_empty());
/// assert_eq!(config.port_or_default(), DEFAULT_PORT);
/// # Ok::<(), cloister::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The name of the application: 1 to 63 letters, digits, `-` or `_`. Nodes of other names are rejected.
    ///
    /// Default: the program's file name. Give one where programs of several names form one cluster, or where
    /// several clusters run the same program.
    pub name: String,
    /// Where to look for peers, as written: one service name, or a list of `host` or `host:port`. A host without a
    /// port has [`Config::port`].
    ///
    /// Default: none, a node of its own. Use a service name where containers come and go, a list for fixed hosts.
    pub seeds: Vec<String>,
    /// How many nodes must be connected before the cluster is up for the first time, this one included; at least 1.
    ///
    /// Default: see [`Config::consensus_for`]. Under [`SplitPolicy::Majority`], the default, later views need a majority of the cluster,
    /// and not this number. Under [`SplitPolicy::Consensus`] and [`SplitPolicy::KeepOldest`] every later view needs as many. Configure more
    /// than half of all nodes that ever run at once there, or both halves of a split network may be up.
    pub consensus: Option<usize>,
    /// The IP address or DNS name at which the others reach this node, without a port.
    ///
    /// Default: found out from the seeds. Give one where a node has several addresses or sits behind a NAT.
    pub host: Option<String>,
    /// The port at which the others reach this node, 1 to 65535; `None` if it is not configured.
    ///
    /// Default: the port that a list of seeds gives for this node, else [`DEFAULT_PORT`]. The same everywhere is best.
    pub port: Option<u16>,
    /// How the node is addressed. Default: [`Naming::Auto`], which fits unless it says otherwise.
    pub naming: Naming,
    /// The secret that all nodes share, not empty, at most 4096 bytes.
    ///
    /// Default: none. Any process that reaches the port and knows the application's name may then join.
    /// [`Config::shared_secret`] returns it, and also looks into [`Config::cookie_file`].
    pub cookie: Option<Secret>,
    /// A file with that secret, instead of [`Config::cookie`]; one newline at its end is left out. A relative path
    /// starts at the current directory. Made for mounted secrets of Docker and Kubernetes.
    pub cookie_file: Option<PathBuf>,
    /// The files for mutual TLS between the nodes. Default: none, and nothing between the nodes is encrypted.
    pub tls: Tls,
    /// Words that describe this node to the others: at most 32, of at most 64 bytes each. Default: none.
    pub tags: Vec<String>,
    /// How long the first assembly may take, more than zero; then [`Config::on_assembly_timeout`] decides.
    ///
    /// Default: for ever, which is right where an orchestrator starts the nodes in any order.
    pub assembly_timeout: Option<Duration>,
    /// What to do when [`Config::assembly_timeout`] is over. Default: [`OnAssemblyTimeout::Wait`].
    pub on_assembly_timeout: OnAssemblyTimeout,
    /// How long a node that is asked to leave serves as before, while `/readyz` already says 503: an hour at most. Then
    /// `Cloister::wait_draining` returns and the drain hooks begin. Default: none.
    ///
    /// Behind a load balancer it should be longer than the balancer takes to notice. A server that stops at once resets connections that
    /// the balancer is just opening.
    pub drain_delay: Duration,
    /// How long the drain hooks of the program may take at most, once they have begun: an hour at most; zero starts them
    /// and does not wait. Default: 10 s.
    ///
    /// An orchestrator that kills a process which does not stop must give it longer than `drain_delay`, this and
    /// `timing.leave_timeout` together.
    pub drain_timeout: Duration,
    /// Which part goes on when the network splits. Default: [`SplitPolicy::Majority`], which needs no number.
    pub split: SplitPolicy,
    /// A file in which a node keeps the last views over a restart of its process, for [`SplitPolicy::Majority`]. With it, a process that
    /// restarts where it does not hear its cluster begins no second one. Its directory must exist; in a container it is a mounted volume.
    /// Each node needs a file of its own, which is never copied. A relative path starts at the current directory.
    ///
    /// Default: none. A process that restarts has forgotten its cluster.
    pub state_file: Option<PathBuf>,
    /// How long things take; the same on all nodes. [`Timing`] tells each default and [`Timing::problems`] the
    /// relations. To notice a dead host in half the time, halve the first three.
    pub timing: Timing,
    /// Whether an address that refuses proves that the process there has ended. If it does, what the process owned is shared out at once
    /// and not when its lease has ended. Set [`TrustRefusal::Never`] where something may refuse for a node that lives: a firewall that
    /// rejects, a proxy, a sidecar.
    ///
    /// Default: [`TrustRefusal::Auto`].
    pub trust_refusal: TrustRefusal,
    /// How many bytes may wait to be sent to one peer, 16 MiB to 1 TiB; past that, messages to it are refused.
    ///
    /// Default: 64 MiB. More where bursts are longer than the network is fast, less where memory is short.
    pub link_bytes: u64,
    /// How many calls by key may wait for an owner, 1 to 16 777 216; past that, calls fail at once. It bounds two numbers. One is the calls
    /// of this node that wait until they can be sent. The other is the messages of all nodes that this node keeps until it owns their key
    /// or their actor runs again.
    ///
    /// Default: 16 384. A node that sends `n` calls a second has `n` × the longest round of them waiting.
    pub waiting_calls: usize,
    /// How many bytes the calls of [`Config::waiting_calls`] may have, on each side, 16 MiB to 1 TiB.
    ///
    /// Default: 64 MiB.
    pub waiting_bytes: u64,
    /// How many bytes the keys and values of all tables and entities of this node may have, 16 MiB to 1 TiB. The copies that it keeps for
    /// others count, and so do the answers of writes, which are kept until their senders have them. Past that, it refuses writes to what it
    /// owns that need more; reads and removals go on.
    ///
    /// Default: no limit. What they cost beside their bytes, and the rest of the program, need memory, too: half of it is a good limit.
    pub table_bytes: Option<u64>,
    /// Rings besides the one over all members: name → tags, of which a member must carry all. Names are 1 to 63
    /// lower-case letters, digits, `-` or `_`; at least one tag each. Default: none.
    pub rings: BTreeMap<String, Vec<String>>,
    /// Where the admin HTTP server listens. Default: nowhere. It has no password: keep it on a loopback or
    /// cluster-internal address.
    pub admin_listen: Option<SocketAddr>,
    /// Public host names that the admin HTTP server accepts in requests. It also accepts those that `host` and `seeds` name, and names that
    /// cannot be registered, such as `localhost`, `app` or `app.shop.svc.cluster.local`. Default: none. A request for another name is
    /// rejected, so that no web page reads it through a browser. Give the name that a proxy passes on.
    pub admin_hosts: Vec<String>,
    /// Which source set a key last; [`Origin::Code`] if it is missing.
    pub(super) origins: BTreeMap<String, Origin>,
    /// Where each seed was written, if it has an origin of its own.
    pub(super) seed_origins: Vec<Origin>,
    /// What the last check has parsed.
    pub(super) parsed: Parsed,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            seeds: Vec::new(),
            consensus: None,
            host: None,
            port: None,
            naming: Naming::default(),
            cookie: None,
            cookie_file: None,
            tls: Tls::default(),
            tags: Vec::new(),
            assembly_timeout: None,
            on_assembly_timeout: OnAssemblyTimeout::default(),
            drain_delay: Duration::ZERO,
            drain_timeout: DEFAULT_DRAIN,
            split: SplitPolicy::default(),
            state_file: None,
            timing: Timing::default(),
            trust_refusal: TrustRefusal::default(),
            link_bytes: DEFAULT_LINK_BYTES,
            waiting_calls: DEFAULT_WAITING_CALLS,
            waiting_bytes: DEFAULT_WAITING_BYTES,
            table_bytes: None,
            rings: BTreeMap::new(),
            admin_listen: None,
            admin_hosts: Vec::new(),
            origins: BTreeMap::new(),
            seed_origins: Vec::new(),
            parsed: Parsed::default(),
        }
    }
}

impl Config {
    /// A configuration in code, with defaults for all but the name. Reads neither file nor environment.
    pub fn new(name: impl Into<String>) -> Self {
        Self::default().name(name)
    }

    /// The configured port, or [`DEFAULT_PORT`].
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// The settings that all nodes of a cluster should have alike, with this number for `consensus`.
    ///
    /// ```
    /// # mod cloister { pub use ::cloister_config as config; }
    /// use std::num::NonZeroUsize;
    ///
    /// use cloister::config::Config;
    ///
    /// let settings = Config::new("shop").common_settings(NonZeroUsize::MIN);
    /// assert_eq!(settings.settings()["timing.lease"], "2s");
    /// ```
    #[must_use]
    pub fn common_settings(&self, consensus: NonZeroUsize) -> CommonSettings {
        let time = |span: Duration| format!("{span:?}");
        let Timing { heartbeat_every, unreachable_after, lease, settle, rehash_timeout, leave_timeout } =
            self.timing;
        let settings = [
            ("consensus", consensus.to_string()),
            ("split", self.split.as_str().to_owned()),
            ("timing.heartbeat_every", time(heartbeat_every)),
            ("timing.unreachable_after", time(unreachable_after)),
            ("timing.lease", time(lease)),
            ("timing.settle", time(settle)),
            ("timing.rehash_timeout", time(rehash_timeout)),
            ("timing.leave_timeout", time(leave_timeout)),
            ("timing.trust_refusal", self.trust_refusal.as_str().to_owned()),
        ];
        CommonSettings::new(settings, &self.rings)
    }

    /// Where the value of a key was written; [`Origin::Code`] if it was not.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Code)
    }

    pub(super) fn problem(&self, key: &str, value: Option<String>, kind: ProblemKind) -> Problem {
        Problem { origin: self.origin(key), key: Some(key.to_owned()), value, kind }
    }

    fn by_code(mut self, key: &str) -> Self {
        self.origins.insert(key.to_owned(), Origin::Code);
        self
    }
}

/// Setters for code. [`Config::check`] reports wrong values.
impl Config {
    /// Sets [`Config::name`].
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.by_code("name")
    }

    /// Sets [`Config::seeds`].
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds = seeds.into_iter().map(Into::into).collect();
        self.seed_origins = Vec::new();
        self.by_code("seeds")
    }

    /// Sets [`Config::consensus`].
    #[must_use]
    pub fn consensus(mut self, consensus: usize) -> Self {
        self.consensus = Some(consensus);
        self.by_code("consensus")
    }

    /// Sets [`Config::host`].
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self.by_code("host")
    }

    /// Sets [`Config::port`].
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self.by_code("port")
    }

    /// Sets [`Config::naming`].
    #[must_use]
    pub fn naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self.by_code("naming")
    }

    /// Sets [`Config::cookie`].
    #[must_use]
    pub fn cookie(mut self, cookie: impl Into<Secret>) -> Self {
        self.cookie = Some(cookie.into());
        self.by_code("cookie")
    }

    /// Sets [`Config::cookie_file`].
    #[must_use]
    pub fn cookie_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cookie_file = Some(path.into());
        self.by_code("cookie_file")
    }

    /// Sets the three files of [`Config::tls`]: this node's certificate, the key of it, and the authorities that are trusted.
    #[must_use]
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>, ca: impl Into<PathBuf>) -> Self {
        self.tls = Tls {
            cert: Some(cert.into()),
            key: Some(key.into()),
            ca: Some(ca.into()),
            server_name: self.tls.server_name,
        };
        keys::TLS_FILES.iter().fold(self, |config, key| config.by_code(key))
    }

    /// Sets [`Tls::server_name`].
    #[must_use]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self.by_code("tls.server_name")
    }

    /// Sets [`Config::tags`].
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self.by_code("tags")
    }

    /// Sets [`Config::assembly_timeout`].
    #[must_use]
    pub fn assembly_timeout(mut self, timeout: Duration) -> Self {
        self.assembly_timeout = Some(timeout);
        self.by_code("assembly_timeout")
    }

    /// Sets [`Config::on_assembly_timeout`].
    #[must_use]
    pub fn on_assembly_timeout(mut self, then: OnAssemblyTimeout) -> Self {
        self.on_assembly_timeout = then;
        self.by_code("on_assembly_timeout")
    }

    /// Sets [`Config::drain_delay`].
    #[must_use]
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self.by_code("drain_delay")
    }

    /// Sets [`Config::drain_timeout`].
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self.by_code("drain_timeout")
    }

    /// Sets [`Config::split`].
    #[must_use]
    pub fn split(mut self, split: SplitPolicy) -> Self {
        self.split = split;
        self.by_code("split")
    }

    /// Sets [`Config::state_file`].
    #[must_use]
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self.by_code("state_file")
    }

    /// Sets [`Config::timing`], all six times of it.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        keys::TIMES.iter().fold(self, |config, key| config.by_code(key))
    }

    /// Sets [`Config::trust_refusal`].
    #[must_use]
    pub fn trust_refusal(mut self, trust: TrustRefusal) -> Self {
        self.trust_refusal = trust;
        self.by_code("timing.trust_refusal")
    }

    /// Sets [`Config::link_bytes`].
    #[must_use]
    pub fn link_bytes(mut self, bytes: u64) -> Self {
        self.link_bytes = bytes;
        self.by_code("limits.link_bytes")
    }

    /// Sets [`Config::waiting_calls`].
    #[must_use]
    pub fn waiting_calls(mut self, calls: usize) -> Self {
        self.waiting_calls = calls;
        self.by_code("limits.waiting_calls")
    }

    /// Sets [`Config::waiting_bytes`].
    #[must_use]
    pub fn waiting_bytes(mut self, bytes: u64) -> Self {
        self.waiting_bytes = bytes;
        self.by_code("limits.waiting_bytes")
    }

    /// Sets [`Config::table_bytes`].
    #[must_use]
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.table_bytes = Some(bytes);
        self.by_code("limits.table_bytes")
    }

    /// Adds one of [`Config::rings`].
    #[must_use]
    pub fn ring(
        mut self,
        name: impl Into<String>,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let name = name.into();
        let key = keys::ring(&name);
        self.rings.insert(name, tags.into_iter().map(Into::into).collect());
        self.by_code(&key)
    }

    /// Sets [`Config::admin_listen`].
    #[must_use]
    pub fn admin_listen(mut self, listen: SocketAddr) -> Self {
        self.admin_listen = Some(listen);
        self.by_code("admin.listen")
    }

    /// Sets [`Config::admin_hosts`].
    #[must_use]
    pub fn admin_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.admin_hosts = hosts.into_iter().map(Into::into).collect();
        self.by_code("admin.hosts")
    }
}
