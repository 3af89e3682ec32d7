//! ractor's node server: how it is started, asked and listened to.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cloister_proto::{Address, LinkId, NodeId};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage, NodeSessionMessage};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::links::settings::LinkSettings;
use crate::messages::{AuthSession, SessionMessage};
use crate::telemetry::rejections::{self, Reason};

/// How long the node server may take to list its sessions, and a session to report whether it is ready.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl AuthSession {
    fn new(session: NodeServerSessionInformation, ready: bool) -> Self {
        Self {
            link: parse_label(&session.peer_addr).map(|(_, link)| link),
            node: session.node_id,
            actor: session.actor,
            name: session.peer_name.map(|name| name.name).unwrap_or_default(),
            ready,
        }
    }
}

/// Starts the node server under `sessions`, on the application's runtime, and ends the listener that it brings: all connections come from our own acceptor
/// and dialer.
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
    let sessions = sessions.clone();
    // In one task, since each step that waits for an answer would wake both runtimes.
    let started = settings.application.spawn(async move {
        let (server, _) = Actor::spawn_linked(None, Quiet(server), (), sessions.get_cell()).await?;
        watch(&server, &sessions).await?;
        close_listener(&server).await?;
        Ok(server)
    });
    started.await?
}

/// ractor's node server, which logs nothing: it warns of each session that ends, and this layer knows better why.
struct Quiet(NodeServer);

impl Actor for Quiet {
    type Msg = NodeServerMessage;
    type State = <NodeServer as Actor>::State;
    type Arguments = <NodeServer as Actor>::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<NodeServerMessage>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        self.0.pre_start(myself, arguments).with_subscriber(NoSubscriber::new()).await
    }

    async fn handle(
        &self,
        myself: ActorRef<NodeServerMessage>,
        message: NodeServerMessage,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.0.handle(myself, message, state).with_subscriber(NoSubscriber::new()).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<NodeServerMessage>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.0.handle_supervisor_evt(myself, event, state).with_subscriber(NoSubscriber::new()).await
    }
}

/// Passes the events of the node server on, and has it kill every session that opens without a label of ours.
async fn watch(
    server: &ActorRef<NodeServerMessage>,
    sessions: &ActorRef<SessionMessage>,
) -> Result<(), ActorProcessingErr> {
    let subscription = Box::new(Subscription(sessions.clone()));
    server.cast(NodeServerMessage::SubscribeToEvents { id: "cloister".to_owned(), subscription })?;
    // The node server takes messages in order: with this answer the subscription is in place.
    match server.call(NodeServerMessage::GetSessions, Some(QUERY_TIMEOUT)).await? {
        CallResult::Success(_) => Ok(()),
        _ => Err("the node server does not answer".into()),
    }
}

/// Ends the TCP listener of the node server, and every session that opened by it before [`watch`].
///
/// ractor_cluster 0.16.5 has no option to run without this listener. It is plain even where `[tls]` is set. Its secret is the one of all
/// sessions: [`NodeServer::new`] takes one cookie for the process, and both ends of a link must have the same. So the secret cannot be
/// random per process, and without a configured cookie the name of the application is all it has.
///
/// The listener is the one child of the node server that is no session. The node server starts it anew when it ends, unless it is
/// unlinked first. The kill interrupts its `accept`, and the socket closes with the actor: the port refuses from then on.
async fn close_listener(server: &ActorRef<NodeServerMessage>) -> Result<(), ActorProcessingErr> {
    for child in server.get_children() {
        if child.is_message_type_of::<NodeSessionMessage>() == Some(true) {
            child.kill();
            continue;
        }
        child.unlink(server.get_cell());
        child.kill_and_wait(Some(QUERY_TIMEOUT)).await?;
    }
    Ok(())
}

/// The name by which ractor knows the incarnation `id` at `address`: `app#host#port#incarnation@host:port`.
///
/// With the incarnation in it, a restarted node never competes with the session of its former incarnation. Before it, the address, so that
/// names sort as addresses do. Of two connections that were dialled from both ends at once, ractor keeps the one of the node whose name
/// sorts last. That must be the one that is to dial. Otherwise, between busy nodes, a late dial ends a link that is there.
pub(crate) fn ractor_name(id: &NodeId, address: &Address) -> String {
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
) -> Option<Vec<AuthSession>> {
    let Ok(CallResult::Success(sessions)) =
        server.call(NodeServerMessage::GetSessions, Some(QUERY_TIMEOUT)).await
    else {
        return None;
    };
    let (mut list, mut asked) = (Vec::with_capacity(sessions.len()), JoinSet::new());
    for (node, session) in sessions {
        let seen = AuthSession::new(session, ready.contains(&node));
        if seen.ready {
            list.push(seen);
        } else {
            asked.spawn(is_ready(seen));
        }
    }
    list.extend(asked.join_all().await);
    Some(list)
}

async fn is_ready(mut seen: AuthSession) -> AuthSession {
    let answer = seen.actor.call(NodeSessionMessage::GetReadyState, Some(QUERY_TIMEOUT)).await;
    seen.ready = matches!(answer, Ok(CallResult::Success(true)));
    seen
}

/// What ractor gets as the peer's address, and returns in every event.
pub(super) fn label(remote: SocketAddr, link: LinkId) -> String {
    format!("{remote}#{}", link.0)
}

/// The inverse of [`label`]; `None` for a session that has none of ours.
pub(super) fn parse_label(label: &str) -> Option<(SocketAddr, LinkId)> {
    let (remote, link) = label.rsplit_once('#')?;
    Some((remote.parse().ok()?, LinkId(link.parse().ok()?)))
}

/// Passes events on. It runs inside of the node server, which would not survive a panic here.
struct Subscription(ActorRef<SessionMessage>);

impl NodeEventSubscription for Subscription {
    /// The second barrier behind [`close_listener`]: a session that we did not hand in is killed as it opens. It cannot have
    /// authenticated anything: for that it must ask the node server, which is busy with this event.
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        if parse_label(&session.peer_addr).is_none() {
            session.actor.kill();
            rejections::count(Reason::AuthFailed);
            // Nothing is logged from here, see `Quiet`.
            let _ = self.0.cast(SessionMessage::Bypassed { address: session.peer_addr });
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some((_, link)) = parse_label(&session.peer_addr) {
            let _ = self.0.cast(SessionMessage::Vanished(link));
        }
    }

    /// It is ready soon, and the connection has been authenticated before.
    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(SessionMessage::AuthSession(AuthSession::new(session, true)));
    }
}

#[cfg(test)]
mod tests;
