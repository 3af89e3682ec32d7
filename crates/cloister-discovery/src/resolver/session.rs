//! One lookup: its queries, their responses, and one deadline for all.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{DiscoveryError, LookupResult, Records, SourceResult};

/// How long to wait for DNS when the hosts file has addresses already.
const HOSTS_FILE_GRACE: Duration = Duration::from_millis(500);

/// How long to wait for a name server before the next one is queried too.
const NEXT_SERVER_DELAY: Duration = Duration::from_millis(300);

/// One lookup, with its settings and its deadline.
pub(crate) struct Session {
    pub(super) servers: Vec<Server>,
    pub(super) hosts: Hosts,
    pub(super) search: Vec<Name>,
    pub(super) ndots: usize,
    pub(super) limit: Duration,
    pub(super) ends: Instant,
}

/// An SRV record's host and port.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Session {
    /// Every address of `name`, each with `port`: of the first candidate name that has any.
    pub(crate) async fn addresses(&self, name: &str, port: u16) -> Result<LookupResult, DiscoveryError> {
        let name = parse(name)?;
        let mut outcomes = vec![];
        let listed = self.in_hosts_file(&name);
        let listed_any = !listed.is_empty();
        if listed_any {
            outcomes.push(("the hosts file".to_owned(), Ok(with_port(listed, port))));
        }
        let grace = if listed_any { Instant::now() + HOSTS_FILE_GRACE } else { self.ends };
        let ends = self.ends.min(grace);
        for candidate in candidates(&name, &self.search, self.ndots) {
            let families = self.both_families(&candidate, ends).await;
            let is_found = families.iter().any(Result::is_ok);
            outcomes.extend([RecordType::A, RecordType::AAAA].into_iter().zip(families).map(
                |(kind, outcome)| {
                    let found =
                        outcome.map(|lookup| with_port(ips(&lookup), port).lasting(valid_for(&lookup)));
                    (format!("{candidate} {kind}"), found.or_else(Miss::into_found))
                },
            ));
            if is_found || Instant::now() >= ends {
                break;
            }
        }
        simplify(LookupResult::union(outcomes))
    }

    /// The records of a service, and how long they hold; `Err` says that there are none.
    pub(crate) async fn targets(
        &self,
        name: &str,
    ) -> Result<(Vec<Target>, Duration), Result<LookupResult, DiscoveryError>> {
        let name = parse(name).map_err(Err)?;
        let mut misses = vec![];
        for candidate in candidates(&name, &self.search, self.ndots) {
            match self.ask(&candidate, RecordType::SRV, self.ends).await {
                Ok(lookup) => return Ok((targets(&lookup), valid_for(&lookup))),
                Err(miss) => misses.push((candidate.to_string(), miss.into_found())),
            }
            if Instant::now() >= self.ends {
                break;
            }
        }
        Err(simplify(LookupResult::union(misses)))
    }

    /// A and AAAA at once. Once one has records the other gets the grace only: some servers never answer AAAA.
    async fn both_families(&self, name: &Name, ends: Instant) -> [Result<Lookup, Miss>; 2] {
        let mut v4 = pin!(self.ask(name, RecordType::A, ends));
        let mut v6 = pin!(self.ask(name, RecordType::AAAA, ends));
        tokio::select! {
            first = &mut v4 => {
                let second = self.second(&first, name, v6).await;
                [first, second]
            }
            first = &mut v6 => {
                let second = self.second(&first, name, v4).await;
                [second, first]
            }
        }
    }

    async fn second(
        &self,
        first: &Result<Lookup, Miss>,
        name: &Name,
        other: impl Future<Output = Result<Lookup, Miss>>,
    ) -> Result<Lookup, Miss> {
        if first.is_err() {
            return other.await;
        }
        timeout(HOSTS_FILE_GRACE, other).await.unwrap_or_else(|_| Err(self.late(name, HOSTS_FILE_GRACE)))
    }

    /// The servers in their order: the next is asked when one fails, or is silent for the patience. The first to
    /// know wins.
    async fn ask(&self, name: &Name, kind: RecordType, ends: Instant) -> Result<Lookup, Miss> {
        let mut waiting = self.servers.iter();
        let mut asked = JoinSet::new();
        let mut broken = None;
        loop {
            match waiting.next() {
                Some(server) => drop(asked.spawn(server.clone().ask(name.clone(), kind))),
                None if asked.is_empty() => {
                    return Err(broken.map_or_else(|| self.late(name, self.limit), Miss::Broken));
                }
                None => {}
            }
            tokio::select! {
                Some(Ok(outcome)) = asked.join_next() => match outcome {
                    Err(Miss::Broken(error)) => drop(broken.get_or_insert(error)),
                    known => return known,
                },
                () = sleep(NEXT_SERVER_DELAY), if waiting.len() > 0 => {}
                () = sleep_until(ends) => {
                    return Err(broken.map_or_else(|| self.late(name, self.limit), Miss::Broken));
                }
            }
        }
    }

    fn late(&self, name: &Name, limit: Duration) -> Miss {
        let servers: Vec<_> = self.servers.iter().map(|server| server.address.to_string()).collect();
        Miss::Broken(DiscoveryError::Timeout {
            name: name.to_string(),
            servers: servers.join(", "),
            timeout: limit,
        })
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let mut name = name.clone();
        name.set_fqdn(true);
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| ips(&lookup))
            .collect()
    }
}

/// Why a query has no records.
enum Miss {
    Absent,
    Empty,
    Broken(DiscoveryError),
}

impl Miss {
    fn into_found(self) -> Result<LookupResult, DiscoveryError> {
        match self {
            Self::Absent => Ok(LookupResult::absent()),
            Self::Empty => Ok(LookupResult::empty()),
            Self::Broken(error) => Err(error),
        }
    }
}

/// One name server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) client: TokioResolver,
}

impl Server {
    async fn ask(self, name: Name, kind: RecordType) -> Result<Lookup, Miss> {
        match self.client.lookup(name.clone(), kind).await {
            Ok(lookup) if lookup.answers().iter().any(|record| record.record_type() == kind) => Ok(lookup),
            Ok(_) => Err(Miss::Empty),
            Err(error) => Err(self.classify(&name, error)),
        }
    }

    fn classify(&self, name: &Name, error: NetError) -> Miss {
        let code = match &error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => Some(none.response_code),
            NetError::Dns(DnsError::ResponseCode(code)) => Some(*code),
            _ => None,
        };
        let (name, servers) = (name.to_string(), self.address.to_string());
        Miss::Broken(match (code, error) {
            (Some(ResponseCode::NXDomain), _) => return Miss::Absent,
            (Some(ResponseCode::NoError), _) => return Miss::Empty,
            (Some(code), _) => DiscoveryError::Refused { name, servers, code: code.to_string() },
            (None, NetError::Timeout) => {
                let limit = self.client.options().timeout;
                DiscoveryError::Timeout { name, servers, timeout: limit }
            }
            (None, error @ (NetError::Io(_) | NetError::NoConnections | NetError::Busy)) => {
                DiscoveryError::Unreachable { name, servers, cause: error.to_string() }
            }
            (None, error) => DiscoveryError::BadAnswer { name, servers, cause: error.to_string() },
        })
    }
}

/// The names to query in turn, by the rules of `resolv.conf(5)`.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut raw = name.clone();
    raw.set_fqdn(true);
    if name.is_fqdn() {
        return vec![raw];
    }
    let searched = search.iter().filter_map(|domain| {
        let mut full = name.clone().append_domain(domain).ok()?;
        full.set_fqdn(true);
        Some(full)
    });
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    if dots >= ndots || name.is_localhost() {
        std::iter::once(raw).chain(searched).collect()
    } else {
        searched.chain([raw]).collect()
    }
}

pub(super) fn parse(name: &str) -> Result<Name, DiscoveryError> {
    Name::from_ascii(name).map_err(|e| DiscoveryError::Settings {
        place: format!("the DNS name `{name}`"),
        cause: e.to_string(),
    })
}

/// A name is one seed to the user: the result lists its queries only if one of them failed.
fn simplify(outcome: Result<LookupResult, DiscoveryError>) -> Result<LookupResult, DiscoveryError> {
    match outcome {
        Ok(mut found) => {
            if found.problems().next().is_none() {
                found.sources.clear();
            }
            Ok(found)
        }
        Err(DiscoveryError::Sources(sources)) => {
            let mut errors = sources.iter().filter_map(|SourceResult { outcome, .. }| outcome.as_ref().err());
            match errors.next().cloned() {
                Some(first) => Err(first),
                None => Err(DiscoveryError::Sources(sources)),
            }
        }
        Err(error) => Err(error),
    }
}

fn with_port(ips: impl IntoIterator<Item = IpAddr>, port: u16) -> LookupResult {
    LookupResult::from(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect::<Records>())
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    let ip = |data: &RData| match data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    };
    lookup.answers().iter().filter_map(|record| ip(&record.data)).collect()
}

/// A target of `.` means that the service is not offered.
fn targets(lookup: &Lookup) -> Vec<Target> {
    let target = |data: &RData| match data {
        RData::SRV(srv) if !srv.target.is_root() => {
            Some(Target { host: srv.target.to_string(), port: srv.port })
        }
        _ => None,
    };
    lookup.answers().iter().filter_map(|record| target(&record.data)).collect()
}

fn valid_for(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(shortest.unwrap_or(0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resolver;

    fn names(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        let search: Vec<_> = search.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
        let name = Name::from_ascii(name).unwrap();
        candidates(&name, &search, ndots).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_short_name_is_sought_in_the_search_domains_first() {
        let search = ["ns.svc.cluster.local", "svc.cluster.local"];
        assert_eq!(names("app", &search, 5), ["app.ns.svc.cluster.local.", "app.svc.cluster.local.", "app."]);
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        assert_eq!(names("app.ns", &["local"], 1), ["app.ns.", "app.ns.local."]);
        assert_eq!(names("app.ns", &["local"], 2), ["app.ns.local.", "app.ns."]);
    }

    #[test]
    fn a_name_with_a_final_dot_is_complete() {
        assert_eq!(names("app.", &["local"], 5), ["app."]);
    }

    #[tokio::test]
    async fn the_hosts_file_adds_to_dns_and_stands_in_for_it() {
        // This server never responds: the socket is bound and never read.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver =
            Resolver::servers([silent.local_addr().unwrap()]).with_deadline(Duration::from_secs(60));
        let mut session = resolver.session().unwrap();
        session.hosts.read_hosts_conf(&b"10.0.0.7 app\nfd00::7 app\n"[..]).unwrap();
        let began = Instant::now();
        let found = session.addresses("app", 4370).await.unwrap();
        assert_eq!(found.sockets(), ["10.0.0.7:4370".parse().unwrap(), "[fd00::7]:4370".parse().unwrap()]);
        assert!(found.problems().next().is_some(), "the timeout of DNS is reported: {found:?}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "with addresses from the hosts file, DNS has only the grace period"
        );
    }
}
