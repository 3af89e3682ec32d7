//! What this machine allows: ports, descriptors, the clock.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use cloister_config::Config;
use cloister_net::ListenError;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Checks;
use crate::http::Url;
use crate::members;

/// Below this, the admin server takes fewer connections, and many peers may be too many.
const FEW_DESCRIPTORS: u64 = 1_024;

/// Below this, a node of a few peers may fail.
const TOO_FEW_DESCRIPTORS: u64 = 128;

/// The year in which a clock counts as set.
const FIRST_YEAR: &str = "2026-01-01T00:00:00Z";

pub(super) fn descriptors(checks: &mut Checks) -> io::Result<()> {
    const TOPIC: &str = "descriptors";
    let remedy = "raise it with `ulimit -n 4096`, or LimitNOFILE= in a systemd unit";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < TOO_FEW_DESCRIPTORS => {
            checks.fail(TOPIC, &format!("{limit} at most: {remedy}"))
        }
        Some(limit) if limit < FEW_DESCRIPTORS => checks.warn(TOPIC, &format!("{limit} at most: {remedy}")),
        Some(limit) => checks.ok(TOPIC, &format!("up to {limit}")),
        None => checks.ok(TOPIC, "no limit"),
    }
}

pub(super) fn clock(checks: &mut Checks) -> io::Result<()> {
    let now = Timestamp::now();
    let first: Timestamp = FIRST_YEAR.parse().expect("invariant: a valid time");
    let shown = now.round(jiff::Unit::Second).unwrap_or(now);
    if now < first {
        checks.fail("clock", &format!("this machine's shows {shown}: set it, and keep it right by NTP"))
    } else {
        checks.ok("clock", &format!("this machine's shows {shown}"))
    }
}

/// The port for the other nodes.
pub(super) async fn cluster_port(config: &Config, bind: SocketAddr, checks: &mut Checks) -> io::Result<()> {
    let Err(error) = TcpListener::bind(bind) else {
        return checks.ok("port", &format!("{bind} is free"));
    };
    let node = match config.admin_listen {
        Some(admin) if error.kind() == io::ErrorKind::AddrInUse => running_at(admin).await,
        _ => None,
    };
    match node {
        Some(node) => checks.ok("port", &format!("{bind} is in use by {node}, which runs here")),
        None => checks.fail("port", &ListenError::new(bind, &error).to_string()),
    }
}

/// The port of the admin server.
pub(super) async fn admin_port(config: &Config, checks: &mut Checks) -> io::Result<()> {
    let Some(admin) = config.admin_listen else {
        return checks.warn(
            "admin.listen",
            "not set: no readiness, no metrics, no `cargo cloister status`; 127.0.0.1:8400 is a good value",
        );
    };
    let Err(error) = listen_admin(admin) else {
        return checks.ok("admin.listen", &format!("{admin} is free"));
    };
    match running_at(admin).await {
        Some(node) => checks.ok("admin.listen", &format!("{admin} is in use by {node}, which runs here")),
        None if error.kind() == io::ErrorKind::AddrInUse => {
            let text = format!("{admin} is taken by another program: stop it, or set another `admin.listen`");
            checks.fail("admin.listen", &text)
        }
        None => checks.fail("admin.listen", &format!("{admin} cannot be listened on: {error}")),
    }
}

/// The node whose admin server answers there.
async fn running_at(admin: SocketAddr) -> Option<String> {
    let url: Url = format!("http://{}", reachable(admin)).parse().ok()?;
    members::members(&url).await.ok().map(|members| members.node)
}

/// Listens as the admin server does: `[::]` is `0.0.0.0` where the kernel has no IPv6.
fn listen_admin(admin: SocketAddr) -> io::Result<TcpListener> {
    let without_v6 = |error: &io::Error| error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    match TcpListener::bind(admin) {
        Err(error) if admin.ip().is_unspecified() && without_v6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, admin.port()))
        }
        bound => bound,
    }
}

/// Where a server is asked that listens everywhere. One at `[::]` answers there, too, also where no interface has an IPv6 address.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = if admin.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { admin.ip() };
    SocketAddr::new(ip, admin.port())
}
