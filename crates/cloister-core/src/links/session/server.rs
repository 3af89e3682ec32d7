//! ractor's node server: how it is started, asked and listened to.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cloister_proto::{Address, LinkId, NodeId};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage, NodeSessionMessage};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{SessionMessage, SessionRef};
use crate::links::LinkSettings;

/// How long the node server may take to list its sessions, and a session to say whether it is ready.
const ANSWER: Duration = Duration::from_secs(2);

/// A session that ractor has authenticated.
pub(in crate::links) struct Seen {
    /// Our number for its connection; `None` when it came by another way than ours.
    pub(super) link: Option<LinkId>,
    /// ractor's number for it.
    pub(super) node: ractor_cluster::NodeId,
    pub(super) actor: SessionRef,
    /// The name that the peer authenticated with.
    pub(super) name: String,
    /// Whether both sides have told each other their actors and groups.
    pub(super) ready: bool,
}

/// Starts the node server under `sessions`. Its own listener is on loopback at a free port, where nobody looks for it.
pub(super) async fn start(
    settings: &LinkSettings,
    address: &Address,
    sessions: &ActorRef<SessionMessage>,
) -> Result<ActorRef<NodeServerMessage>, ActorProcessingErr> {
    let (name, host) = ractor_parts(&settings.me.id, address);
    let cookie = cookie(&settings.cluster, &settings.cookie);
    let server = NodeServer::new(0, cookie, name, host, None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(settings.max_frame);
    let (server, _) = Actor::spawn_linked(None, server, (), sessions.get_cell()).await?;
    let subscription = Box::new(Subscription(sessions.clone()));
    server.cast(NodeServerMessage::SubscribeToEvents { id: "cloister".to_owned(), subscription })?;
    Ok(server)
}

/// The name by which ractor knows the life `id` at `address`: `app#host#port#incarnation@host:port`.
///
/// With the incarnation in it, a restarted node never competes with the session of its former life. Before it, the address,
/// so that names sort as addresses do: of two connections that were dialled from both ends at once, ractor keeps the
/// one of the node whose name sorts last, and that must be the one that is to dial. Otherwise, between busy nodes, a
/// late dial ends a link that is there.
pub(in crate::links) fn ractor_name(id: &NodeId, address: &Address) -> String {
    let (name, host) = ractor_parts(id, address);
    format!("{name}@{host}")
}

fn ractor_parts(id: &NodeId, address: &Address) -> (String, String) {
    let (host, port) = (address.host(), address.port());
    // `#` sorts before all that a host may have, as the end of a text does.
    (format!("{}#{host}#{port:05}#{}", id.name().app(), id.incarnation()), address.to_string())
}

/// What ractor authenticates with: bound to the cluster's name, so that another cluster with the same secret is
/// refused before anything else.
fn cookie(cluster: &str, secret: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"cloister cookie 1");
    for part in [cluster, secret] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Every authenticated session. Those in `ready` are not asked again whether they are.
pub(super) async fn list(
    server: &ActorRef<NodeServerMessage>,
    ready: &BTreeSet<ractor_cluster::NodeId>,
) -> Option<Vec<Seen>> {
    let Ok(CallResult::Success(sessions)) = server.call(NodeServerMessage::GetSessions, Some(ANSWER)).await
    else {
        return None;
    };
    let (mut list, mut asked) = (Vec::with_capacity(sessions.len()), JoinSet::new());
    for (node, session) in sessions {
        let seen = Seen {
            link: parse_label(&session.peer_addr).map(|(_, link)| link),
            node,
            actor: session.actor,
            name: session.peer_name.map(|name| name.name).unwrap_or_default(),
            ready: ready.contains(&node),
        };
        if seen.ready {
            list.push(seen);
        } else {
            asked.spawn(is_ready(seen));
        }
    }
    list.extend(asked.join_all().await);
    Some(list)
}

async fn is_ready(mut seen: Seen) -> Seen {
    let answer = seen.actor.call(NodeSessionMessage::GetReadyState, Some(ANSWER)).await;
    seen.ready = matches!(answer, Ok(CallResult::Success(true)));
    seen
}

/// What ractor is told as the peer's address, and says back in every event.
pub(super) fn label(remote: SocketAddr, link: LinkId) -> String {
    format!("{remote}#{}", link.0)
}

/// The inverse of [`label`]; `None` for a session that has none of ours.
pub(super) fn parse_label(label: &str) -> Option<(SocketAddr, LinkId)> {
    let (remote, link) = label.rsplit_once('#')?;
    Some((remote.parse().ok()?, LinkId(link.parse().ok()?)))
}

/// Passes events on as hints. It runs inside of the node server, which would not survive a panic here.
struct Subscription(ActorRef<SessionMessage>);

impl NodeEventSubscription for Subscription {
    fn node_session_opened(&self, _session: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let claimed = session.peer_name.map(|name| name.name).unwrap_or_default();
        let _ = self.0.cast(SessionMessage::Gone { label: session.peer_addr, claimed });
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {
        let _ = self.0.cast(SessionMessage::Look);
    }

    fn node_session_ready(&self, _session: NodeServerSessionInformation) {
        let _ = self.0.cast(SessionMessage::Look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_survives_ractor() {
        let remote = SocketAddr::from(([10, 0, 0, 1], 4370));
        assert_eq!(parse_label(&label(remote, LinkId(17))), Some((remote, LinkId(17))));
        assert_eq!(parse_label("127.0.0.1:33333"), None);
        assert_eq!(parse_label("external"), None);
    }

    #[test]
    fn the_cookie_depends_on_the_cluster_and_the_secret_and_on_where_one_ends() {
        let all = [cookie("a", "b"), cookie("a", "c"), cookie("b", "b"), cookie("ab", ""), cookie("", "ab")];
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|cookie| cookie.len() == 64 && !cookie.contains("ab\0")));
    }
}
