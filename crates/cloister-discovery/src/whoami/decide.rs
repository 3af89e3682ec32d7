//! The decision itself: no clock, no network, no machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Asked, Identity, Naming, NotYet, Situation, WhoAmIError, is_fqdn};
use crate::host::is_link_local;
use crate::{Entry, Host, Port, Records};

/// Says who the node is; the rules are the table of the [module](super).
///
/// Deterministic: the order of addresses and seeds has no influence on the result.
pub fn decide(situation: &Situation) -> Result<Identity, WhoAmIError> {
    let host = situation.settings.host.as_deref().map(Host::parse).transpose()?;
    match (situation.settings.naming, host) {
        (Naming::None, _) => Ok(Identity::Single),
        (Naming::Short, host) => short(situation, host),
        (Naming::Long, Some(host @ Host::Name(_))) if !is_fqdn(&host) => Err(WhoAmIError::Form {
            host: host.to_string(),
            naming: "long",
            needs: "an IP address or a name with a dot",
        }),
        (Naming::Auto | Naming::Long, Some(host)) => given(situation, host),
        (Naming::Auto, None) if situation.seeds.is_empty() => Ok(Identity::Single),
        (Naming::Long, None) if situation.seeds.is_empty() => from_machine(situation),
        (Naming::Auto | Naming::Long, None) => from_seeds(situation),
    }
}

/// How many entries of the list are the node that [`decide`] found, by whatever name.
///
/// An entry is this node if its port is, and its host is the same as written, or an address at which this node listens. A name
/// that means loopback here is this machine, unless all seeds are loopback: then each address is another node.
pub fn own_entries(s: &Situation, identity: &Identity) -> usize {
    let Identity::Network { host, port, bind } = identity else { return 0 };
    let host = Host::parse(host).ok();
    let here = |ip: IpAddr| {
        let ip = ip.to_canonical();
        if ip.is_loopback() && !only_loopback(s) {
            return true;
        }
        let is_host = host.as_ref().and_then(Host::ip) == Some(ip);
        is_host || if bind.ip().is_unspecified() { s.interfaces.contains(&ip) } else { bind.ip() == ip }
    };
    let is_own = |(entry, asked): &(&Entry, &Asked)| {
        let same_host = host.as_ref() == Some(&entry.host);
        entry.port.number() == *port && (same_host || sockets(asked).iter().any(|socket| here(socket.ip())))
    };
    listed(s).filter(is_own).count()
}

/// A name without a dot: the one given, or the machine's.
fn short(s: &Situation, host: Option<Host>) -> Result<Identity, WhoAmIError> {
    match host {
        Some(host) if host.ip().is_some() || is_fqdn(&host) => Err(WhoAmIError::Form {
            host: host.to_string(),
            naming: "short",
            needs: "a host name without a dot",
        }),
        Some(host) => given(s, host),
        None => {
            let label = s.host_name.split('.').next().unwrap_or_default();
            match Host::parse(label) {
                Ok(host @ Host::Name(_)) => given(s, host),
                Ok(Host::Ip(_)) | Err(_) => Err(WhoAmIError::HostName(s.host_name.clone())),
            }
        }
    }
}

/// A known host: what is left is the port, and where to listen.
fn given(s: &Situation, host: Host) -> Result<Identity, WhoAmIError> {
    if host.is_loopback()
        && let Some(peer) = listed(s).find(|(entry, _)| !entry.host.is_loopback())
    {
        return Err(WhoAmIError::Loopback { host: host.to_string(), peer: peer.0.to_string() });
    }
    let port = match s.settings.port {
        Some(port) => port,
        None => port_in_list(s, &host)?,
    };
    let bind = match &host {
        Host::Ip(ip) if s.interfaces.contains(ip) || ip.is_loopback() => *ip,
        Host::Name(_) if host.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        Host::Ip(IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        Host::Ip(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Host::Name(_) => every_address(s),
    };
    Ok(Identity::Network { host: host.to_string(), port, bind: SocketAddr::new(bind, port) })
}

/// The port beside `host` in the list: written with that very host, or with one whose address it is.
fn port_in_list(s: &Situation, host: &Host) -> Result<u16, WhoAmIError> {
    let is_here = |entry: &Entry, asked: &Asked| match host {
        _ if entry.host == *host => true,
        Host::Ip(ip) => sockets(asked).iter().any(|socket| socket.ip() == *ip),
        Host::Name(_) => sockets(asked).iter().any(|socket| s.interfaces.contains(&socket.ip())),
    };
    let here: Vec<_> = listed(s).filter(|(entry, asked)| is_here(entry, asked)).collect();
    let ports: BTreeSet<_> = here.iter().map(|(entry, _)| entry.port.number()).collect();
    match (ports.first(), ports.len()) {
        (None, _) => Ok(s.settings.default_port),
        (Some(port), 1) => Ok(*port),
        (Some(_), _) => Err(WhoAmIError::Ambiguous {
            candidates: here.iter().map(|(entry, _)| entry.to_string()).collect(),
        }),
    }
}

/// A network without seeds: others find this node.
fn from_machine(s: &Situation) -> Result<Identity, WhoAmIError> {
    if let Ok(host) = Host::parse(&s.host_name)
        && is_fqdn(&host)
    {
        return given(s, host);
    }
    let port = s.settings.port.unwrap_or(s.settings.default_port);
    let own = usable_interfaces(s);
    let (v4, v6): (Vec<_>, Vec<_>) = own.iter().partition(|ip| ip.is_ipv4());
    match (v4.as_slice(), v6.as_slice()) {
        ([], []) => Err(WhoAmIError::NoAddress),
        ([ip], _) | ([], [ip]) => Ok(at(SocketAddr::new(*ip, port))),
        _ => Err(ambiguous(own.iter().map(|ip| SocketAddr::new(*ip, port)))),
    }
}

fn from_seeds(s: &Situation) -> Result<Identity, WhoAmIError> {
    if let Some(found) = in_list(s)? {
        return Ok(at(found));
    }
    if let Some(found) = in_service(s)? {
        return Ok(at(found));
    }
    let services = s.seeds.iter().filter(|asked| asked.seed.host().is_none());
    if let Some(asked) = services.into_iter().find(|asked| !sockets(asked).is_empty()) {
        return Ok(Identity::NotYet {
            why: NotYet::NotInAnswer {
                service: asked.seed.to_string(),
                answer: sockets(asked).to_vec(),
                own: usable_interfaces(s),
            },
        });
    }
    let unresolved: Vec<_> = s.seeds.iter().filter_map(unresolved).collect();
    if !unresolved.is_empty() {
        return Ok(Identity::NotYet { why: NotYet::Unresolved { seeds: unresolved } });
    }
    match s.source.map(|ip| ip.to_canonical()).filter(|ip| is_usable(*ip) && !ip.is_loopback()) {
        Some(ip) => outside(s, ip),
        None => {
            let seeds = s.seeds.iter().map(|asked| asked.seed.to_string()).collect();
            Ok(Identity::NotYet { why: NotYet::NoRoute { seeds } })
        }
    }
}

/// The own address in the list. Each entry counts once, by its lowest own address.
fn in_list(s: &Situation) -> Result<Option<SocketAddr>, WhoAmIError> {
    let here: Vec<(IpAddr, Port)> = listed(s)
        .filter_map(|(entry, asked)| own(s, sockets(asked)).min().map(|own| (own.ip(), entry.port)))
        .collect();
    let Some(lowest) = here.iter().map(|(ip, _)| *ip).min() else { return Ok(None) };
    let candidates: BTreeSet<_> = match s.settings.port {
        Some(port) => here
            .iter()
            .filter(|(_, beside)| beside.given().is_none_or(|given| given == port))
            .map(|(ip, _)| SocketAddr::new(*ip, port))
            .collect(),
        None => here.iter().map(|(ip, port)| SocketAddr::new(*ip, port.number())).collect(),
    };
    match (candidates.first(), candidates.len(), s.settings.port) {
        (Some(only), 1, _) => Ok(Some(*only)),
        (None, _, Some(port)) => Ok(Some(SocketAddr::new(lowest, port))),
        _ => Err(ambiguous(candidates)),
    }
}

/// The lowest own address in a service's answer. What has the given port exactly (SRV) goes before what has not.
///
/// Every loopback address is own, so of those there must be one only.
fn in_service(s: &Situation) -> Result<Option<SocketAddr>, WhoAmIError> {
    let services = s.seeds.iter().filter(|asked| asked.seed.host().is_none());
    let mut here: BTreeSet<_> = services.flat_map(|asked| own(s, sockets(asked))).collect();
    if let Some(port) = s.settings.port {
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
/// An entry whose name means loopback here is this machine after all (`127.0.1.1` in a Debian hosts file): its
/// port counts.
fn outside(s: &Situation, ip: IpAddr) -> Result<Identity, WhoAmIError> {
    let is_here = |asked: &Asked| sockets(asked).iter().any(|socket| socket.ip().is_loopback());
    let ports: BTreeSet<_> =
        listed(s).filter(|(_, asked)| is_here(asked)).map(|(entry, _)| entry.port.number()).collect();
    let port = match (s.settings.port, ports.first(), ports.len()) {
        (Some(port), _, _) => port,
        (None, None, _) => s.settings.default_port,
        (None, Some(port), 1) => *port,
        (None, Some(_), _) => return Err(ambiguous(ports.iter().map(|port| SocketAddr::new(ip, *port)))),
    };
    Ok(at(SocketAddr::new(ip, port)))
}

fn at(socket: SocketAddr) -> Identity {
    Identity::Network { host: socket.ip().to_string(), port: socket.port(), bind: socket }
}

fn ambiguous(candidates: impl IntoIterator<Item = SocketAddr>) -> WhoAmIError {
    let candidates: BTreeSet<_> = candidates.into_iter().collect();
    WhoAmIError::Ambiguous { candidates: candidates.iter().map(ToString::to_string).collect() }
}

/// The hosts of the list among the seeds.
fn listed(s: &Situation) -> impl Iterator<Item = (&Entry, &Asked)> {
    s.seeds.iter().filter_map(|asked| asked.seed.host().map(|entry| (entry, asked)))
}

fn sockets(asked: &Asked) -> &[SocketAddr] {
    asked.outcome.as_ref().map_or(&[], |found| found.sockets())
}

/// What a seed without addresses said.
fn unresolved(asked: &Asked) -> Option<String> {
    match &asked.outcome {
        Ok(found) => match found.records {
            Records::Absent => Some(format!("`{}` does not exist", asked.seed)),
            Records::Empty => Some(format!("`{}` has no address", asked.seed)),
            Records::Addresses(_) => None,
        },
        Err(error) => Some(error.to_string()),
    }
}

/// Those of `sockets` that are this machine and may be advertised.
fn own<'a>(s: &'a Situation, sockets: &'a [SocketAddr]) -> impl Iterator<Item = SocketAddr> + 'a {
    let loopback_counts = only_loopback(s);
    sockets.iter().copied().filter(move |socket| {
        let ip = socket.ip();
        if ip.is_loopback() { loopback_counts } else { s.interfaces.contains(&ip) && is_usable(ip) }
    })
}

/// Whether every seed is known to be on this machine. One that gave no address counts as being elsewhere.
fn only_loopback(s: &Situation) -> bool {
    s.seeds.iter().all(|asked| {
        let is_written = asked.seed.host().is_some_and(|entry| entry.host.is_loopback());
        let sockets = sockets(asked);
        is_written || !sockets.is_empty() && sockets.iter().all(|socket| socket.ip().is_loopback())
    })
}

fn is_usable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip)
}

/// The interface addresses that other machines may dial.
fn usable_interfaces(s: &Situation) -> Vec<IpAddr> {
    let own: BTreeSet<_> =
        s.interfaces.iter().copied().filter(|ip| is_usable(*ip) && !ip.is_loopback()).collect();
    own.into_iter().collect()
}

/// `[::]`, for both families, if the machine has a routable IPv6 address; else `0.0.0.0`.
fn every_address(s: &Situation) -> IpAddr {
    if usable_interfaces(s).iter().any(IpAddr::is_ipv6) {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

#[cfg(test)]
mod tests;
