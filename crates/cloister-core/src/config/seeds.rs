//! What can be said of seeds before anyone looks them up.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use super::problem::Fault;

/// What kind of seeds a node has, once they have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Seeding {
    /// None: a node of its own.
    None,
    /// A list of so many addresses.
    List(usize),
    /// A service name, behind which any number of nodes may stand.
    Service,
}

impl Seeding {
    /// How many nodes must be connected if nobody said: 1 without seeds, the majority of a list, 3 for a service.
    pub const fn default_consensus(self) -> NonZeroUsize {
        let nodes = match self {
            Seeding::None => 1,
            Seeding::List(seeds) => seeds / 2 + 1,
            Seeding::Service => 3,
        };
        match NonZeroUsize::new(nodes) {
            Some(nodes) => nodes,
            None => NonZeroUsize::MIN,
        }
    }
}

/// The longest seed, in bytes: a DNS name with a port and the name of a strategy.
const MAX_SEED_LEN: usize = 300;

/// What is wrong with a seed by its mere form. This is the one place where seeds are judged: the full parser of the
/// discovery crate belongs here.
pub(super) fn fault(seed: &str) -> Option<Fault> {
    if seed.is_empty() {
        return Some(Fault::EmptyItem);
    }
    if seed.len() > MAX_SEED_LEN {
        return Some(Fault::TooLong { len: seed.len(), most: MAX_SEED_LEN });
    }
    if seed.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',') {
        return Some(Fault::NotASeed);
    }
    let port = port_of(seed)?;
    match port.parse::<u16>() {
        Ok(1..) => None,
        Ok(0) | Err(_) => Some(Fault::SeedPort),
    }
}

/// The IP address of a seed that is one, with or without a port.
pub(super) fn ip_of(seed: &str) -> Option<IpAddr> {
    let host = match port_of(seed) {
        Some(port) => &seed[..seed.len() - port.len() - 1],
        None => seed,
    };
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// What follows the colon of `host:port` or `[v6]:port`, if it is meant as a number.
fn port_of(seed: &str) -> Option<&str> {
    let (host, port) = seed.rsplit_once(':')?;
    let bare_v6 = host.contains(':') && !host.ends_with(']');
    let number = port.bytes().all(|b| b.is_ascii_digit());
    (!bare_v6 && number).then_some(port)
}
