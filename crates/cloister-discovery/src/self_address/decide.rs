//! The decision itself: no clock, no network, no machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addressing, Identity, Inputs, PendingReason, SeedLookup, SelfAddressError, is_fqdn};
use crate::host::is_link_local;
use crate::{Entry, Host, Port, Records};

/// The identity of the node; the rules are the table of the [module](super).
///
/// Deterministic: the order of addresses and seeds does not change the result.
///
/// # Errors
///
/// [`SelfAddressError`] if the settings are ambiguous or contradictory.
pub fn decide(inputs: &Inputs) -> Result<Identity, SelfAddressError> {
    let host = inputs.settings.host.as_deref().map(Host::parse).transpose()?;
    match (inputs.settings.naming, host) {
        (Addressing::None, _) => Ok(Identity::Standalone),
        (Addressing::Short, host) => short(inputs, host),
        (Addressing::Long, Some(host @ Host::Name(_))) if !is_fqdn(&host) => Err(SelfAddressError::Form {
            host: host.to_string(),
            naming: "long",
            needs: "an IP address or a name with a dot",
        }),
        (Addressing::Auto | Addressing::Long, Some(host)) => given(inputs, host),
        (Addressing::Auto, None) if inputs.seeds.is_empty() => Ok(Identity::Standalone),
        (Addressing::Long, None) if inputs.seeds.is_empty() => from_machine(inputs),
        (Addressing::Auto | Addressing::Long, None) => from_seeds(inputs),
    }
}

/// How many entries of the list are the node that [`decide`] found, by whatever name.
///
/// An entry is this node if its port is, and its host is the same as written, or an address at which this node listens. A name
/// that means loopback here is this machine, unless all seeds are loopback: then each address is another node.
///
/// `None` if none of the entries is known to be this node, and one that could not be looked up may be.
#[must_use]
pub fn own_entries(inputs: &Inputs, identity: &Identity) -> Option<usize> {
    let Identity::Network { host, port, bind } = identity else { return Some(0) };
    let host = Host::parse(host).ok();
    let here = |ip: IpAddr| {
        let ip = ip.to_canonical();
        if ip.is_loopback() && !only_loopback(inputs) {
            return true;
        }
        let is_host = host.as_ref().and_then(Host::ip) == Some(ip);
        is_host || if bind.ip().is_unspecified() { inputs.interfaces.contains(&ip) } else { bind.ip() == ip }
    };
    let is_own = |(entry, lookup): &(&Entry, &SeedLookup)| {
        let same_host = host.as_ref() == Some(&entry.host);
        entry.port.number() == *port && (same_host || sockets(lookup).iter().any(|socket| here(socket.ip())))
    };
    let own = listed(inputs).filter(is_own).count();
    let may_be_own =
        |(entry, lookup): (&Entry, &SeedLookup)| entry.port.number() == *port && lookup.outcome.is_err();
    (own > 0 || !listed(inputs).any(may_be_own)).then_some(own)
}

/// A name without a dot: the one given, or the machine's.
fn short(inputs: &Inputs, host: Option<Host>) -> Result<Identity, SelfAddressError> {
    match host {
        Some(host) if host.ip().is_some() || is_fqdn(&host) => Err(SelfAddressError::Form {
            host: host.to_string(),
            naming: "short",
            needs: "a host name without a dot",
        }),
        Some(host) => given(inputs, host),
        None => {
            let label = inputs.host_name.split('.').next().unwrap_or_default();
            match Host::parse(label) {
                Ok(host @ Host::Name(_)) => given(inputs, host),
                Ok(Host::Ip(_)) | Err(_) => Err(SelfAddressError::HostName(inputs.host_name.clone())),
            }
        }
    }
}

/// A known host: what is left is the port, and where to listen.
fn given(inputs: &Inputs, host: Host) -> Result<Identity, SelfAddressError> {
    if host.is_loopback()
        && let Some(peer) = listed(inputs).find(|(entry, _)| !entry.host.is_loopback())
    {
        return Err(SelfAddressError::Loopback { host: host.to_string(), peer: peer.0.to_string() });
    }
    let port = match inputs.settings.port {
        Some(port) => port,
        None => port_in_list(inputs, &host)?,
    };
    let bind = match &host {
        Host::Ip(ip) if inputs.interfaces.contains(ip) || ip.is_loopback() => *ip,
        Host::Name(_) if host.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        Host::Ip(IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        Host::Ip(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Host::Name(_) => every_address(inputs),
    };
    Ok(Identity::Network { host: host.to_string(), port, bind: SocketAddr::new(bind, port) })
}

/// The port beside `host` in the list: of that very entry, or of one that resolves to it.
fn port_in_list(inputs: &Inputs, host: &Host) -> Result<u16, SelfAddressError> {
    let is_here = |entry: &Entry, lookup: &SeedLookup| match host {
        _ if entry.host == *host => true,
        Host::Ip(ip) => sockets(lookup).iter().any(|socket| socket.ip() == *ip),
        Host::Name(_) => sockets(lookup).iter().any(|socket| inputs.interfaces.contains(&socket.ip())),
    };
    let here: Vec<_> = listed(inputs).filter(|(entry, lookup)| is_here(entry, lookup)).collect();
    let ports: BTreeSet<_> = here.iter().map(|(entry, _)| entry.port.number()).collect();
    match (ports.first(), ports.len()) {
        (None, _) => Ok(inputs.settings.default_port),
        (Some(port), 1) => Ok(*port),
        (Some(_), _) => Err(SelfAddressError::Ambiguous {
            candidates: here.iter().map(|(entry, _)| entry.to_string()).collect(),
        }),
    }
}

/// A network without seeds: others find this node.
fn from_machine(inputs: &Inputs) -> Result<Identity, SelfAddressError> {
    if let Ok(host) = Host::parse(&inputs.host_name)
        && is_fqdn(&host)
    {
        return given(inputs, host);
    }
    let port = inputs.settings.port.unwrap_or(inputs.settings.default_port);
    let own = usable_interfaces(inputs);
    let (v4, v6): (Vec<_>, Vec<_>) = own.iter().partition(|ip| ip.is_ipv4());
    match (v4.as_slice(), v6.as_slice()) {
        ([], []) => Err(SelfAddressError::NoAddress),
        ([ip], _) | ([], [ip]) => Ok(at(SocketAddr::new(*ip, port))),
        _ => Err(ambiguous(own.iter().map(|ip| SocketAddr::new(*ip, port)))),
    }
}

fn from_seeds(inputs: &Inputs) -> Result<Identity, SelfAddressError> {
    if let Some(found) = in_list(inputs)? {
        return Ok(at(found));
    }
    if let Some(found) = in_service(inputs)? {
        return Ok(at(found));
    }
    let services = inputs.seeds.iter().filter(|lookup| lookup.seed.host().is_none());
    if let Some(lookup) = services.into_iter().find(|lookup| !sockets(lookup).is_empty()) {
        return Ok(Identity::Pending {
            reason: PendingReason::NotInAnswer {
                service: lookup.seed.to_string(),
                answer: sockets(lookup).to_vec(),
                own: usable_interfaces(inputs),
            },
        });
    }
    let unresolved: Vec<_> = inputs.seeds.iter().filter_map(unresolved).collect();
    if !unresolved.is_empty() {
        return Ok(Identity::Pending { reason: PendingReason::Unresolved { seeds: unresolved } });
    }
    match inputs.source.map(|ip| ip.to_canonical()).filter(|ip| is_usable(*ip) && !ip.is_loopback()) {
        Some(ip) => outside(inputs, ip),
        None => {
            let seeds = inputs.seeds.iter().map(|lookup| lookup.seed.to_string()).collect();
            Ok(Identity::Pending { reason: PendingReason::NoRoute { seeds } })
        }
    }
}

/// The own address in the list. Each entry counts once, by its lowest own address.
fn in_list(inputs: &Inputs) -> Result<Option<SocketAddr>, SelfAddressError> {
    let here: Vec<(IpAddr, Port)> = listed(inputs)
        .filter_map(|(entry, lookup)| own(inputs, sockets(lookup)).min().map(|own| (own.ip(), entry.port)))
        .collect();
    let Some(lowest) = here.iter().map(|(ip, _)| *ip).min() else { return Ok(None) };
    let candidates: BTreeSet<_> = match inputs.settings.port {
        Some(port) => here
            .iter()
            .filter(|(_, beside)| beside.given().is_none_or(|given| given == port))
            .map(|(ip, _)| SocketAddr::new(*ip, port))
            .collect(),
        None => here.iter().map(|(ip, port)| SocketAddr::new(*ip, port.number())).collect(),
    };
    match (candidates.first(), candidates.len(), inputs.settings.port) {
        (Some(only), 1, _) => Ok(Some(*only)),
        (None, _, Some(port)) => Ok(Some(SocketAddr::new(lowest, port))),
        _ => Err(ambiguous(candidates)),
    }
}

/// The lowest own address in a service's answer. What has the given port exactly (SRV) goes before what has not.
///
/// Every loopback address is own, so of those there must be one only.
fn in_service(inputs: &Inputs) -> Result<Option<SocketAddr>, SelfAddressError> {
    let services = inputs.seeds.iter().filter(|lookup| lookup.seed.host().is_none());
    let mut here: BTreeSet<_> = services.flat_map(|lookup| own(inputs, sockets(lookup))).collect();
    if let Some(port) = inputs.settings.port {
        if here.iter().any(|socket| socket.port() == port) {
            here.retain(|socket| socket.port() == port);
        }
        here = here.iter().map(|socket| SocketAddr::new(socket.ip(), port)).collect();
    }
    let Some(lowest) = here.first().copied() else { return Ok(None) };
    here.retain(|socket| socket.ip() == lowest.ip() || socket.ip().is_loopback());
    if here.len() > 1 { Err(ambiguous(here)) } else { Ok(Some(lowest)) }
}

/// A node that the list does not name, at the address that the list's nodes see.
///
/// An entry with a name that means loopback here is this machine after all (`127.0.1.1` in a Debian hosts file): its
/// port counts.
fn outside(inputs: &Inputs, ip: IpAddr) -> Result<Identity, SelfAddressError> {
    let is_here = |lookup: &SeedLookup| sockets(lookup).iter().any(|socket| socket.ip().is_loopback());
    let ports: BTreeSet<_> =
        listed(inputs).filter(|(_, lookup)| is_here(lookup)).map(|(entry, _)| entry.port.number()).collect();
    let port = match (inputs.settings.port, ports.first(), ports.len()) {
        (Some(port), _, _) => port,
        (None, None, _) => inputs.settings.default_port,
        (None, Some(port), 1) => *port,
        (None, Some(_), _) => return Err(ambiguous(ports.iter().map(|port| SocketAddr::new(ip, *port)))),
    };
    Ok(at(SocketAddr::new(ip, port)))
}

fn at(socket: SocketAddr) -> Identity {
    Identity::Network { host: socket.ip().to_string(), port: socket.port(), bind: socket }
}

fn ambiguous(candidates: impl IntoIterator<Item = SocketAddr>) -> SelfAddressError {
    let candidates: BTreeSet<_> = candidates.into_iter().collect();
    SelfAddressError::Ambiguous { candidates: candidates.iter().map(ToString::to_string).collect() }
}

/// The hosts of the list among the seeds.
fn listed(inputs: &Inputs) -> impl Iterator<Item = (&Entry, &SeedLookup)> {
    inputs.seeds.iter().filter_map(|lookup| lookup.seed.host().map(|entry| (entry, lookup)))
}

fn sockets(lookup: &SeedLookup) -> &[SocketAddr] {
    lookup.outcome.as_ref().map_or(&[], |found| found.sockets())
}

/// Why a seed has no addresses.
fn unresolved(lookup: &SeedLookup) -> Option<String> {
    match &lookup.outcome {
        Ok(found) => match found.records {
            Records::Absent => Some(format!("`{}` does not exist", lookup.seed)),
            Records::Empty => Some(format!("`{}` has no address", lookup.seed)),
            Records::Addresses(_) => None,
        },
        Err(error) => Some(error.to_string()),
    }
}

/// Those of `sockets` that are this machine and may be advertised.
fn own<'a>(inputs: &'a Inputs, sockets: &'a [SocketAddr]) -> impl Iterator<Item = SocketAddr> + 'a {
    let loopback_counts = only_loopback(inputs);
    sockets.iter().copied().filter(move |socket| {
        let ip = socket.ip();
        if ip.is_loopback() { loopback_counts } else { inputs.interfaces.contains(&ip) && is_usable(ip) }
    })
}

/// Whether every seed is known to be on this machine. One that gave no address counts as being elsewhere.
fn only_loopback(inputs: &Inputs) -> bool {
    inputs.seeds.iter().all(|lookup| {
        let is_written = lookup.seed.host().is_some_and(|entry| entry.host.is_loopback());
        let sockets = sockets(lookup);
        is_written || !sockets.is_empty() && sockets.iter().all(|socket| socket.ip().is_loopback())
    })
}

fn is_usable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip)
}

/// The interface addresses that other machines may dial.
fn usable_interfaces(inputs: &Inputs) -> Vec<IpAddr> {
    let own: BTreeSet<_> =
        inputs.interfaces.iter().copied().filter(|ip| is_usable(*ip) && !ip.is_loopback()).collect();
    own.into_iter().collect()
}

/// `[::]`, for both families, if the machine has a routable IPv6 address; else `0.0.0.0`.
fn every_address(inputs: &Inputs) -> IpAddr {
    if usable_interfaces(inputs).iter().any(IpAddr::is_ipv6) {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

#[cfg(test)]
mod tests;
