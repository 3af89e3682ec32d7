//! The connections, and how one becomes a link. It sends and reports nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_proto::text::sanitize;
use cloister_proto::{Hello, LinkId, Message, Refusal};

use super::begun::Begun;
use super::server::ractor_name;
use crate::accept::pending::Permit;
use crate::connection::socket::TrackedSocket;
use crate::connection::transport::EstablishError;
use crate::messages::{AuthSession, SessionRef};
use crate::telemetry::rejections::{self, Reason};
use crate::tls::Failure;

/// How many messages are kept that came in before their link was open on this side. What an unauthenticated peer can send is bounded by its
/// allowance.
const MAX_BUFFERED: usize = 256;

/// One connection.
pub(super) struct Session {
    pub(super) socket: Arc<TrackedSocket>,
    local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The address that was dialled, if this node dialled.
    pub(super) target: Option<SocketAddr>,
    /// A place among the pending connections, for an accepted one that is not linked yet.
    pub(super) permit: Option<Permit>,
    pub(super) begun: Arc<Begun>,
    /// ractor's number for it, once authenticated; then the next two are known as well.
    pub(super) node: Option<ractor_cluster::NodeId>,
    pub(super) actor: Option<SessionRef>,
    name: String,
    /// The name as it is logged: before `Hello` it is any text that the peer chose.
    shown: String,
    /// Whether each side has received the actors and groups of the other from ractor.
    ready: bool,
    pub(super) hello: Option<Hello>,
    /// Whether the peer is incompatible and was rejected.
    refusal: Option<Refusal>,
    refused: bool,
    /// The reason that was logged with the rejection.
    pub(super) reject_text: Option<String>,
    linked: bool,
    pub(super) buffered: Vec<Message>,
    /// Why no session could begin on it.
    pub(super) failure: Option<EstablishError>,
}

impl Session {
    pub(super) fn new(
        socket: Arc<TrackedSocket>,
        local: SocketAddr,
        remote: SocketAddr,
        target: Option<SocketAddr>,
        permit: Option<Permit>,
        begun: Arc<Begun>,
    ) -> Self {
        Self {
            socket,
            local,
            remote,
            target,
            permit,
            begun,
            node: None,
            actor: None,
            name: String::new(),
            shown: String::new(),
            ready: false,
            hello: None,
            refusal: None,
            refused: false,
            reject_text: None,
            linked: false,
            buffered: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// What is known of why no session could begin: the two do not speak alike, or do not trust each other.
    pub(super) fn failure(&self) -> Option<EstablishError> {
        let speaks_tls = self.socket.speaks_tls().then_some(EstablishError::Tls(Failure::Tls));
        speaks_tls.or_else(|| self.failure.clone())
    }

    /// The peer, as a log line shows it.
    pub(super) fn label(&self) -> &str {
        if self.name.is_empty() { "an unauthenticated peer" } else { &self.shown }
    }

    /// Why this node, which sent `mine`, refuses the peer. What the peer is sent says it the other way round.
    pub(super) fn why_refused(&self, refusal: &Refusal, mine: &Hello) -> String {
        let Some(hello) = &self.hello else { return refusal.reason(mine) };
        if *refusal == Refusal::Identity {
            let id = &hello.member.id;
            return format!("its name is not the one it authenticated with: it calls itself {id}");
        }
        hello.check(mine).err().as_ref().unwrap_or(refusal).reason(mine)
    }

    /// Sends a message, if a session has begun. What is sent so is short.
    pub(super) fn send(&self, message: &Message) {
        if let Some((_, frame_writer)) = self.begun.ends() {
            let _ = frame_writer.send(&message.encode());
        }
    }
}

/// What is to be done next about a connection.
pub(super) enum SessionAction {
    /// It is a link.
    Link(LinkId),
    /// A message came in by a link.
    Deliver(LinkId, Message),
    /// The peer is incompatible: send the rejection, and close.
    Refuse(LinkId, Refusal),
    /// The peer rejected this node as incompatible.
    Refused(LinkId, Refusal),
}

/// The connections of one node.
#[derive(Default)]
pub(super) struct Table {
    last: u64,
    sessions: BTreeMap<LinkId, Session>,
}

impl Table {
    /// A number that no connection had before.
    pub(super) fn next_link(&mut self) -> LinkId {
        self.last += 1;
        LinkId(self.last)
    }

    pub(super) fn insert(&mut self, link: LinkId, session: Session) {
        self.sessions.insert(link, session);
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Session> {
        self.sessions.get(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Session> {
        self.sessions.get_mut(&link)
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Session> {
        self.sessions.remove(&link)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Session> {
        std::mem::take(&mut self.sessions).into_values()
    }

    /// The other end of the connection `local`–`remote`, if that is in this process too.
    pub(super) fn mirror(&self, local: SocketAddr, remote: SocketAddr) -> Option<LinkId> {
        let is_mirror = |session: &Session| session.local == remote && session.remote == local;
        self.sessions.iter().find(|(_, session)| is_mirror(session)).map(|(link, _)| *link)
    }

    /// The link with the incarnation that ractor knows by this name, if there is one.
    pub(super) fn link_with(&self, name: &str) -> Option<LinkId> {
        let is_with = |session: &Session| session.linked && session.name == name;
        self.sessions.iter().find(|(_, session)| is_with(session)).map(|(link, _)| *link)
    }

    /// The connections that ractor has authenticated.
    pub(super) fn authenticated(&self) -> Vec<LinkId> {
        self.sessions.iter().filter(|(_, session)| session.node.is_some()).map(|(link, _)| *link).collect()
    }

    /// ractor's numbers of the sessions that are ready, and known to be.
    pub(super) fn ready_nodes(&self) -> BTreeSet<ractor_cluster::NodeId> {
        self.sessions.values().filter(|session| session.ready).filter_map(|session| session.node).collect()
    }

    /// ractor has authenticated the peer at the other end of `link`, and perhaps made its session ready.
    pub(super) fn seen(&mut self, link: LinkId, seen: &AuthSession, mine: &Hello) -> Vec<SessionAction> {
        let Some(session) = self.sessions.get_mut(&link) else { return Vec::new() };
        session.socket.set_authenticated();
        let first = session.node.is_none();
        session.node = Some(seen.node);
        session.actor = Some(seen.actor.clone());
        if session.name != seen.name {
            session.shown = sanitize(&seen.name);
            session.name.clone_from(&seen.name);
        }
        session.ready |= seen.ready;
        let mut next = Vec::new();
        if first {
            for message in std::mem::take(&mut session.buffered) {
                next.extend(Self::take_in(link, session, message, mine));
            }
        }
        next.extend(Self::step(link, session));
        next
    }

    /// A message came in by the connection of `link`.
    pub(super) fn on_message(
        &mut self,
        link: LinkId,
        message: Message,
        mine: &Hello,
    ) -> Option<SessionAction> {
        let session = self.sessions.get_mut(&link)?;
        if session.node.is_some() {
            return Self::take_in(link, session, message, mine);
        }
        // The peer knows already that this node is what it claims to be, and this node does not know yet whether the peer is.
        Self::keep(session, message);
        None
    }

    /// What follows from a message of a peer that is authenticated.
    fn take_in(link: LinkId, session: &mut Session, message: Message, mine: &Hello) -> Option<SessionAction> {
        match message {
            Message::Hello(hello) if session.hello.is_none() => {
                session.refusal = Self::validate(session, &hello, mine).err();
                if session.refusal != Some(Refusal::Identity) {
                    session.shown = hello.member.id.to_string();
                }
                session.hello = Some(hello);
                Self::step(link, session)
            }
            Message::Hello(_) => None,
            Message::Refused(refusal) => Some(SessionAction::Refused(link, refusal)),
            message if session.linked => Some(SessionAction::Deliver(link, message)),
            message => {
                Self::keep(session, message);
                None
            }
        }
    }

    fn keep(session: &mut Session, message: Message) {
        if session.buffered.len() < MAX_BUFFERED {
            session.buffered.push(message);
        } else {
            rejections::count(Reason::EarlyOverflow);
        }
    }

    fn validate(session: &Session, hello: &Hello, mine: &Hello) -> Result<(), Refusal> {
        let id = &hello.member.id;
        let name = id.name().address().map(|address| ractor_name(id, address));
        if name.as_ref() != Some(&session.name) {
            return Err(Refusal::Identity);
        }
        mine.check(hello)
    }

    /// The next action once the peer is identified, and once its session is ready.
    fn step(link: LinkId, session: &mut Session) -> Option<SessionAction> {
        if session.linked || session.refused || session.hello.is_none() {
            return None;
        }
        if let Some(refusal) = session.refusal.clone() {
            session.refused = true;
            return Some(SessionAction::Refuse(link, refusal));
        }
        session.linked = session.ready;
        session.ready.then_some(SessionAction::Link(link))
    }
}
