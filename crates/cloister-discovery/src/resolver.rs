//! The DNS client: its servers, search domains and deadline.

mod session;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::Instant;

use crate::{DiscoveryError, LookupResult};

pub(crate) use session::Session;
use session::{Server, parse};

/// The port of DNS.
pub(crate) const DNS_PORT: u16 = 53;

/// The file with the settings of the system.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A DNS client without a cache. It reads the settings again for every lookup.
///
/// By default it uses the settings of the system: the servers, search domains and `ndots` of `/etc/resolv.conf`, and the hosts file. The
/// addresses of the hosts file are *added* to those of DNS. The hosts file of a container names the container itself, and must not hide its
/// peers.
///
/// A lookup queries A and AAAA records at once. It queries several servers in their order: the next one when one fails or does
/// not answer within 300 ms. EDNS0 is on. A truncated response is queried again over TCP.
///
/// ```
/// use std::time::Duration;
///
/// use cloister_discovery::Resolver;
///
/// let consul = Resolver::servers(["10.0.0.53:8600".parse().unwrap()]).with_deadline(Duration::from_secs(1));
/// assert_eq!(consul.deadline(), Duration::from_secs(1));
/// ```
///
/// [`Srv`](crate::Srv), [`List`](crate::List) and [`Dns`](crate::Dns) take one.
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
    /// The default deadline of a lookup. A name server under load may need seconds, and a shorter deadline would discard every
    /// late response.
    pub const DEADLINE: Duration = Duration::from_secs(4);

    /// Uses the settings of the system: `/etc/resolv.conf` and the hosts file.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Source::System, search: None, deadline: Self::DEADLINE }
    }

    /// Uses the settings in this file, which has the format of `/etc/resolv.conf`, and no hosts file.
    #[cfg(target_os = "linux")]
    pub fn resolv_conf(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()), ..Self::system() }
    }

    /// Uses these servers only, without search domains and without the hosts file.
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

    /// Sets the deadline of a lookup, for all its queries together. Default: [`Resolver::DEADLINE`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The deadline of a lookup.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Every address of `name`, each with `port`.
    pub(crate) async fn addresses(&self, name: &str, port: u16) -> Result<LookupResult, DiscoveryError> {
        self.session()?.addresses(name, port).await
    }

    /// A resolver for one lookup, made from the settings as they are now.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_settings_are_read_anew_for_each_lookup() {
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
    fn no_server_at_all_is_an_error() {
        let error = Resolver::servers([]).session().err().unwrap();
        assert!(matches!(error, DiscoveryError::Settings { .. }), "{error}");
    }
}
