//! Which address is this node's own.
//!
//! [`decide`] is a pure function of its [`Inputs`]; [`self_address()`] fills them in from the machine and from one lookup of the
//! seeds. "Own" is an address of one of this machine's interfaces, or a loopback address.
//!
//! | naming | `host` | seeds | the node is known by |
//! |---|---|---|---|
//! | `none` | any | any | nothing: [`Identity::Standalone`], no socket |
//! | `auto`, `long` | set | any | `host` (`long`: an IP address or a name with a dot) |
//! | `auto` | – | none | nothing: [`Identity::Standalone`], no socket |
//! | `auto`, `long` | – | a list, this machine is in it | the own address in the list |
//! | `auto`, `long` | – | a list, this machine is not in it | the address from which the kernel reaches the list |
//! | `auto`, `long` | – | a service, its answer has an own address | that address; the lowest of several |
//! | `auto`, `long` | – | a service, its answer has none, or there is none | [`Identity::Pending`]: look again |
//! | `long` | – | none | the machine's name if it has a dot, else its only routable IPv4 address, else its only IPv6 one |
//! | `short` | set or – | any | `host`, or the machine's name up to the first dot |
//!
//! The port is `port` if it was given; else the one written beside the own host in the list; else the default. If a list has several
//! entries on this machine (`127.0.0.1:4370, 127.0.0.1:4371`) the given `port` picks one. A port that is none of theirs makes a node
//! outside the list. What remains open is [`SelfAddressError::Ambiguous`], which names the candidates.
//!
//! Never advertised: `0.0.0.0` and `::`, multicast, IPv6 link-local addresses, and loopback addresses beside seeds
//! that are not loopback.
//!
//! ```
//! use cloister_discovery::self_address::{Addressing, Identity, Inputs, SeedLookup, Settings, decide};
//! use cloister_discovery::{LookupResult, Seeds};
//!
//! let settings = Settings { naming: Addressing::Auto, host: None, port: None, default_port: 4370 };
//! let seeds = Seeds::parse("10.0.0.1, 10.0.0.2", 4370).unwrap();
//! let looked_up = seeds.iter().map(|seed| {
//!     let address = seed.host().and_then(|entry| entry.socket());
//!     SeedLookup { seed: seed.clone(), outcome: Ok(LookupResult::addresses(address)) }
//! });
//! let inputs = Inputs {
//!     settings,
//!     seeds: looked_up.collect(),
//!     interfaces: vec!["10.0.0.2".parse().unwrap()],
//!     source: None,
//!     host_name: "node-b".to_owned(),
//! };
//! assert!(matches!(decide(&inputs), Ok(Identity::Network { host, port: 4370, .. }) if host == "10.0.0.2"));
//! ```

mod decide;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::{DiscoveryError, Host, HostError, LookupResult, Resolver, Seed, SeedKind, Seeds, interfaces};

pub use decide::{decide, own_entries};

/// How a node is addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addressing {
    /// As the seeds make it evident: alone without seeds, by IP address otherwise.
    #[default]
    Auto,
    /// By an IP address or a fully qualified name.
    Long,
    /// By a host name without a domain: all nodes must be able to resolve it.
    Short,
    /// Not at all: a single node without a network.
    None,
}

/// What a user has set about this node's own address.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the node is to be addressed.
    pub naming: Addressing,
    /// The host to be known by, as written: an IP address or a name.
    pub host: Option<String>,
    /// The port to listen on, if it was given.
    pub port: Option<u16>,
    /// The port to listen on otherwise.
    pub default_port: u16,
}

/// A seed, and what its lookup gave.
#[derive(Clone, Debug)]
pub struct SeedLookup {
    /// The seed.
    pub seed: Seed,
    /// Its outcome.
    pub outcome: Result<LookupResult, DiscoveryError>,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What the user has set.
    pub settings: Settings,
    /// The seeds, each looked up.
    pub seeds: Vec<SeedLookup>,
    /// The addresses of this machine's interfaces.
    pub interfaces: Vec<IpAddr>,
    /// The address from which the kernel reaches the seeds, if it knows a route.
    pub source: Option<IpAddr>,
    /// The name of this machine, with or without a domain.
    pub host_name: String,
}

/// How other nodes address this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// A node without a network: no address, no socket.
    Standalone,
    /// A node of a network.
    Network {
        /// What other nodes dial: an IP address without brackets, or a name.
        host: String,
        /// The port that other nodes dial.
        port: u16,
        /// Where to listen. `[::]` stands for both families (`IPV6_V6ONLY` off). It and `0.0.0.0` are used only where the node is known by
        /// a name, or by an address that no interface has (behind NAT).
        bind: SocketAddr,
    },
    /// Not known yet: look up again. With a consensus of 1 the node may run alone meanwhile.
    Pending {
        /// What is missing.
        reason: PendingReason,
    },
}

/// Why the address of a node is not known yet. The next lookup may find it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PendingReason {
    /// Some seeds gave no address, and none of the others is this node.
    #[error("no seed names this machine yet: {}; if none ever will, set `host`", .seeds.join("; "))]
    Unresolved {
        /// The outcome of each of them.
        seeds: Vec<String>,
    },
    /// A service has addresses, but none of this machine.
    #[error(
        "`{service}` names {}, but none of this machine's addresses ({}): in Kubernetes set `publishNotReadyAddresses: true` on the headless service, elsewhere set `host`",
        list(.answer), list(.own)
    )]
    NotInAnswer {
        /// The seed.
        service: String,
        /// The addresses that it has.
        answer: Vec<SocketAddr>,
        /// This machine's usable addresses.
        own: Vec<IpAddr>,
    },
    /// This machine is not in the list and has no route to it.
    #[error("this machine is not in the list {} and has no route to it: wait for the network, or set `host`", .seeds.join(", "))]
    NoRoute {
        /// The list.
        seeds: Vec<String>,
    },
}

/// Settings that are ambiguous or contradictory. Another lookup does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SelfAddressError {
    /// More than one address fits.
    #[error("this node may be any of {}: set `host` or `port` to one of them", list(.candidates))]
    Ambiguous {
        /// What fits.
        candidates: Vec<String>,
    },
    /// Other machines cannot dial the given `host`.
    #[error("`host`: {0}")]
    Host(#[from] HostError),
    /// The given `host` means another machine on each machine, and the seeds are on others.
    #[error(
        "`host` is `{host}`, which the peers on other machines ({peer}) cannot dial: set the address that they see"
    )]
    Loopback {
        /// The host.
        host: String,
        /// A seed that is not on this machine.
        peer: String,
    },
    /// The given `host` does not fit to `naming`.
    #[error("`host` is `{host}`, but `naming = {naming}` needs {needs}: change one of the two")]
    Form {
        /// The host.
        host: String,
        /// The naming.
        naming: &'static str,
        /// What would fit.
        needs: &'static str,
    },
    /// This machine has no name that fits.
    #[error("this machine is called `{0}`, which is not a host name: set `host`")]
    HostName(String),
    /// This machine has no address that others could dial.
    #[error(
        "this machine has no address but loopback and link-local ones: connect it to a network, or set `host`"
    )]
    NoAddress,
    /// The interfaces cannot be read.
    #[error("cannot read this machine's interfaces: {0}; set `host`")]
    Interfaces(String),
}

/// Looks the seeds up once, asks the machine, and decides.
///
/// Takes as long as one lookup. Without seeds, and with a host and a port given, it needs none.
/// Call it again after [`Identity::Pending`].
///
/// # Errors
///
/// [`SelfAddressError`] if the settings are ambiguous or contradictory, or if the interfaces cannot be read.
pub async fn self_address(
    settings: Settings,
    seeds: &Seeds,
    resolver: &Resolver,
) -> Result<Identity, SelfAddressError> {
    decide(&ask(settings, seeds, resolver, false).await?)
}

/// As [`self_address()`], and how many entries of a list are this node, by whatever name. The count is 0 if the list does not name it, and
/// `None` if an entry that may name it cannot be looked up now.
///
/// Where host and port are given, the names in a list are looked up for this count only, unless one of them is the given host.
///
/// # Errors
///
/// As for [`self_address()`].
pub async fn in_list(
    settings: Settings,
    seeds: &Seeds,
    resolver: &Resolver,
) -> Result<(Identity, Option<usize>), SelfAddressError> {
    let inputs = ask(settings, seeds, resolver, true).await?;
    let identity = decide(&inputs)?;
    let entries = own_entries(&inputs, &identity);
    Ok((identity, entries))
}

/// Looks up what the decision depends on, and, if `each` is set, which entries of a list are this node.
async fn ask(
    settings: Settings,
    seeds: &Seeds,
    resolver: &Resolver,
    each: bool,
) -> Result<Inputs, SelfAddressError> {
    let is_host_known = settings.host.is_some() || settings.naming == Addressing::Short;
    let is_port_known = settings.port.is_some() || seeds.kind() == SeedKind::Service;
    let is_known = settings.naming == Addressing::None || is_host_known && is_port_known;
    let is_list = settings.naming != Addressing::None && matches!(seeds.kind(), SeedKind::List(_));
    let outcomes = if is_known && !(each && is_list && !names_itself(&settings, seeds)) {
        seeds.iter().map(|_| Ok(LookupResult::empty())).collect()
    } else {
        seeds.lookup_each(resolver).await
    };
    let seeds = seeds.iter().cloned().zip(outcomes);
    inputs(settings, seeds).map_err(|error| SelfAddressError::Interfaces(error.to_string()))
}

/// Whether an entry of the list is the given host and port, as written.
fn names_itself(settings: &Settings, seeds: &Seeds) -> bool {
    let Some(host) = settings.host.as_deref().and_then(|host| Host::parse(host).ok()) else { return false };
    let port = settings.port.unwrap_or(settings.default_port);
    seeds.iter().filter_map(Seed::host).any(|entry| entry.host == host && entry.port.number() == port)
}

/// The present state of the machine, with seeds that were looked up before.
///
/// For callers that have looked the seeds up already.
///
/// # Errors
///
/// The operating system cannot list the interfaces.
pub fn inputs(
    settings: Settings,
    seeds: impl IntoIterator<Item = (Seed, Result<LookupResult, DiscoveryError>)>,
) -> io::Result<Inputs> {
    let seeds: Vec<_> = seeds.into_iter().map(|(seed, outcome)| SeedLookup { seed, outcome }).collect();
    let peers =
        seeds.iter().filter_map(|lookup| lookup.outcome.as_ref().ok()).flat_map(LookupResult::sockets);
    let source =
        peers.filter(|peer| !peer.ip().is_loopback()).find_map(|peer| interfaces::source_ip_for(*peer));
    Ok(Inputs {
        settings,
        seeds,
        interfaces: interfaces::addresses()?,
        source,
        host_name: interfaces::host_name(),
    })
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The name of a naming in messages.
impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Long => "long",
            Self::Short => "short",
            Self::None => "none",
        })
    }
}

fn is_fqdn(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.trim_end_matches('.').contains('.'))
}
