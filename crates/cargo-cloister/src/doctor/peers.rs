//! The other nodes: whether they are reached, and what they say of themselves.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use cloister_config::{Config, SeedKind};
use cloister_discovery::Seeds;
use cloister_json::Members;
use cloister_net::peer_check::{PeerCheck, PeerCheckError};
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Checks;
use crate::http::{self, Url};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a peer may take to say what it is: longer than a handshake of TLS with its answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// How far the clocks of two machines may be apart before it is reported. The header of HTTP has whole seconds.
const CLOCKS_APART: Duration = Duration::from_secs(3);

/// What came of asking one peer.
struct PeerAnswers {
    address: SocketAddr,
    /// Whether it accepts a connection; and if so, whether it would admit a node that starts here.
    connected: Result<Result<(), PeerCheckError>, Silent>,
    /// What its admin server says, and its clock less our own, in seconds.
    picture: Option<(Members, Option<i64>)>,
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
    check: PeerCheck,
    checks: &mut Checks,
) -> io::Result<()> {
    let check = Arc::new(check);
    let admin = config.admin_listen.map(|admin| admin.port());
    let peers = found.iter().filter(|address| !own.contains(address)).copied();
    let mut asks: JoinSet<_> = peers.map(|address| ask(address, admin, Arc::clone(&check))).collect();
    let mut all = Vec::new();
    while let Some(asked) = asks.join_next().await {
        all.extend(asked.ok());
    }
    all.sort_by_key(|asked| asked.address);

    for PeerAnswers { address, connected, .. } in &all {
        match connected {
            Ok(admitted) => {
                checks.ok("peer", &format!("{address} accepts connections"))?;
                handshake(*address, admitted, checks)?;
            }
            Err(Silent::Refused) => {
                let text = format!(
                    "{address} refuses: no process listens there; start the node, or correct `seeds`"
                );
                checks.warn("peer", &text)?;
            }
            Err(Silent::Dropped) => {
                let text = format!(
                    "{address} is silent for {} s: is the machine there, and does a firewall let port {} through both ways?",
                    CONNECT_TIMEOUT.as_secs(),
                    address.port()
                );
                checks.fail("peer", &text)?;
            }
            Err(Silent::Other(error)) => {
                checks.fail("peer", &format!("{address} cannot be reached: {error}"))?
            }
        }
    }
    compare(config, &all, admin, checks)?;
    majority(config, seeds, &all, checks)
}

/// What the peer would say to a node that starts here.
fn handshake(
    address: SocketAddr,
    admitted: &Result<(), PeerCheckError>,
    checks: &mut Checks,
) -> io::Result<()> {
    let Err(error) = admitted else {
        return checks.ok("handshake", &format!("{address} would link with a node that starts here"));
    };
    let (topic, remedy) = match error {
        PeerCheckError::Tls(_) => ("tls", ""),
        PeerCheckError::Cookie(_) => ("cookie", ": give all nodes the same"),
        PeerCheckError::Application(_) => ("application", ": set `name` on all nodes, or correct `seeds`"),
        PeerCheckError::NotANode(_) => ("handshake", ": correct `seeds`, or the port there"),
        _ => ("handshake", ": is it a node, and with the same section `[tls]`? its log says more"),
    };
    checks.fail(topic, &format!("{address} would not link with a node that starts here: {error}{remedy}"))
}

async fn ask(address: SocketAddr, admin: Option<u16>, check: Arc<PeerCheck>) -> PeerAnswers {
    let connected = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => Ok(check.run(socket, HANDSHAKE_TIMEOUT).await),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Silent::Refused),
        Ok(Err(error)) => Err(Silent::Other(error.to_string())),
        Err(_) => Err(Silent::Dropped),
    };
    let picture = match admin {
        Some(port) if connected.is_ok() => members(SocketAddr::new(address.ip(), port)).await,
        _ => None,
    };
    PeerAnswers { address, connected, picture }
}

async fn members(admin: SocketAddr) -> Option<(Members, Option<i64>)> {
    let url: Url = format!("http://{admin}").parse().ok()?;
    let answer = http::get(&url, "/members").await.ok().filter(|answer| answer.status == 200)?;
    let apart = answer.date.map(|date| date.as_second() - Timestamp::now().as_second());
    Some((serde_json::from_slice(&answer.body).ok()?, apart))
}

/// What peers say by their admin servers: application, settings, connections, clocks.
fn compare(config: &Config, all: &[PeerAnswers], admin: Option<u16>, checks: &mut Checks) -> io::Result<()> {
    for PeerAnswers { address, connected, picture } in all {
        let Some((members, apart)) = picture else {
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
        // Where the handshake has said it, it need not be said again.
        if !matches!(connected, Ok(Err(PeerCheckError::Application(_)))) {
            application(config, *address, members, checks)?;
        }
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
    let is_of_application = |members: &&Members| members.node.split('@').next() == Some(&config.name);
    let pictures = || {
        let answered = all.iter().filter_map(|asked| asked.picture.as_ref());
        answered.map(|(members, _)| members).filter(is_of_application)
    };
    if pictures().flat_map(|members| members.settings.keys()).any(|key| is_definition(key)) {
        let conflicts = conflicts(pictures());
        for text in &conflicts {
            checks.fail("tables", text)?;
        }
        if conflicts.is_empty() {
            checks.ok("tables", "tables and entities that several nodes have are defined alike")?;
        }
    }
    Ok(())
}

/// Whether this is the name of something that the program has defined, as `table stock`. Keys of the configuration have no space.
fn is_definition(key: &str) -> bool {
    key.contains(' ')
}

/// What nodes that run have defined differently: they do not link.
fn conflicts<'a>(all: impl Iterator<Item = &'a Members>) -> Vec<String> {
    let mut first: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for members in all {
        for (name, definition) in members.settings.iter().filter(|(key, _)| is_definition(key)) {
            let (node, known) = first.entry(name).or_insert((&members.node, definition));
            if known != definition {
                conflicts.push(format!(
                    "{} does not link with {node}: its {name} is {definition}, there it is {known}: define it alike on all nodes, by \
                     one release, and change it with all nodes stopped",
                    members.node
                ));
            }
        }
    }
    conflicts
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
    let common = config.common_settings(NonZeroUsize::MIN);
    let there = &members.settings;
    if let Some(rings) = there.get("rings").filter(|rings| **rings != common.rings()) {
        let text = format!(
            "{node} would not link with a node that starts here: its rings are {rings}, those here are {}: all nodes must have \
             the same `[rings]`",
            common.rings()
        );
        checks.fail("rings", &text)?;
    }
    let mut differs = Vec::new();
    for (key, here) in common.settings() {
        // What the configuration does not say depends on the place of the node in the list.
        let here = match key.as_str() {
            "consensus" => config.consensus.map(|consensus| consensus.to_string()),
            _ => Some(here.clone()),
        };
        if let (Some(here), Some(there)) = (here, there.get(key))
            && here != *there
        {
            differs.push(format!("`{key}` is {here} here and {there} there"));
        }
    }
    for peer in &members.peers {
        let other = peer.name.as_ref().or(peer.address.as_ref()).map_or("a peer", |name| name);
        for difference in &peer.differs {
            let (key, here, there) = (&difference.key, &difference.here, &difference.there);
            differs.push(format!("`{key}` is {here} there and {there} at {other}"));
        }
    }
    if differs.is_empty() {
        let text = format!("{node} has this application and the same settings; it is {}", members.status);
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
fn majority(config: &Config, seeds: &Seeds, all: &[PeerAnswers], checks: &mut Checks) -> io::Result<()> {
    const TOPIC: &str = "majority";
    if seeds.is_empty() {
        return Ok(());
    }
    let needed = config.consensus_for(seeds.kind()).get();
    let there = 1 + all.iter().filter(|asked| matches!(asked.connected, Ok(Ok(())))).count();
    let apart = all.iter().filter(|asked| matches!(asked.connected, Ok(Err(_)))).count();
    let (known, missing) = (1 + all.len(), needed.saturating_sub(there));
    if missing == 0 {
        return checks.ok(TOPIC, &format!("{needed} of {known} needed, {there} there with a node here"));
    }
    let remedy = match seeds.kind() {
        _ if there + apart >= needed => format!("{apart} would not link, see above"),
        _ if known >= needed => format!("start {missing} more of those that are named"),
        SeedKind::List(_) => "name more nodes in `seeds`, or lower `consensus`".to_owned(),
        _ => "scale the service up, or lower `consensus`".to_owned(),
    };
    checks.fail(TOPIC, &format!("{needed} needed, {there} there with a node here, {known} known: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_nodes_define_differently_is_told_with_both_definitions() {
        let node = |name: &str, settings: &[(&str, &str)]| -> Members {
            let settings: BTreeMap<_, _> = settings.iter().copied().collect();
            let text = serde_json::json!({"node": name, "status": "up", "settings": settings, "members": [], "peers": []});
            serde_json::from_value(text).expect("members")
        };
        let one = node("shop@a:1", &[("table stock", "copies 2"), ("rings", "none"), ("split", "majority")]);
        let other =
            node("shop@b:1", &[("table stock", "copies 3"), ("table new", "copies 2"), ("rings", "x = {}")]);
        assert_eq!(conflicts([&one, &one].into_iter()), Vec::<String>::new());
        assert_eq!(
            conflicts([&one, &one, &other].into_iter()),
            [
                "shop@b:1 does not link with shop@a:1: its table stock is copies 3, there it is copies 2: define it alike on all nodes, \
              by one release, and change it with all nodes stopped"
            ]
        );
    }
}
