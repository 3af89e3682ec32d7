//! How DNS is asked: which servers, which search domains, how long.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{Answer, DiscoveryError, Found, Part};

/// How long an answer that can only add to the addresses at hand is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// How long a name server may be silent before the next one is asked too.
const PATIENCE: Duration = Duration::from_millis(300);

const DNS_PORT: u16 = 53;

/// Where the system keeps its settings.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Asks DNS, each time afresh: no cache, and the settings are read anew for every look-up.
///
/// By default it is the system's: the servers, search domains and `ndots` of `/etc/resolv.conf`, and the hosts file, whose
/// addresses are *added* to those of DNS (the hosts file of a container names the container itself, and must not hide its
/// peers). Several servers are asked in their order, the next when one fails or is silent for 300 ms. A question for addresses asks for IPv4 (A) and IPv6 (AAAA) at once. EDNS0 is on; an answer that is cut off is
/// asked for again over TCP.
#[derive(Clone, Debug)]
pub struct Resolver {
    source: Source,
    search: Option<(Vec<String>, usize)>,
    deadline: Duration,
}

#[derive(Clone, Debug)]
enum Source {
    /// The settings and the hosts file of the system.
    System,
    /// The settings in this file; no hosts file.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    File(PathBuf),
    /// These servers; no hosts file.
    Servers(Vec<SocketAddr>),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// How long a look-up may take unless told otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(2);

    /// Asks as the system is set up to: `/etc/resolv.conf` and the hosts file.
    pub fn system() -> Self {
        Self { source: Source::System, search: None, deadline: Self::DEADLINE }
    }

    /// Asks as the given file in the format of `/etc/resolv.conf` says, and looks into no hosts file.
    #[cfg(target_os = "linux")]
    pub fn resolv_conf(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()), ..Self::system() }
    }

    /// Asks these servers only, without search domains and without the hosts file.
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { source: Source::Servers(servers.into_iter().collect()), ..Self::system() }
    }

    /// Uses these search domains instead; a name with at least `ndots` dots is tried as it is before them, any other
    /// after them.
    #[must_use]
    pub fn with_search(mut self, domains: impl IntoIterator<Item = impl Into<String>>, ndots: usize) -> Self {
        self.search = Some((domains.into_iter().map(Into::into).collect(), ndots));
        self
    }

    /// Gives a look-up this long, all its questions together. Default: [`Resolver::DEADLINE`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a look-up may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Every address of `name`, each with `port`.
    pub(crate) async fn addresses(&self, name: &str, port: u16) -> Result<Found, DiscoveryError> {
        self.session()?.addresses(name, port).await
    }

    /// A resolver for one look-up, made from the settings as they are now.
    pub(crate) fn session(&self) -> Result<Session, DiscoveryError> {
        let (mut config, mut options) = self.settings()?;
        if let Some((domains, ndots)) = &self.search {
            let search = domains.iter().map(|domain| parse(domain)).collect::<Result<_, _>>()?;
            config = ResolverConfig::from_parts(None, search, config.name_servers);
            options.ndots = *ndots;
        }
        let search = match config.domain() {
            Some(domain) if config.search().is_empty() => vec![domain.clone()],
            _ => config.search().to_vec(),
        };
        let ndots = options.ndots;
        options.cache_size = 0;
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = self.deadline;
        options.attempts = 1;
        let hosts = match self.source {
            Source::System => Hosts::from_system().unwrap_or_default(),
            Source::File(_) | Source::Servers(_) => Hosts::default(),
        };
        let mut servers = vec![];
        for server in config.name_servers {
            let port = server.connections.first().map_or(DNS_PORT, |connection| connection.port);
            let address = SocketAddr::new(server.ip, port);
            let config = ResolverConfig::from_name_servers(vec![server]);
            let client = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options.clone())
                .build()
                .map_err(|e| self.unusable(e))?;
            servers.push(Server { address, client });
        }
        let (limit, ends) = (self.deadline, Instant::now() + self.deadline);
        Ok(Session { servers, hosts, search, ndots, limit, ends })
    }

    fn settings(&self) -> Result<(ResolverConfig, ResolverOpts), DiscoveryError> {
        match &self.source {
            Source::System => system_settings().map_err(|e| self.unusable(e)),
            #[cfg(target_os = "linux")]
            Source::File(path) => std::fs::read_to_string(path)
                .map_err(NetError::from)
                .and_then(hickory_resolver::system_conf::parse_resolv_conf)
                .map_err(|e| self.unusable(e)),
            #[cfg(not(target_os = "linux"))]
            Source::File(_) => Err(self.unusable("this system has no such file")),
            Source::Servers(servers) if servers.is_empty() => Err(self.unusable("it is empty")),
            Source::Servers(servers) => {
                let servers = servers.iter().map(|server| name_server(*server)).collect();
                Ok((ResolverConfig::from_name_servers(servers), ResolverOpts::default()))
            }
        }
    }

    fn unusable(&self, cause: impl fmt::Display) -> DiscoveryError {
        let place = match &self.source {
            Source::System => RESOLV_CONF.to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Servers(_) => "the list of name servers".to_owned(),
        };
        DiscoveryError::Settings { place, cause: cause.to_string() }
    }
}

/// Without the file, or without a server in it, the server is the machine itself: so says `resolv.conf(5)`.
#[cfg(target_os = "linux")]
fn system_settings() -> Result<(ResolverConfig, ResolverOpts), NetError> {
    let text = match std::fs::read_to_string(RESOLV_CONF) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let names_a_server = text.lines().any(|line| line.trim_start().starts_with("nameserver"));
    let default = if names_a_server { "" } else { "\nnameserver 127.0.0.1\n" };
    hickory_resolver::system_conf::parse_resolv_conf(text + default)
}

#[cfg(not(target_os = "linux"))]
fn system_settings() -> Result<(ResolverConfig, ResolverOpts), NetError> {
    hickory_resolver::system_conf::read_system_conf()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

fn parse(name: &str) -> Result<Name, DiscoveryError> {
    Name::from_ascii(name).map_err(|e| DiscoveryError::Settings {
        place: format!("the DNS name `{name}`"),
        cause: e.to_string(),
    })
}

/// One look-up: settings read, clock running.
pub(crate) struct Session {
    servers: Vec<Server>,
    hosts: Hosts,
    search: Vec<Name>,
    ndots: usize,
    limit: Duration,
    ends: Instant,
}

/// An SRV record's host and port.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Session {
    /// Every address of `name`, each with `port`: of the first candidate name that has any.
    pub(crate) async fn addresses(&self, name: &str, port: u16) -> Result<Found, DiscoveryError> {
        let name = parse(name)?;
        let mut outcomes = vec![];
        let listed = self.in_hosts_file(&name);
        let listed_any = !listed.is_empty();
        if listed_any {
            outcomes.push(("the hosts file".to_owned(), Ok(with_port(listed, port))));
        }
        let grace = if listed_any { Instant::now() + GRACE } else { self.ends };
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
        simplify(Found::union(outcomes))
    }

    /// The records of a service, and how long they hold; `Err` says that there are none.
    pub(crate) async fn targets(
        &self,
        name: &str,
    ) -> Result<(Vec<Target>, Duration), Result<Found, DiscoveryError>> {
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
        Err(simplify(Found::union(misses)))
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
        timeout(GRACE, other).await.unwrap_or_else(|_| Err(self.late(name, GRACE)))
    }

    /// The servers in their order: the next is asked when one fails, or is silent for the patience. The first to know wins.
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
                () = sleep(PATIENCE), if waiting.len() > 0 => {}
                () = sleep_until(ends) => {
                    return Err(broken.map_or_else(|| self.late(name, self.limit), Miss::Broken));
                }
            }
        }
    }

    fn late(&self, name: &Name, limit: Duration) -> Miss {
        let servers: Vec<_> = self.servers.iter().map(|server| server.address.to_string()).collect();
        Miss::Broken(DiscoveryError::Timeout { name: name.to_string(), servers: servers.join(", "), limit })
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

/// Why a question has no records for an answer.
enum Miss {
    Absent,
    Empty,
    Broken(DiscoveryError),
}

impl Miss {
    fn into_found(self) -> Result<Found, DiscoveryError> {
        match self {
            Self::Absent => Ok(Found::absent()),
            Self::Empty => Ok(Found::empty()),
            Self::Broken(error) => Err(error),
        }
    }
}

/// One name server.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    client: TokioResolver,
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
                DiscoveryError::Timeout { name, servers, limit }
            }
            (None, error @ (NetError::Io(_) | NetError::NoConnections | NetError::Busy)) => {
                DiscoveryError::Unreachable { name, servers, cause: error.to_string() }
            }
            (None, error) => DiscoveryError::BadAnswer { name, servers, cause: error.to_string() },
        })
    }
}

/// What is asked for in turn, as `resolv.conf(5)` says.
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

/// A name is one seed to the user: its questions are told apart only where one of them broke.
fn simplify(outcome: Result<Found, DiscoveryError>) -> Result<Found, DiscoveryError> {
    match outcome {
        Ok(mut found) => {
            if found.problems().next().is_none() {
                found.parts.clear();
            }
            Ok(found)
        }
        Err(DiscoveryError::Parts(parts)) => {
            let mut errors = parts.iter().filter_map(|Part { outcome, .. }| outcome.as_ref().err());
            match errors.next().cloned() {
                Some(first) => Err(first),
                None => Err(DiscoveryError::Parts(parts)),
            }
        }
        Err(error) => Err(error),
    }
}

fn with_port(ips: impl IntoIterator<Item = IpAddr>, port: u16) -> Found {
    Found::from(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect::<Answer>())
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    let ip = |data: &RData| match data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    };
    lookup.answers().iter().filter_map(|record| ip(&record.data)).collect()
}

/// A target of `.` says that the service is not offered.
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_settings_are_read_anew_for_each_look_up() {
        let path = std::env::temp_dir().join(format!("cloister-resolv-{}.conf", std::process::id()));
        let resolver = Resolver::resolv_conf(&path);
        let missing = resolver.session().err().unwrap();
        assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");

        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let session = resolver.session().unwrap();
            let search: Vec<_> = session.search.iter().map(ToString::to_string).collect();
            let servers: Vec<_> = session.servers.iter().map(|server| server.address.to_string()).collect();
            (servers.join(", "), search.join(" "), session.ndots)
        };
        let first = read("nameserver 127.0.0.11\nsearch one.example two.example\noptions ndots:5\n");
        assert_eq!(first, ("127.0.0.11:53".into(), "one.example two.example".into(), 5));
        let second = read("nameserver 10.0.0.1\nnameserver fd00::53\nsearch three.example\n");
        assert_eq!(second, ("10.0.0.1:53, [fd00::53]:53".into(), "three.example".into(), 1));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_server_at_all_is_said() {
        let error = Resolver::servers([]).session().err().unwrap();
        assert!(matches!(error, DiscoveryError::Settings { .. }), "{error}");
    }

    #[tokio::test]
    async fn the_hosts_file_adds_to_dns_and_stands_in_for_it() {
        // Nobody answers there: the socket is bound and never read.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver =
            Resolver::servers([silent.local_addr().unwrap()]).with_deadline(Duration::from_secs(60));
        let mut session = resolver.session().unwrap();
        session.hosts.read_hosts_conf(&b"10.0.0.7 app\nfd00::7 app\n"[..]).unwrap();
        let began = Instant::now();
        let found = session.addresses("app", 4370).await.unwrap();
        assert_eq!(found.sockets(), ["10.0.0.7:4370".parse().unwrap(), "[fd00::7]:4370".parse().unwrap()]);
        assert!(found.problems().next().is_some(), "that DNS was silent stays visible: {found:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "who knows already waits for the grace only");
    }
}
