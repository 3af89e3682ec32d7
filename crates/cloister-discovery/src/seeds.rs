//! The seeds as a user writes them, parsed and checked.

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;

use crate::resolver::DNS_PORT;
use crate::{
    Discovery, DiscoveryError, Dns, Entry, Host, HostError, List, LookupResult, Resolver, Srv,
    SystemResolver, Union, join,
};

/// The longest seed, in bytes: a DNS name with a port and the name of a strategy.
const MAX_SEED_LEN: usize = 300;

/// Every mistake in a list of seeds, in its order.
///
/// ```
/// use cloister_discovery::{SeedErrorKind, Seeds};
///
/// let errors = Seeds::parse("10.0.0.1, zeroconf:shop, ,", 4370).unwrap_err();
/// assert!(matches!(errors.0[0].kind, SeedErrorKind::Scheme { .. }));
/// assert_eq!(errors.0[0].place, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
#[non_exhaustive]
pub struct SeedErrors(pub Vec<SeedError>);

/// One seed that cannot be used.
///
/// [`SeedErrors`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("seed {place}: `{seed}` {kind}")]
#[non_exhaustive]
pub struct SeedError {
    /// Its position in the list, counted from 1.
    pub place: usize,
    /// What was written.
    pub seed: String,
    /// What is wrong with it.
    pub kind: SeedErrorKind,
}

/// What is wrong with a seed, and what to write instead.
///
/// [`SeedErrors`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeedErrorKind {
    /// Nothing between two commas.
    #[error("is empty: remove the comma, or write a host or a service name")]
    Empty,
    /// No host or service has such a long name.
    #[error("is {len} bytes long: use at most {MAX_SEED_LEN}")]
    TooLong {
        /// How many bytes it has.
        len: usize,
    },
    /// Not a host.
    #[error("{}", .0.advice())]
    Host(HostError),
    /// A scheme that does not exist.
    #[error(
        "begins with `{scheme}:`, which is no way to find nodes: use `dns:`, `srv:`, `system:` or `list:`"
    )]
    Scheme {
        /// What was written before the colon.
        scheme: String,
    },
    /// An IP address where a name is needed.
    #[error("is an IP address, and `{scheme}:` needs a name: leave `{scheme}:` out")]
    NotAName {
        /// The scheme.
        scheme: &'static str,
    },
    /// A port for SRV records, which carry their own.
    #[error("gives a port, but SRV records carry their own: leave the port out")]
    PortOfSrv,
    /// Not the address of a name server.
    #[error("has not the address of a name server after the `@`: write `@10.0.0.53` or `@10.0.0.53:53`")]
    Server,
    /// The same seed again: the length of a list is taken for the number of nodes.
    #[error(
        "is the same as seed {first}: write it once, the length of the list is taken for the number of nodes"
    )]
    Twice {
        /// Where it is first.
        first: usize,
    },
}

/// One seed.
///
/// ```
/// use cloister_discovery::{Seed, Seeds};
///
/// let seeds = Seeds::parse("10.0.0.1:4371, dns:shop", 4370)?;
/// assert_eq!(seeds.iter().map(Seed::name).collect::<Vec<_>>(), ["10.0.0.1", "shop"]);
/// assert_eq!(seeds.iter().filter_map(Seed::host).count(), 1);
/// # Ok::<(), cloister_discovery::SeedErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seed {
    /// One host of a list.
    Host(Entry),
    /// A service name: every address is a node.
    Service {
        /// Name and port; the host is always a name.
        entry: Entry,
        /// The name server to ask instead of the system's.
        server: Option<SocketAddr>,
    },
    /// SRV records.
    Srv {
        /// The name, with or without `_cloister._tcp.`.
        name: String,
        /// The name server to ask instead of the system's.
        server: Option<SocketAddr>,
    },
    /// A name for the system's resolver: every address is a node.
    System(Entry),
}

impl Seed {
    /// The strategy that looks this seed up; `resolver` is used where the seed names no server of its own.
    #[must_use]
    pub fn strategy(&self, resolver: &Resolver) -> Box<dyn Discovery> {
        let resolver = |server: Option<SocketAddr>| match server {
            Some(server) => Resolver::servers([server]).with_deadline(resolver.deadline()),
            None => resolver.clone(),
        };
        match self {
            Self::Host(entry) => Box::new(List::new([entry.clone()]).with_resolver(resolver(None))),
            Self::Service { entry, server } => Box::new(
                Dns::new(entry.host.to_string(), entry.port.number()).with_resolver(resolver(*server)),
            ),
            Self::Srv { name, server } => Box::new(Srv::new(name).with_resolver(resolver(*server))),
            Self::System(entry) => Box::new(
                SystemResolver::new(entry.host.to_string(), entry.port.number())
                    .with_deadline(resolver(None).deadline()),
            ),
        }
    }

    /// The host, if this is one of a list.
    #[must_use]
    pub fn host(&self) -> Option<&Entry> {
        match self {
            Self::Host(entry) => Some(entry),
            Self::Service { .. } | Self::Srv { .. } | Self::System(_) => None,
        }
    }

    /// The host, or the name that is looked up: without a port and without a name server.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Host(entry) | Self::Service { entry, .. } | Self::System(entry) => entry.host.to_string(),
            Self::Srv { name, .. } => name.clone(),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self {
            Self::Host(entry) => return entry.fmt(f),
            Self::System(entry) => return write!(f, "system:{entry}"),
            Self::Service { entry, server } => {
                write!(f, "dns:{entry}")?;
                server
            }
            Self::Srv { name, server } => {
                write!(f, "srv:{name}")?;
                server
            }
        };
        server.map_or(Ok(()), |server| write!(f, "@{server}"))
    }
}

/// What kind of seeds a node has. It is known before any of them is looked up.
///
/// [`Seeds`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeedKind {
    /// No seeds: a node of its own.
    None,
    /// A list of that many nodes.
    List(usize),
    /// At least one service name, behind which any number of nodes may be.
    Service,
}

/// Where to look for peers.
///
/// | text | meaning |
/// |---|---|
/// | *(nothing)* | no peers |
/// | `app`, `app:4370` | a single name is a service: each of its addresses is a node |
/// | `10.0.0.1`, `[fd00::1]:4370`, `localhost:4370` | a list of one host |
/// | `a:4370, b:4370` | a list of hosts |
/// | `list:app` | a list of one host that has a name |
/// | `dns:app:4370` | a service, by DNS (A and AAAA), also beside other seeds |
/// | `dns:app@10.0.0.53:8600` | the same, asked of that name server |
/// | `srv:app`, `srv:_raft._tcp.app@10.0.0.53` | SRV records; `app` means `_cloister._tcp.app` |
/// | `system:app` | a service, by the system's resolver |
///
/// ```
/// use cloister_discovery::{Seeds, SeedKind};
///
/// assert_eq!(Seeds::parse("app", 4370)?.kind(), SeedKind::Service);
/// assert_eq!(Seeds::parse("10.0.0.1, 10.0.0.2, 10.0.0.3", 4370)?.kind(), SeedKind::List(3));
/// # Ok::<(), cloister_discovery::SeedErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    seeds: Vec<Seed>,
}

impl Seeds {
    /// Reads a comma-separated text, as in an environment variable. A blank text means no seeds.
    ///
    /// # Errors
    ///
    /// [`SeedErrors`] has every mistake in the text.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, SeedErrors> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse_list([text], default_port)
    }

    /// Reads a list of texts, as in a file. Each text may be comma-separated in turn.
    ///
    /// # Errors
    ///
    /// [`SeedErrors`] has every mistake in the texts.
    pub fn parse_list(
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        default_port: u16,
    ) -> Result<Self, SeedErrors> {
        let texts: Vec<_> = texts.into_iter().collect();
        let words: Vec<_> = texts.iter().flat_map(|text| text.as_ref().split(',')).map(str::trim).collect();
        // Each with its place.
        let mut seeds: Vec<(usize, Seed)> = Vec::with_capacity(words.len());
        let mut errors = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let place = i + 1;
            let seed = parse(word, words.len(), default_port).and_then(|seed| {
                let shown = seed.to_string();
                match seeds.iter().find(|(_, other)| other.to_string() == shown) {
                    Some((first, _)) => Err(SeedErrorKind::Twice { first: *first }),
                    None => Ok(seed),
                }
            });
            match seed {
                Ok(seed) => seeds.push((place, seed)),
                Err(kind) => errors.push(SeedError { place, seed: (*word).to_owned(), kind }),
            }
        }
        if !errors.is_empty() {
            return Err(SeedErrors(errors));
        }
        Ok(Self { seeds: seeds.into_iter().map(|(_, seed)| seed).collect() })
    }

    /// The seeds in the order in which they were written.
    pub fn iter(&self) -> std::slice::Iter<'_, Seed> {
        self.seeds.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// Whether the seeds are none, a list of hosts, or a service.
    #[must_use]
    pub fn kind(&self) -> SeedKind {
        if self.seeds.is_empty() {
            SeedKind::None
        } else if self.seeds.iter().all(|seed| seed.host().is_some()) {
            SeedKind::List(self.seeds.len())
        } else {
            SeedKind::Service
        }
    }

    /// One strategy for all seeds: the union of their addresses.
    #[must_use]
    pub fn strategy(&self, resolver: &Resolver) -> Union {
        Union::new(self.seeds.iter().map(|seed| seed.strategy(resolver)))
    }

    /// A strategy for each seed, so that a caller gets the addresses of one while another is late. The IP addresses of a list, which
    /// need no lookup, share one.
    pub fn strategies(&self, resolver: &Resolver) -> Vec<Box<dyn Discovery>> {
        let is_address = |seed: &&Seed| seed.host().is_some_and(|entry| matches!(entry.host, Host::Ip(_)));
        let (addresses, others): (Vec<&Seed>, Vec<&Seed>) = self.seeds.iter().partition(is_address);
        let addresses: Vec<_> = addresses.into_iter().filter_map(Seed::host).cloned().collect();
        let list = (!addresses.is_empty()).then(|| -> Box<dyn Discovery> { Box::new(List::new(addresses)) });
        list.into_iter().chain(others.into_iter().map(|seed| seed.strategy(resolver))).collect()
    }

    /// Looks every seed up once, all at the same time. The outcomes are in the order of the seeds.
    ///
    /// # Errors
    ///
    /// The future itself does not fail: each outcome is a [`DiscoveryError`] if it is unknown whether the seed has addresses.
    pub async fn lookup_each(&self, resolver: &Resolver) -> Vec<Result<LookupResult, DiscoveryError>> {
        let strategies: Vec<_> = self.seeds.iter().map(|seed| seed.strategy(resolver)).collect();
        join::all(strategies.iter().map(|strategy| strategy.lookup())).await
    }
}

impl<'a> IntoIterator for &'a Seeds {
    type Item = &'a Seed;
    type IntoIter = std::slice::Iter<'a, Seed>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Seeds {
    /// In a form that [`Seeds::parse`] reads, with every port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Seed::Host(entry @ Entry { host: Host::Name(_), .. })] = self.seeds.as_slice() {
            return write!(f, "list:{entry}");
        }
        for (i, seed) in self.seeds.iter().enumerate() {
            write!(f, "{}{seed}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn parse(word: &str, of: usize, default_port: u16) -> Result<Seed, SeedErrorKind> {
    let entry = |text: &str| Entry::parse(text, default_port).map_err(SeedErrorKind::Host);
    let named = |scheme: &'static str, text: &str| match entry(text)? {
        Entry { host: Host::Ip(_), .. } => Err(SeedErrorKind::NotAName { scheme }),
        entry => Ok(entry),
    };
    if word.is_empty() {
        return Err(SeedErrorKind::Empty);
    }
    if word.len() > MAX_SEED_LEN {
        return Err(SeedErrorKind::TooLong { len: word.len() });
    }
    let Some((scheme, rest)) = word.split_once(':').filter(|(scheme, rest)| is_scheme(scheme, rest)) else {
        let entry = entry(word)?;
        let is_service = of == 1 && entry.host.ip().is_none() && !entry.host.is_loopback();
        return Ok(if is_service { Seed::Service { entry, server: None } } else { Seed::Host(entry) });
    };
    match scheme {
        "list" => entry(rest).map(Seed::Host),
        "system" => named("system", rest).map(Seed::System),
        "dns" => {
            let (text, server) = split_server(rest)?;
            Ok(Seed::Service { entry: named("dns", text)?, server })
        }
        "srv" => {
            let (text, server) = split_server(rest)?;
            let entry = named("srv", text)?;
            match entry.port.given() {
                Some(_) => Err(SeedErrorKind::PortOfSrv),
                None => Ok(Seed::Srv { name: entry.host.to_string(), server }),
            }
        }
        _ => Err(SeedErrorKind::Scheme { scheme: scheme.to_owned() }),
    }
}

/// `name:rest` is a scheme unless the rest is a port or the whole an IPv6 address: `dns:4370` is a host called dns.
fn is_scheme(scheme: &str, rest: &str) -> bool {
    let is_word = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase());
    let is_port = rest.bytes().all(|b| b.is_ascii_digit());
    is_word && !is_port && format!("{scheme}:{rest}").parse::<std::net::IpAddr>().is_err()
}

fn split_server(text: &str) -> Result<(&str, Option<SocketAddr>), SeedErrorKind> {
    let Some((name, server)) = text.split_once('@') else { return Ok((text, None)) };
    let socket = Entry::parse(server, DNS_PORT).ok().and_then(|entry| entry.socket());
    socket.map(|socket| (name, Some(socket))).ok_or(SeedErrorKind::Server)
}

#[cfg(test)]
mod tests;
