//! The other nodes: whether they are reached, and what they say of themselves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cloister_config::{Config, SeedKind};
use cloister_discovery::Seeds;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Checks;
use crate::http::{self, Url};
use crate::members::Members;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How far the clocks of two machines may be apart before it is told. The header of HTTP has whole seconds.
const CLOCKS_APART: Duration = Duration::from_secs(3);

/// What came of asking one peer.
struct Asked {
    address: SocketAddr,
    connected: Result<(), Silent>,
    /// What its admin server says, and its clock less our own, in seconds.
    told: Option<(Members, Option<i64>)>,
}

/// Why there is no connection.
enum Silent {
    Refused,
    /// No answer at all.
    Dropped,
    Other(String),
}

pub(super) async fn check(
    config: &Config,
    seeds: &Seeds,
    found: &[SocketAddr],
    own: &[SocketAddr],
    checks: &mut Checks,
) -> io::Result<()> {
    let admin = config.admin_listen.map(|admin| admin.port());
    let peers = found.iter().filter(|address| !own.contains(address)).copied();
    let mut asks: JoinSet<_> = peers.map(|address| ask(address, admin)).collect();
    let mut all = Vec::new();
    while let Some(asked) = asks.join_next().await {
        all.extend(asked.ok());
    }
    all.sort_by_key(|asked| asked.address);

    for Asked { address, connected, .. } in &all {
        match connected {
            Ok(()) => checks.ok("peer", &format!("{address} accepts connections"))?,
            Err(Silent::Refused) => {
                let text = format!(
                    "{address} refuses: no process listens there; start the node, or correct `seeds`"
                );
                checks.warn("peer", &text)?;
            }
            Err(Silent::Dropped) => {
                let text = format!(
                    "{address} is silent for {} s: is the machine there, and does a firewall let port {} through both ways?",
                    CONNECT.as_secs(),
                    address.port()
                );
                checks.fail("peer", &text)?;
            }
            Err(Silent::Other(error)) => {
                checks.fail("peer", &format!("{address} cannot be reached: {error}"))?
            }
        }
    }
    told(config, &all, admin, checks)?;
    if all.iter().any(|asked| asked.connected.is_ok()) {
        let text = "with peers: only the nodes' own handshake compares it; where it differs, the log of both sides and \
                    `/members` say so";
        checks.skip("cookie", text)?;
    }
    majority(config, seeds, &all, checks)
}

async fn ask(address: SocketAddr, admin: Option<u16>) -> Asked {
    let connected = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Silent::Refused),
        Ok(Err(error)) => Err(Silent::Other(error.to_string())),
        Err(_) => Err(Silent::Dropped),
    };
    let told = match admin {
        Some(port) if connected.is_ok() => members(SocketAddr::new(address.ip(), port)).await,
        _ => None,
    };
    Asked { address, connected, told }
}

async fn members(admin: SocketAddr) -> Option<(Members, Option<i64>)> {
    let url: Url = format!("http://{admin}").parse().ok()?;
    let answer = http::get(&url, "/members").await.ok().filter(|answer| answer.status == 200)?;
    let apart = answer.date.map(|date| date.as_second() - Timestamp::now().as_second());
    Some((serde_json::from_slice(&answer.body).ok()?, apart))
}

/// What peers say by their admin servers: application, settings, connections, clocks.
fn told(config: &Config, all: &[Asked], admin: Option<u16>, checks: &mut Checks) -> io::Result<()> {
    for Asked { address, connected, told } in all {
        let Some((members, apart)) = told else {
            if connected.is_ok() {
                let why = match admin {
                    Some(port) => format!("its admin server does not answer at port {port}"),
                    None => "`admin.listen` is not set, so its admin server is not known".to_owned(),
                };
                checks.skip(
                    "settings",
                    &format!("{address}: application, settings and clock are unknown: {why}"),
                )?;
            }
            continue;
        };
        application(config, *address, members, checks)?;
        match apart {
            Some(seconds) if seconds.unsigned_abs() > CLOCKS_APART.as_secs() => {
                let direction = if *seconds > 0 { "ahead" } else { "behind" };
                let text = format!(
                    "that of {} is {} s {direction} of this machine's: synchronise both by NTP",
                    members.node,
                    seconds.unsigned_abs()
                );
                checks.fail("clock", &text)?;
            }
            Some(_) => checks.ok("clock", &format!("that of {} agrees with this machine's", members.node))?,
            None => checks.skip("clock", &format!("that of {}: its answer has no date", members.node))?,
        }
    }
    Ok(())
}

fn application(
    config: &Config,
    address: SocketAddr,
    members: &Members,
    checks: &mut Checks,
) -> io::Result<()> {
    let node = &members.node;
    let name = node.split('@').next().unwrap_or(node);
    if name != config.name {
        let text = format!(
            "{address} is {node}, of application {name}, not {}: set `name` on all nodes, or correct `seeds`",
            config.name
        );
        return checks.fail("application", &text);
    }
    let mut differs = Vec::new();
    if let (Some(here), Some(there)) = (config.consensus, members.consensus)
        && here as u64 != there
    {
        differs.push(format!("`consensus` is {here} here and {there} there"));
    }
    if let Some(there) = members.split.as_ref().and_then(|split| split.policy.as_ref())
        && *there != config.split.as_str()
    {
        differs.push(format!("`split` is {} here and {there} there", config.split.as_str()));
    }
    for peer in &members.peers {
        let other = peer.name.as_ref().or(peer.address.as_ref()).map_or("a peer", |name| name);
        for difference in &peer.differs {
            let (key, here, there) = (&difference.key, &difference.here, &difference.there);
            differs.push(format!("`{key}` is {here} there and {there} at {other}"));
        }
    }
    if differs.is_empty() {
        let text = format!(
            "{node} has this application, and no other `split` or `consensus`; it is {}",
            members.status
        );
        checks.ok("settings", &text)?;
    } else {
        let text = format!("{node}: {}; all nodes should have the same settings", differs.join(", "));
        checks.fail("settings", &text)?;
    }
    for peer in &members.peers {
        if let Some(error) = &peer.last_error
            && peer.state != "linked"
        {
            let other = peer.name.as_ref().or(peer.address.as_ref()).map_or("a peer", |name| name);
            checks.warn("links", &format!("{node} has no link with {other}: {error}"))?;
        }
    }
    Ok(())
}

/// Whether enough nodes are there for a first view.
fn majority(config: &Config, seeds: &Seeds, all: &[Asked], checks: &mut Checks) -> io::Result<()> {
    const TOPIC: &str = "majority";
    if seeds.is_empty() {
        return Ok(());
    }
    let needed = config.consensus_for(seeds.kind()).get();
    let there = 1 + all.iter().filter(|asked| asked.connected.is_ok()).count();
    let (known, missing) = (1 + all.len(), needed.saturating_sub(there));
    if missing == 0 {
        return checks.ok(TOPIC, &format!("{needed} of {known} needed, {there} there with a node here"));
    }
    let remedy = match seeds.kind() {
        _ if known >= needed => format!("start {missing} more of those that are named"),
        SeedKind::List(_) => "name more nodes in `seeds`, or lower `consensus`".to_owned(),
        _ => "scale the service up, or lower `consensus`".to_owned(),
    };
    checks.fail(TOPIC, &format!("{needed} needed, {there} there with a node here, {known} known: {remedy}"))
}
