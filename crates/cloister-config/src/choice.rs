//! Settings with a few choices.

use cloister_proto::{SplitPolicy, TrustRefusal};

use super::problem::ProblemKind;

/// How a node is addressed.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::{Config, Naming};
///
/// let config = Config::new("shop").seeds(["shop"]).naming(Naming::Short);
/// assert_eq!(config.naming.as_str(), "short");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Naming {
    /// The given host; else the own address that the seeds name; else, without seeds, [`Naming::None`].
    #[default]
    Auto,
    /// By IP address or fully qualified name: for nodes in several networks.
    Long,
    /// By host name: where every node resolves the names of all others.
    Short,
    /// Not at all: a single node without a network, which opens no socket.
    None,
}

impl From<Naming> for cloister_discovery::Addressing {
    fn from(naming: Naming) -> Self {
        match naming {
            Naming::Auto => Self::Auto,
            Naming::Long => Self::Long,
            Naming::Short => Self::Short,
            Naming::None => Self::None,
        }
    }
}

impl Naming {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Naming::Auto => "auto",
            Naming::Long => "long",
            Naming::Short => "short",
            Naming::None => "none",
        }
    }
}

/// What to do when the first assembly takes too long.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// use std::time::Duration;
///
/// use cloister::config::{Config, OnAssemblyTimeout};
///
/// let config = Config::new("shop").assembly_timeout(Duration::from_secs(60));
/// let config = config.on_assembly_timeout(OnAssemblyTimeout::Exit);
/// assert_eq!(config.on_assembly_timeout.as_str(), "exit");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnAssemblyTimeout {
    /// Log it, and go on waiting.
    #[default]
    Wait,
    /// The node leaves, and its start returns an error. A program that then ends shows the failure to its supervisor.
    Exit,
}

impl OnAssemblyTimeout {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OnAssemblyTimeout::Wait => "wait",
            OnAssemblyTimeout::Exit => "exit",
        }
    }
}

pub(super) fn naming(word: &str) -> Result<Naming, ProblemKind> {
    choose(word, [Naming::Auto, Naming::Long, Naming::Short, Naming::None].map(|n| (n.as_str(), n)))
}

pub(super) fn on_assembly_timeout(word: &str) -> Result<OnAssemblyTimeout, ProblemKind> {
    choose(word, [OnAssemblyTimeout::Wait, OnAssemblyTimeout::Exit].map(|o| (o.as_str(), o)))
}

pub(super) fn split(word: &str) -> Result<SplitPolicy, ProblemKind> {
    use SplitPolicy::{Consensus, KeepOldest, Majority};
    // What `keep-majority` promised, `majority` holds.
    let word = if word == "keep-majority" { "majority" } else { word };
    choose(word, [Majority, Consensus, KeepOldest].map(|s| (s.as_str(), s)))
}

pub(super) fn trust_refusal(word: &str) -> Result<TrustRefusal, ProblemKind> {
    use TrustRefusal::{Always, Auto, Never};
    choose(word, [Auto, Always, Never].map(|t| (t.as_str(), t)))
}

fn choose<T, const N: usize>(word: &str, choices: [(&'static str, T); N]) -> Result<T, ProblemKind> {
    let words = choices.each_ref().map(|(word, _)| *word);
    choices
        .into_iter()
        .find_map(|(known, choice)| (known == word).then_some(choice))
        .ok_or_else(|| ProblemKind::NotOneOf { choices: words.join(", ") })
}
