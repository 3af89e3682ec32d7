//! The `Host` that a request names: a defence against DNS rebinding.
//!
//! A web page may look up its own name as the address of a node, and then read the node's pages through the browser of a
//! visitor. Its requests carry the page's name as their `Host`. So a name must be one that cannot be registered on the public
//! internet, or one that belongs to this cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloister_core::internal::{LogLimiter, recorded, text};
use cloister_core::telemetry::rejections::Reason;
use cloister_core::{Cloister, Config};
use tracing::warn;

/// Ends of names that no public DNS has: RFC 6761 and 6762, what ICANN keeps for private use, and the services of Kubernetes.
const PRIVATE: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];

/// The names under which a node may be asked.
#[derive(Clone)]
pub(super) struct Hosts(Arc<Inner>);

struct Inner {
    cloister: Cloister,
    named: BTreeSet<String>,
    limiter: Mutex<LogLimiter>,
}

impl Hosts {
    /// Those of a node: what it is called itself, and what its configuration names.
    pub(super) fn new(cloister: Cloister, config: Option<&Config>) -> Self {
        let named = config.map(named).unwrap_or_default();
        Self(Arc::new(Inner { cloister, named, limiter: Mutex::default() }))
    }

    fn accepts(&self, host: &str) -> bool {
        is_private(host)
            || self.0.named.contains(host)
            || self.0.cloister.node().name().address().is_some_and(|address| address.host() == host)
    }
}

/// The host names in a configuration: of this node, of its seeds, and for the admin server.
fn named(config: &Config) -> BTreeSet<String> {
    let seeds = config.seed_names();
    let all = config.host.iter().chain(&seeds).chain(&config.admin_hosts);
    all.map(|host| plain(host)).collect()
}

/// A name as it is compared: in lower case, without the dot at its end.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether this is an IP address, or a name that cannot be registered on the public internet. Addresses that no node could have, such
/// as 0.0.0.0, are of this machine, too: `Host` of `cloister-discovery` refuses those.
fn is_private(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || !host.contains('.') || PRIVATE.iter().any(|end| host.ends_with(end))
}

/// The host that a request names, if it names one. A browser always does; a probe of HTTP/1.0 need not.
fn host_of(request: &Request) -> Option<Result<String, String>> {
    if let Some(host) = request.uri().host() {
        return Some(Ok(plain(host)));
    }
    let value = request.headers().get(header::HOST)?;
    let authority = Authority::try_from(value.as_bytes());
    Some(match authority {
        Ok(authority) => Ok(plain(authority.host())),
        Err(_) => Err(String::from_utf8_lossy(value.as_bytes()).into_owned()),
    })
}

/// Answers 421 to a request that names a foreign host.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let host = match host_of(&request) {
        None => return next.run(request).await,
        Some(Ok(host)) if hosts.accepts(&host) => return next.run(request).await,
        Some(Ok(host) | Err(host)) => text::sanitize(&host),
    };
    recorded::rejection(Reason::AdminHost);
    let missed = hosts.0.limiter.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
    if let Some(missed) = missed {
        warn!(
            host,
            missed,
            "an admin request for a foreign host was refused; if it is a name of this node, add it to `admin.hosts`"
        );
    }
    let text = format!(
        "`{host}` is no name of this node: ask it by IP address, or add the name to `admin.hosts` (CLOISTER__ADMIN__HOSTS)\n"
    );
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_registered_is_accepted_and_a_public_one_is_not() {
        for private in [
            "127.0.0.1",
            "10.0.0.7",
            "[::1]",
            "[fd00::1]",
            "localhost",
            "app",
            "my-pod-0",
            "app.localhost",
            "printer.local",
            "app.shop.svc",
            "app.shop.svc.cluster.local",
            "ip-10-0-0-7.ec2.internal",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "local.dev", "a.svc.com"]
        {
            assert!(!is_private(public), "{public}");
        }
    }

    #[test]
    fn what_the_configuration_names_is_accepted_in_any_case_and_with_a_dot() {
        let config = Config::new("shop")
            .host("Node1.shop.example")
            .seeds(["node1.shop.example:4370", "node2.shop.example", "10.0.0.1:4370"])
            .admin_hosts(["status.shop.example"]);
        let named = named(&config);
        for host in ["node1.shop.example", "NODE2.shop.example.", "status.shop.example"] {
            assert!(named.contains(&plain(host)), "{host} in {named:?}");
        }
        assert!(!named.contains("shop.example"));
    }
}
