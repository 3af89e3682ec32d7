//! The connections, and how one becomes a link. It sends and reports nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use cloister_proto::{Hello, LinkId, Message, Refusal};
use tracing::debug;

use super::server::{Seen, ractor_name};
use super::{INTRODUCTION, PostMessage, PostRef, SessionRef};
use crate::links::envelope::{Envelope, Token};
use crate::links::hall::Seat;
use crate::links::stream::Wire;
use crate::telemetry::refused::{self, Cause};
use crate::tls::Failure;

/// How many messages are kept that came in before their link was open on this side.
const MOST_EARLY: usize = 256;

/// How many knocks wait for the session they came through.
const MOST_KNOCKS: usize = 1024;

/// How many connections are remembered that have ended.
const MOST_ENDED: usize = 1024;

/// One connection.
pub(super) struct Session {
    pub(super) wire: Arc<Wire>,
    local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The address we dialled, if it was us who dialled.
    pub(super) target: Option<SocketAddr>,
    /// What the peer addresses us with on this link.
    pub(super) token: Token,
    /// A place among the strangers, for one that came in and is not linked yet.
    pub(super) seat: Option<Seat>,
    /// ractor's number for it, once authenticated; then the next two are known as well.
    pub(super) node: Option<ractor_cluster::NodeId>,
    pub(super) actor: Option<SessionRef>,
    name: String,
    /// Where frames go, once ractor calls the session ready.
    pub(super) post: Option<PostRef>,
    /// What the peer wants to be addressed with.
    theirs: Option<Token>,
    pub(super) hello: Option<Hello>,
    /// Set when the peer does not fit.
    refusal: Option<Refusal>,
    linked: bool,
    pub(super) early: Vec<Message>,
    /// Why no session could begin on it.
    pub(super) failure: Option<Failure>,
}

impl Session {
    pub(super) fn new(
        wire: Arc<Wire>,
        local: SocketAddr,
        remote: SocketAddr,
        target: Option<SocketAddr>,
        token: Token,
        seat: Option<Seat>,
    ) -> Self {
        Self {
            wire,
            local,
            remote,
            target,
            token,
            seat,
            node: None,
            actor: None,
            name: String::new(),
            post: None,
            theirs: None,
            hello: None,
            refusal: None,
            linked: false,
            early: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// ractor has authenticated the peer.
    pub(super) fn authenticated(&mut self, seen: &Seen) {
        self.node = Some(seen.node);
        self.actor = Some(seen.actor.clone());
        self.name.clone_from(&seen.name);
    }

    /// What is known of why no session could begin: the two do not speak alike, or do not trust each other.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.clone().or_else(|| self.wire.speaks_tls().then_some(Failure::Tls))
    }

    /// The peer, for a person.
    pub(super) fn who(&self) -> &str {
        if self.name.is_empty() { "a stranger" } else { &self.name }
    }

    /// Sends an envelope, if the session is ready.
    pub(super) fn write(&self, envelope: &Envelope) {
        if let Some(post) = &self.post {
            // It fails only when the session has ended, and then the socket says so.
            let _ = post.cast(PostMessage::Frame(envelope.encode()));
        }
    }

    /// Sends a message, if it is known how to address the peer.
    pub(super) fn post_letter(&self, message: Vec<u8>) {
        if let Some(token) = self.theirs {
            self.write(&Envelope::Letter { token, message });
        }
    }
}

/// What is to be done next about a connection.
pub(super) enum Next {
    /// Say who we are.
    Greet(LinkId),
    /// It is a link.
    Link(LinkId),
    /// A message came in by a link.
    Deliver(LinkId, Message),
    /// The peer does not fit: tell it so, and close.
    Refuse(LinkId, Refusal),
    /// We do not fit, the peer says.
    Refused(LinkId, Refusal),
}

struct Knock {
    token: Token,
    name: String,
    came: Instant,
    /// Whether ractor's list was asked for after it came in.
    asked: bool,
}

/// The connections of one node.
#[derive(Default)]
pub(super) struct Table {
    last: u64,
    sessions: BTreeMap<LinkId, Session>,
    knocks: Vec<Knock>,
    /// The newest connections that have ended of which nothing is to be said: ractor had authenticated them, both ends
    /// were ours, or they were dialled, and their end is told by another way.
    fitted: BTreeSet<LinkId>,
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
        let session = self.sessions.remove(&link)?;
        if session.node.is_some() || session.target.is_some() {
            self.fits(link);
        }
        Some(session)
    }

    /// Notes that its end is no refusal.
    pub(super) fn fits(&mut self, link: LinkId) {
        self.fitted.insert(link);
        if self.fitted.len() > MOST_ENDED {
            self.fitted.pop_first();
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Session> {
        std::mem::take(&mut self.sessions).into_values()
    }

    /// The other end of the connection `local`–`remote`, if that is in this process too.
    pub(super) fn mirror(&self, local: SocketAddr, remote: SocketAddr) -> Option<LinkId> {
        let is_mirror = |session: &Session| session.local == remote && session.remote == local;
        self.sessions.iter().find(|(_, session)| is_mirror(session)).map(|(link, _)| *link)
    }

    pub(super) fn by_token(&self, token: Token) -> Option<LinkId> {
        self.sessions.iter().find(|(_, session)| session.token == token).map(|(link, _)| *link)
    }

    /// The connections that ractor has authenticated.
    pub(super) fn authenticated(&self) -> Vec<LinkId> {
        self.sessions.iter().filter(|(_, session)| session.node.is_some()).map(|(link, _)| *link).collect()
    }

    /// Whether it came in, and ended before its peer was authenticated.
    pub(super) fn was_refused(&self, link: LinkId) -> bool {
        let fits = |session: &Session| session.node.is_some() || session.target.is_some();
        !self.fitted.contains(&link) && !self.get(link).is_some_and(fits)
    }

    /// Whether the peer of this name is linked from this address.
    pub(super) fn has_link_with(&self, name: &str, ip: IpAddr) -> bool {
        self.sessions
            .values()
            .any(|session| session.linked && session.name == name && session.remote.ip() == ip)
    }

    /// ractor's numbers of the sessions that are ready, and known to be.
    pub(super) fn ready_nodes(&self) -> BTreeSet<ractor_cluster::NodeId> {
        self.sessions
            .values()
            .filter(|session| session.post.is_some())
            .filter_map(|session| session.node)
            .collect()
    }

    /// A peer says by which token it wants to be addressed; by which session is not known yet.
    pub(super) fn knocked(&mut self, token: Token, name: String, came: Instant) {
        if self.knocks.len() < MOST_KNOCKS {
            self.knocks.push(Knock { token, name, came, asked: false });
        } else {
            refused::count(Cause::Linkless);
        }
    }

    /// ractor's list is asked for now.
    pub(super) fn ask(&mut self) {
        for knock in &mut self.knocks {
            knock.asked = true;
        }
    }

    /// ractor's list has come: every knock from before the question came through a session on it, unless that has
    /// ended already. Of two sessions with one life of a peer the newer one knocked last. A knock does not say who
    /// sent it, so one that names the peer of an open link is not believed.
    pub(super) fn match_knocks(&mut self, now: Instant) -> Vec<Next> {
        let mut next = Vec::new();
        let knocks = std::mem::take(&mut self.knocks);
        for knock in knocks {
            let newest = self
                .sessions
                .iter_mut()
                .filter(|(_, session)| {
                    session.name == knock.name && session.post.is_some() && !session.linked
                })
                .max_by_key(|(_, session)| session.node);
            match newest {
                Some((link, session)) if knock.asked => {
                    session.theirs = Some(knock.token);
                    next.push(Next::Greet(*link));
                    next.extend(Self::conclude(*link, session));
                }
                _ if now.saturating_duration_since(knock.came) < INTRODUCTION => self.knocks.push(knock),
                _ => {
                    refused::count(Cause::Impostor);
                    debug!(peer = %knock.name, "a knock came through no session that is known");
                }
            }
        }
        next
    }

    /// A message came in by the session of `link`.
    pub(super) fn letter(&mut self, link: LinkId, message: Message, mine: &Hello) -> Vec<Next> {
        let Some(session) = self.sessions.get_mut(&link) else { return Vec::new() };
        match message {
            Message::Hello(hello) if session.hello.is_none() => {
                session.refusal = Self::judge(session, &hello, mine).err();
                session.hello = Some(hello);
                Self::conclude(link, session).into_iter().collect()
            }
            Message::Hello(_) => Vec::new(),
            Message::Refused(refusal) => vec![Next::Refused(link, refusal)],
            message if session.linked => vec![Next::Deliver(link, message)],
            message => {
                if session.early.len() < MOST_EARLY {
                    session.early.push(message);
                } else {
                    refused::count(Cause::Linkless);
                }
                Vec::new()
            }
        }
    }

    fn judge(session: &Session, hello: &Hello, mine: &Hello) -> Result<(), Refusal> {
        let id = &hello.member.id;
        let name = id.name().address().map(|address| ractor_name(id, address));
        if name.as_ref() != Some(&session.name) {
            return Err(Refusal::Identity);
        }
        mine.check(hello)
    }

    /// What follows when both the peer's token and its `Hello` are there.
    fn conclude(link: LinkId, session: &mut Session) -> Option<Next> {
        if session.linked || session.hello.is_none() || session.theirs.is_none() {
            return None;
        }
        if let Some(refusal) = session.refusal.clone() {
            return Some(Next::Refuse(link, refusal));
        }
        session.linked = true;
        Some(Next::Link(link))
    }
}
