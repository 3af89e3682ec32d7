//! What the sessions do about each message.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cloister_proto::text::{sanitize, sanitize_to};
use cloister_proto::{Difference, LinkId, Message, NodeId};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::begun::Begun;
use super::handshake::Handshake;
use super::server;
use super::table::{Session, SessionAction};
use super::{CLOSE_LINGER, SessionState};
use crate::accept::pending::Permit;
use crate::connection::socket::TrackedSocket;
use crate::connection::transport::EstablishError;
use crate::links::error::LinkError;
use crate::links::event::LinkEvent;
use crate::links::open_links::OpenLink;
use crate::messages::{AuthSession, DialerMessage, HANDSHAKE_TIMEOUT, SessionMessage};
use crate::telemetry::rejections::{self, Reason};

/// The most characters of the version of a peer.
const MAX_VERSION_SHOWN: usize = 64;

impl SessionState {
    /// Begins to make a link of a connection.
    pub(super) fn open(
        &mut self,
        myself: &ActorRef<SessionMessage>,
        socket: TcpStream,
        remote: SocketAddr,
        target: Option<SocketAddr>,
        since: Instant,
        permit: Option<Permit>,
    ) {
        let link = self.table.next_link();
        let remote = canonical(remote);
        let local = match socket.local_addr() {
            Ok(local) => canonical(local),
            Err(cause) => {
                self.never_opened(link, target, cause.to_string());
                return;
            }
        };
        if let Some(other) = self.table.mirror(local, remote) {
            // Both ends of this connection are in this process: we have dialled ourselves.
            let dialled = self.table.get(other).and_then(|session| session.target);
            if let Some(address) = target.or(dialled) {
                self.notify_dialer(DialerMessage::IsSelf(address));
            }
            if let Some(session) = self.table.remove(other) {
                session.socket.shutdown();
                self.forget_guest(other, &session);
            }
            return;
        }
        let patience = 2 * self.settings.timing.unreachable_after;
        let socket = match TrackedSocket::new(socket, &self.settings.application, self.clock, patience) {
            Ok(socket) => Arc::new(socket),
            Err(cause) => {
                self.never_opened(link, target, cause.to_string());
                return;
            }
        };
        if target.is_none() {
            self.notify_dialer(DialerMessage::Pending { link, ip: remote.ip() });
        }
        if let Some(permit) = &permit {
            permit.set_handshaking(&socket);
        }
        let begun = Arc::<Begun>::default();
        self.table.insert(
            link,
            Session::new(Arc::clone(&socket), local, remote, target, permit, Arc::clone(&begun)),
        );
        let left = HANDSHAKE_TIMEOUT.saturating_sub(since.elapsed());
        myself.send_after(left, move || SessionMessage::Overdue(link));
        let handshake = Handshake {
            link,
            socket,
            remote,
            dialled: target.is_some(),
            clock: self.clock,
            // One heartbeat may be late.
            silent_after: 2 * self.settings.timing.heartbeat_every,
            tls: self.settings.tls.clone(),
            credentials: Arc::clone(&self.credentials),
            tie_break: Arc::clone(&self.tie_break),
            greeting: Arc::clone(&self.greeting),
            max_frame: self.settings.max_frame,
            link_bytes: self.settings.link_bytes,
            sessions: myself.clone(),
            server: self.server.clone(),
            begun,
        };
        self.settings.application.spawn(handshake.run());
    }

    /// No session can begin on a connection.
    pub(super) fn not_established(&mut self, link: LinkId, error: EstablishError) {
        let text = error.to_string();
        if let Some(session) = self.table.get_mut(link) {
            session.failure = Some(error);
        }
        self.end(link, &text);
    }

    fn never_opened(&mut self, link: LinkId, target: Option<SocketAddr>, error: String) {
        if let Some(target) = target {
            self.log_failure(target, &error);
        }
        self.notify_dialer(DialerMessage::Ended { link, target, error });
    }

    fn forget_guest(&self, link: LinkId, session: &Session) {
        if session.target.is_none() {
            self.notify_dialer(DialerMessage::Ended { link, target: None, error: String::new() });
        }
    }

    /// Asks ractor for its list.
    pub(super) fn reconcile(&mut self, myself: &ActorRef<SessionMessage>) {
        if std::mem::replace(&mut self.is_asked, true) {
            return;
        }
        let (server, myself) = (self.server.clone(), myself.clone());
        let (known, ready) = (self.table.authenticated(), self.table.ready_nodes());
        tokio::spawn(async move {
            let list = server::list(&server, &ready).await;
            let _ = myself.cast(SessionMessage::Listed { known, list });
        });
    }

    /// Brings the sessions in line with ractor's list.
    pub(super) fn listed(
        &mut self,
        myself: &ActorRef<SessionMessage>,
        known: &[LinkId],
        list: Option<Vec<AuthSession>>,
    ) {
        self.is_asked = false;
        let Some(list) = list else {
            // While the application's runtime stands still it cannot; the watchdog reports that.
            if !self.settings.application.is_stalled() {
                info!("the node server did not list its sessions; it will be asked again");
            }
            return;
        };
        let listed: BTreeSet<LinkId> = list.iter().filter_map(|seen| seen.link).collect();
        for link in known.iter().filter(|link| !listed.contains(link)) {
            self.vanished(*link);
        }
        for seen in list {
            self.seen(myself, seen);
        }
    }

    /// The session of a connection has ended. Before it was authenticated, the connection itself has the better reason.
    pub(super) fn vanished(&mut self, link: LinkId) {
        if self.table.get(link).is_some_and(|session| session.node.is_some()) {
            self.end(link, "ractor ended the session");
        }
    }

    /// ractor has authenticated a session, and perhaps made it ready.
    pub(super) fn seen(&mut self, myself: &ActorRef<SessionMessage>, seen: AuthSession) {
        let Some(link) = seen.link else {
            // It came in by ractor's own listener on loopback, past the failure detection of this layer.
            debug!(peer = %sanitize(&seen.name), "a session that did not come in by the advertised port is closed");
            seen.actor.stop(Some("use the advertised port".to_owned()));
            return;
        };
        for next in self.table.seen(link, &seen, &self.settings.hello) {
            self.perform(myself, next);
        }
        for message in self.table.get(link).map(|session| session.begun.buffered().open()).unwrap_or_default()
        {
            self.message_received(myself, link, message);
        }
    }

    pub(super) fn overdue(&mut self, link: LinkId) {
        if self.table.get(link).is_some_and(|session| !session.is_linked()) {
            rejections::count(Reason::HandshakeTimeout);
            self.end(link, "it was not introduced within 5 s");
        }
    }

    /// The bytes of a message came in. They may be anything.
    pub(super) fn message_received(
        &mut self,
        myself: &ActorRef<SessionMessage>,
        link: LinkId,
        message: Vec<u8>,
    ) {
        match Message::decode_with(message, &mut self.incarnations) {
            Ok(message) => {
                if let Some(next) = self.table.on_message(link, message, &self.settings.hello) {
                    self.perform(myself, next);
                }
            }
            Err(error) => self.on_malformed(link, &error.to_string()),
        }
    }

    /// Does what the table found to be next.
    fn perform(&mut self, myself: &ActorRef<SessionMessage>, next: SessionAction) {
        match next {
            SessionAction::Link(link) => self.linked(link),
            SessionAction::Deliver(link, message) => (self.sink)(LinkEvent::Received { link, message }),
            SessionAction::Refuse(link, refusal) => {
                if let Some(session) = self.table.get_mut(link) {
                    rejections::count(Reason::Incompatible);
                    let why = session.why_refused(&refusal, &self.settings.hello);
                    if self.already_logged.is_new(format!("refuse {} {why}", session.label())) {
                        warn!(peer = %session.label(), peer_addr = %session.remote, reason = %why, "a peer is incompatible and is refused");
                    }
                    session.reject_text = Some(format!("it does not fit: {why}"));
                    session.send(&Message::Refused(refusal));
                    myself.send_after(CLOSE_LINGER, move || SessionMessage::Enough {
                        link,
                        reason: "it does not fit",
                    });
                }
            }
            SessionAction::Refused(link, refusal) => {
                let why = refusal.reason(&self.settings.hello);
                let reject_text = format!("it refuses this node: {why}");
                if let Some(session) = self.table.get_mut(link) {
                    if self.already_logged.is_new(format!("refused {} {why}", session.label())) {
                        warn!(peer = %session.label(), peer_addr = %session.remote, reason = %why, "a peer refuses this node");
                    }
                    session.reject_text = Some(reject_text.clone());
                }
                self.end(link, &reject_text);
            }
        }
    }

    fn linked(&mut self, link: LinkId) {
        let Some(session) = self.table.get_mut(link) else { return };
        let (Some(hello), Some(node), Some((frame_reader, frame_writer))) =
            (session.hello.clone(), session.node, session.begun.ends().cloned())
        else {
            return;
        };
        session.permit = None;
        let peer = hello.member.clone();
        let differs: Arc<[Difference]> = self.settings.hello.differences(&hello).into();
        if !differs.is_empty()
            && self.already_logged.is_new(format!("differs {} {differs:?}", peer.id.name()))
        {
            let what: Vec<String> = differs.iter().map(ToString::to_string).collect();
            warn!(
                peer = %peer.id,
                differs = what.join(", "),
                "a peer is configured otherwise; all nodes of a cluster should have the same settings"
            );
        }
        let socket = Arc::clone(&session.socket);
        let version = sanitize_to(&hello.version, MAX_VERSION_SHOWN);
        let open =
            OpenLink { peer: peer.id.clone(), node, socket, frame_reader, frame_writer, differs, version };
        self.shared.open.insert(link, open);
        debug!(peer = %peer.id, link = link.0, peer_addr = %session.remote, "peer connected");
        let (target, remote) = (session.target, session.remote);
        let buffered = std::mem::take(&mut session.buffered);
        for address in target.into_iter().chain(listen_address(&peer.id, remote)) {
            self.failure_log.forget(address);
        }
        (self.sink)(LinkEvent::Linked { link, peer: peer.clone(), hello });
        self.notify_dialer(DialerMessage::Linked { link, peer: peer.id, target, remote });
        for message in buffered {
            (self.sink)(LinkEvent::Received { link, message });
        }
    }

    /// Ends a connection, whatever it has become.
    pub(super) fn end(&mut self, link: LinkId, reason: &str) {
        self.tie_break.end(link);
        let Some(session) = self.table.remove(link) else { return };
        session.socket.shutdown();
        if let Some(actor) = &session.actor {
            actor.stop(Some(reason.to_owned()));
        }
        if session.is_linked() {
            self.shared.open.remove(link);
            debug!(peer = %session.label(), link = link.0, reason, "peer disconnected");
            (self.sink)(LinkEvent::Unlinked { link });
            // After the report: a refusal that follows began after the close.
            self.notify_dialer(DialerMessage::Unlinked(link));
            return;
        }
        self.on_failed(link, &session, reason);
    }

    pub(super) fn notify_dialer(&self, message: DialerMessage) {
        // When the dialer has ended, so will this actor, by its supervision.
        let _ = self.dialer.cast(message);
    }

    pub(super) fn fail(&mut self, part: &'static str, cause: String) -> ActorProcessingErr {
        let text = LinkError::Broken { part, cause: cause.clone() }.to_string();
        (self.sink)(LinkEvent::Failed(LinkError::Broken { part, cause }));
        self.close_all();
        text.into()
    }

    /// Closes every socket, and the listener with them.
    pub(super) fn close_all(&mut self) {
        for task in self.tasks.drain(..) {
            task.end();
        }
        for session in self.table.drain() {
            session.socket.shutdown();
        }
        self.shared.open.clear();
    }
}

/// Where a peer listens, as far as its connection and its name show.
pub(super) fn listen_address(peer: &NodeId, remote: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(remote.ip(), peer.name().address()?.port()))
}

fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}
