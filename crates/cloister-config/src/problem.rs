//! The problems of a configuration: where each is, what it is, and how to fix it.

use std::fmt;
use std::path::PathBuf;

use cloister_discovery::SeedErrorKind;
use cloister_proto::name::MAX_APP_LEN;
use cloister_proto::{SplitPolicy, TimingError};
use thiserror::Error;

use super::keys;
use cloister_net::tls::{CertificateWarning, TlsFileError};

/// Every problem of a configuration, one per line, in the order of the sources.
///
/// `Debug` shows the same lines, because a `main` that returns the error prints them with it.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::{Config, Origin};
///
/// let error = Config::new("shop").port(0).consensus(0).check().unwrap_err();
/// assert_eq!(error.problems.len(), 2);
/// assert!(error.problems.iter().all(|problem| problem.origin == Origin::Code));
/// println!("{error}");
/// ```
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Fails if there are problems.
    pub(super) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "1 problem in the configuration:")?,
            n => write!(f, "{n} problems in the configuration:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One problem: where it is, what was written there, and why that is wrong.
///
/// [`ConfigError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key, if the problem is about one.
    pub key: Option<String>,
    /// What was written; `***` for a secret.
    pub value: Option<String>,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, value, kind } = self;
        match (origin, key, value) {
            // The variable implies the key.
            (Origin::Variable(_), _, Some(value)) => write!(f, "{origin}={value}: {kind}"),
            (Origin::Variable(_), _, None) | (_, None, _) => write!(f, "{origin}: {kind}"),
            (_, Some(key), Some(value)) => write!(f, "{origin}: {key} = {value}: {kind}"),
            (_, Some(key), None) => write!(f, "{origin}: {key}: {kind}"),
        }
    }
}

/// Where a value was written.
///
/// [`ConfigError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// A file as a whole.
    File(PathBuf),
    /// A line of a file.
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// The program itself, or a default.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Code => f.write_str("code"),
        }
    }
}

/// What is wrong with a value. The message says what to write instead.
///
/// [`ConfigError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file that cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Bytes that are not text.
    #[error("is not UTF-8: save it as UTF-8")]
    NotUtf8,
    /// A file that breaks the rules of TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("there is no such key{}", or(nearest, || keys::KEYS.join(", ")))]
    UnknownKey {
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A variable that stands for no key.
    #[error("there is no such variable{}", or(nearest, keys::variables))]
    UnknownVariable {
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A variable with one underscore where there must be two.
    #[error("is not read, it has one underscore where there must be two: write `{meant}`")]
    OneUnderscore {
        /// The variable that it looks like.
        meant: String,
    },
    /// A value of the wrong type.
    #[error("is {found}: write {wanted}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A value where a section must be.
    #[error("must be a section: write {0}")]
    NotASection(&'static str),
    /// A key and its alias together.
    #[error("is another word for `seeds`, which {0} gives as well: remove one")]
    AliasToo(Origin),
    /// An empty value.
    #[error("is empty: give a value or remove it")]
    Empty,
    /// An empty item between two commas.
    #[error("an item of the list is empty: remove it")]
    EmptyItem,
    /// A word that is none of the choices.
    #[error("use one of {choices}")]
    NotOneOf {
        /// The choices.
        choices: String,
    },
    /// Text where a number must be.
    #[error("is not a whole number: write digits only")]
    NotANumber,
    /// Not a port.
    #[error("is not a port: use 1 to 65535")]
    NotAPort,
    /// A consensus of 0, which leaves out this node.
    #[error("this node counts too: use 1 or more")]
    NoConsensus,
    /// A number without a unit where a duration or a size must be.
    #[error("has no unit: write {0}")]
    NoUnit(String),
    /// Not a duration.
    #[error("is not a duration: write hours, minutes, seconds or milliseconds, as in 250ms, 2s or 1m30s")]
    NotADuration,
    /// Not a number of bytes.
    #[error("is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as in 64MiB")]
    NotASize,
    /// A size out of bounds.
    #[error("is out of bounds: use {min} to {max}")]
    SizeOutOfBounds {
        /// The minimum.
        min: &'static str,
        /// The maximum.
        max: &'static str,
    },
    /// A number out of bounds.
    #[error("is out of bounds: use {min} to {max}")]
    NumberOutOfBounds {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
    },
    /// A duration of zero.
    #[error("must be more than zero: write how long it may take, or remove it")]
    NoTime,
    /// A duration over its bound.
    #[error("is too long: the most is {max:?}")]
    TooMuchTime {
        /// The most allowed.
        max: std::time::Duration,
    },
    /// Timing that is out of bounds or inconsistent.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Not a name of an application.
    #[error("is not an application name: use 1 to {MAX_APP_LEN} letters, digits, `-` or `_`")]
    NotAName,
    /// Not a host.
    #[error("is not a host: use an IPv4 or IPv6 address or a DNS name, without a port")]
    NotAHost,
    /// An unspecified address.
    #[error("no other node can reach this address: give one of this machine's own, or remove it")]
    Unspecified,
    /// A loopback address beside seeds on other machines.
    #[error(
        "is reachable from this machine only, but seed {seed} is elsewhere: give an address the others reach"
    )]
    OnlyHere {
        /// The seed.
        seed: String,
    },
    /// A seed that cannot be used.
    #[error(transparent)]
    Seed(#[from] SeedErrorKind),
    /// Too many bytes.
    #[error("is {len} bytes long: use at most {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The maximum.
        max: usize,
    },
    /// Too many items.
    #[error("has {len} items: use at most {max}")]
    TooMany {
        /// Its length.
        len: usize,
        /// The maximum.
        max: usize,
    },
    /// Not a name of a ring.
    #[error("`{0}` is not the name of a ring: use 1 to {MAX_APP_LEN} lower-case letters, digits, `-` or `_`")]
    NotARing(String),
    /// A ring without tags, which would have all members.
    #[error(
        "a ring needs at least one tag, as in `tags = [\"cache\"]`: the ring over all members is there anyway"
    )]
    NoTags,
    /// Not a socket address.
    #[error("is not an IP address with a port: write it as in 127.0.0.1:8080 or [::1]:8080")]
    NotASocket,
    /// Both `cookie` and `cookie_file`.
    #[error("`cookie` is given as well, by {0}: remove one of the two")]
    TwoCookies(Origin),
    /// Some of the files of TLS, but not all three.
    #[error("{0} missing: mutual TLS needs `tls.cert`, `tls.key` and `tls.ca`, give all three or none")]
    TlsLacks(String),
    /// A file of TLS that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// A network for a node without one.
    #[error(
        "`naming = none` means no network, but `{key}` is given as well, by {origin}: remove one of the two"
    )]
    NoNetwork {
        /// What needs a network.
        key: &'static str,
        /// Where that was written.
        origin: Origin,
    },
    /// A consensus that a node without a network never reaches.
    #[error("a node without seeds and host has no network and stays alone: give seeds, or use 1")]
    NeverMet,
    /// A long name where a short one must be.
    #[error("`naming = short` needs a host name without dots, but `host` is {0}: use `naming = long`")]
    NotShort(String),
    /// A short name where a long one must be.
    #[error("`naming = long` needs an IP address or a full name, but `host` is {0}: use `naming = short`")]
    NotLong(String),
    /// An action on a timeout that is not set.
    #[error("never comes to pass without a limit: give `assembly_timeout` as well")]
    NoTimeout,
}

impl ProblemKind {
    /// Says which keys of TLS are missing, if any are.
    pub(super) fn tls_lacks(missing: &[&str]) -> Option<Self> {
        match missing {
            [] => None,
            [one] => Some(ProblemKind::TlsLacks(format!("`{one}` is"))),
            some => {
                let some: Vec<_> = some.iter().map(|key| format!("`{key}`")).collect();
                Some(ProblemKind::TlsLacks(format!("{} are", some.join(" and "))))
            }
        }
    }
}

fn or(nearest: &Option<String>, all: impl FnOnce() -> String) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; there are {}", all()),
    }
}

/// A setting that is valid but probably a mistake.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::{Config, Warning};
///
/// let seeds = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
/// let warnings = Config::new("shop").seeds(seeds).consensus(2).check()?;
/// assert!(matches!(warnings[..], [Warning::BothHalves { consensus: 2, .. }]));
/// # Ok::<(), cloister::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A consensus of at most half of the listed nodes: both halves of a split network reach it. Under [`SplitPolicy::Majority`] that counts while
    /// the nodes start.
    BothHalves {
        /// Where it was written.
        origin: Origin,
        /// As configured.
        consensus: usize,
        /// How many nodes are listed.
        seeds: usize,
        /// What decides after a split.
        split: SplitPolicy,
    },
    /// More nodes are needed than are listed.
    MoreThanListed {
        /// Where it was written.
        origin: Origin,
        /// As configured.
        consensus: usize,
        /// How many nodes are listed.
        seeds: usize,
    },
    /// A certificate that other nodes reject, or will reject soon.
    Certificate {
        /// Where it was written.
        origin: Origin,
        /// The file with the certificate.
        path: PathBuf,
        /// What is wrong with it.
        problem: CertificateWarning,
    },
    /// A state file that is not used.
    StateFileUnused {
        /// Where it was written.
        origin: Origin,
        /// As configured.
        split: SplitPolicy,
    },
    /// A file with a secret that others may read or change.
    Exposed {
        /// Where it was written.
        origin: Origin,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::BothHalves { origin, consensus, seeds, split } => {
                let halves = match split {
                    SplitPolicy::Majority => {
                        "both halves of a network that is split while they start may be up at once"
                    }
                    _ => "both halves of a split network may be up at once",
                };
                write!(
                    f,
                    "{origin}: consensus = {consensus} is not more than half of the {seeds} seeds: {halves}; use {} or more",
                    seeds / 2 + 1
                )
            }
            Warning::MoreThanListed { origin, consensus, seeds } => write!(
                f,
                "{origin}: consensus = {consensus} is more than the {seeds} seeds and this node: the cluster is not up \
                 before nodes join that no seed names"
            ),
            Warning::Certificate { origin, path, problem } => {
                write!(f, "{origin}: the certificate in {} {problem}", path.display())
            }
            Warning::StateFileUnused { origin, split } => write!(
                f,
                "{origin}: state_file is of no use with split = {}: only `majority` goes by what it keeps",
                split.as_str()
            ),
            Warning::Exposed { origin, key, path, mode } => write!(
                f,
                "{origin}: {key} = {}: users other than its owner may read or change this secret (mode {mode:04o}): run `chmod \
                 600` on it; in Kubernetes set `defaultMode: 0400` on the volume of the secret, and `fsGroup` for a \
                 process that is not root",
                quoted(&path.display().to_string())
            ),
        }
    }
}

/// The longest value that is shown in full, in characters.
const SHOWN: usize = 80;

/// A value for a message: on one line, and shortened.
pub(super) fn shown(value: &str) -> String {
    cloister_proto::text::sanitize_to(value, SHOWN)
}

/// A text for a message, in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}
