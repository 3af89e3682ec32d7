//! The sessions: every connection from its socket to its end, and the links that some of them become.
//!
//! ```text
//!  socket ─▶ ractor authenticates ─▶ ready ─▶ knock ⇄ knock ─▶ Hello ⇄ Hello ─▶ Linked ─▶ Unlinked
//!            └────────────── within INTRODUCTION, or it is closed ───────────────┘
//! ```
//!
//! What is true comes from two facts: the list of sessions that the node server gives, and the socket that ractor
//! lets go of. Its events only say that the list is worth another look.

mod server;
mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_proto::wire::MAX_FRAME_LEN;
use cloister_proto::{Address, LinkId, Message, NodeId};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::{NodeServerMessage, NodeSessionMessage};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use self::server::Seen;
use self::table::{Next, Session, Table};
use super::acceptor::{self, Seat};
use super::dialler::{DiallerActor, DiallerArguments, DiallerMessage};
use super::envelope::{Envelope, Token};
use super::post::{PostActor, PostMessage};
use super::random::{self, Jitter};
use super::scout::Scout;
use super::seldom::Seldom;
use super::stream::{Stream, Wire};
use super::{LinkError, LinkEvent, LinkSettings, OpenLink, Shared, Sink, lock};
use crate::clock::Clock;

/// How long a connection may take from its first moment to a link.
pub(super) const INTRODUCTION: Duration = Duration::from_secs(5);

/// How often the sessions are compared with ractor's list without a cause. Only the safety net.
const SAFETY_NET: Duration = Duration::from_secs(1);

/// How long a refused peer is given to read why.
const LAST_WORD: Duration = Duration::from_millis(250);

/// Keeps the sessions, and every other part of the link layer as its child: when one of them ends, all end.
pub(super) struct SessionActor;

/// What the sessions are told once.
pub(super) struct SessionArguments {
    pub(super) settings: LinkSettings,
    pub(super) address: Address,
    pub(super) listener: TcpListener,
    pub(super) clock: Clock,
    pub(super) sink: Sink,
    pub(super) shared: Arc<Shared>,
    pub(super) pace: watch::Receiver<bool>,
    /// Seeds the jitter.
    pub(super) seed: Token,
}

/// What the sessions are told.
pub(super) enum SessionMessage {
    /// A connection came in and has said its first byte.
    Accepted { socket: TcpStream, remote: SocketAddr, since: Instant, seat: Seat },
    /// A connection came in and ended before its first byte.
    Probed(IpAddr),
    /// A dial was accepted.
    Dialled { socket: TcpStream, target: SocketAddr, since: Instant },
    /// ractor let go of the socket of this connection.
    Dropped(LinkId),
    /// The list of sessions may have changed.
    Look,
    /// A session ended whose peer had claimed this name.
    Gone { label: String, claimed: String },
    /// The list of sessions; `None` when it could not be had.
    Listed(Option<Vec<Seen>>),
    /// A connection should be a link by now.
    Overdue(LinkId),
    /// A refused peer has had time to read why.
    Enough(LinkId),
    /// A frame came in.
    Frame(Vec<u8>),
    /// Something came in that is no frame.
    Garbage,
    /// Send the bytes of a message.
    Send { link: LinkId, message: Vec<u8> },
    /// Close a link.
    Close { link: LinkId, reason: &'static str },
    /// Discovery names these addresses.
    Found { found: BTreeSet<SocketAddr>, complete: bool },
    /// Try a peer at once.
    Meet(NodeId),
    /// A task of the link layer ended.
    Broken { part: &'static str, cause: String },
}

impl ractor::Message for SessionMessage {}

/// Whether the list of sessions is being asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stock {
    Known,
    Asked,
    AskedAndStale,
}

pub(super) struct SessionState {
    settings: LinkSettings,
    clock: Clock,
    sink: Sink,
    shared: Arc<Shared>,
    server: ActorRef<NodeServerMessage>,
    dialler: ActorRef<DiallerMessage>,
    tasks: Vec<JoinHandle<()>>,
    /// The name by which ractor knows this node.
    name: String,
    table: Table,
    stock: Stock,
    garbage: Seldom,
    refusals: Seldom,
}

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = SessionState;
    type Arguments = SessionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMessage>,
        arguments: SessionArguments,
    ) -> Result<SessionState, ActorProcessingErr> {
        let SessionArguments { settings, address, listener, clock, sink, shared, pace, seed } = arguments;
        // The post first: ractor tells a peer of the actors that are there when its session becomes ready.
        Actor::spawn_linked(None, PostActor, myself.clone(), myself.get_cell()).await?;
        let server = server::start(&settings, &address, &myself).await?;
        let dialling = DiallerArguments {
            me: address.clone(),
            bind: settings.bind,
            clock,
            sink: Arc::clone(&sink),
            shared: Arc::clone(&shared),
            sessions: myself.clone(),
        };
        let jitter = Jitter::new(seed);
        let (dialler, _) =
            Actor::spawn_linked(None, DiallerActor, (dialling, jitter), myself.get_cell()).await?;

        let mine = address.ip().map(|ip| SocketAddr::new(ip, address.port()));
        let scout = Scout::new(Arc::clone(&settings.strategies), mine, Jitter::new(seed));
        let (scouting, accepting) = (myself.clone(), myself.clone());
        let tasks =
            vec![
                watch_over("scout", &myself, async move {
                    scout.run(scouting, pace).await;
                    "nobody listens to it any more".to_owned()
                }),
                watch_over("acceptor", &myself, async move {
                    acceptor::run(listener, accepting).await.to_string()
                }),
            ];
        myself.send_interval(SAFETY_NET, || SessionMessage::Look);
        Ok(SessionState {
            name: server::ractor_name(&settings.me.id, &address),
            table: Table::default(),
            stock: Stock::Known,
            garbage: Seldom::default(),
            refusals: Seldom::default(),
            settings,
            clock,
            sink,
            shared,
            server,
            dialler,
            tasks,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Accepted { socket, remote, since, seat } => {
                state.open(&myself, socket, remote, None, since, Some(seat))?;
            }
            SessionMessage::Dialled { socket, target, since } => {
                state.open(&myself, socket, target, Some(target), since, None)?;
            }
            SessionMessage::Probed(ip) => state.tell_dialler(DiallerMessage::Stirred(ip)),
            SessionMessage::Dropped(link) => state.end(link, "the connection was closed"),
            SessionMessage::Look => state.look(&myself),
            SessionMessage::Gone { label, claimed } => {
                state.gone(&label, &claimed);
                state.look(&myself);
            }
            SessionMessage::Listed(list) => state.listed(&myself, list),
            SessionMessage::Overdue(link) => state.overdue(link),
            SessionMessage::Enough(link) => state.end(link, "it does not fit"),
            SessionMessage::Frame(bytes) => state.frame(&myself, &bytes),
            SessionMessage::Garbage => state.complain("a cast that is not a frame"),
            SessionMessage::Send { link, message } => state.send(link, message),
            SessionMessage::Close { link, reason } => state.end(link, reason),
            SessionMessage::Found { found, complete } => {
                state.tell_dialler(DiallerMessage::Named { found, complete })
            }
            SessionMessage::Meet(peer) => state.tell_dialler(DiallerMessage::Meet(peer)),
            SessionMessage::Broken { part, cause } => return Err(state.fail(part, cause)),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SessionMessage>,
        event: SupervisionEvent,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        let (child, cause) = match event {
            SupervisionEvent::ActorTerminated(child, _, reason) => (child, reason.unwrap_or_default()),
            SupervisionEvent::ActorFailed(child, cause) => (child, cause.to_string()),
            _ => return Ok(()),
        };
        let part = if child.get_id() == state.server.get_id() {
            "node server"
        } else if child.get_id() == state.dialler.get_id() {
            "dialler"
        } else {
            "post"
        };
        Err(state.fail(part, cause))
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<SessionMessage>,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        state.let_go();
        Ok(())
    }
}

impl Drop for SessionState {
    /// An actor that failed or was killed is not asked to stop properly.
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Runs a part that must not end, and says so when it does.
fn watch_over(
    part: &'static str,
    sessions: &ActorRef<SessionMessage>,
    work: impl Future<Output = String> + Send + 'static,
) -> JoinHandle<()> {
    let sessions = sessions.clone();
    let work = AbortOnDrop(tokio::spawn(work));
    tokio::spawn(async move {
        let mut work = work;
        let cause = match (&mut work.0).await {
            Ok(cause) => cause,
            Err(error) => error.to_string(),
        };
        let _ = sessions.cast(SessionMessage::Broken { part, cause });
    })
}

struct AbortOnDrop(JoinHandle<String>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SessionState {
    /// Hands a connection to ractor.
    fn open(
        &mut self,
        myself: &ActorRef<SessionMessage>,
        socket: TcpStream,
        remote: SocketAddr,
        target: Option<SocketAddr>,
        since: Instant,
        seat: Option<Seat>,
    ) -> Result<(), ActorProcessingErr> {
        let link = self.table.next_link();
        let remote = canonical(remote);
        let local = match socket.local_addr() {
            Ok(local) => canonical(local),
            Err(cause) => {
                self.never_opened(link, target, cause.to_string());
                return Ok(());
            }
        };
        if let Some(other) = self.table.mirror(local, remote) {
            // Both ends of this connection are in this process: we have dialled ourselves.
            let dialled = self.table.get(other).and_then(|session| session.target);
            if let Some(address) = target.or(dialled) {
                self.tell_dialler(DiallerMessage::Myself(address));
            }
            if let Some(session) = self.table.remove(other) {
                session.wire.hang_up();
                self.forget_guest(other, &session);
            }
            return Ok(());
        }
        let patience = 2 * self.settings.timing.unreachable_after;
        let wire = match Wire::new(socket, self.clock, patience) {
            Ok(wire) => Arc::new(wire),
            Err(cause) => {
                self.never_opened(link, target, cause.to_string());
                return Ok(());
            }
        };
        let (sessions, label) = (myself.clone(), server::label(remote, link));
        let dropped = Arc::new(move || {
            let _ = sessions.cast(SessionMessage::Dropped(link));
        });
        let stream = Box::new(Stream::new(Arc::clone(&wire), label, dropped));
        let is_server = target.is_none();
        if is_server {
            self.tell_dialler(DiallerMessage::Guest { link, ip: remote.ip() });
        }
        self.table.insert(link, Session::new(wire, local, remote, target, random::secret()?, seat));
        self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server })?;
        myself
            .send_after(INTRODUCTION.saturating_sub(since.elapsed()), move || SessionMessage::Overdue(link));
        Ok(())
    }

    fn never_opened(&self, link: LinkId, target: Option<SocketAddr>, error: String) {
        self.tell_dialler(DiallerMessage::Ended { link, target, error });
    }

    fn forget_guest(&self, link: LinkId, session: &Session) {
        if session.target.is_none() {
            self.tell_dialler(DiallerMessage::Ended { link, target: None, error: String::new() });
        }
    }

    /// Asks ractor for its list, once more if it is being asked already: that answer may be old.
    fn look(&mut self, myself: &ActorRef<SessionMessage>) {
        if self.stock != Stock::Known {
            self.stock = Stock::AskedAndStale;
            return;
        }
        self.stock = Stock::Asked;
        self.table.ask();
        let (server, known, myself) = (self.server.clone(), self.table.ready_nodes(), myself.clone());
        tokio::spawn(async move {
            let list = server::list(&server, &known).await;
            let _ = myself.cast(SessionMessage::Listed(list));
        });
    }

    /// Brings the sessions in line with ractor's list.
    fn listed(&mut self, myself: &ActorRef<SessionMessage>, list: Option<Vec<Seen>>) {
        let stale = self.stock == Stock::AskedAndStale;
        self.stock = Stock::Known;
        match list {
            None => warn!("the node server did not list its sessions; it will be asked again"),
            Some(list) => {
                self.close_vanished(&list);
                for seen in list {
                    self.seen(seen);
                }
                for next in self.table.match_knocks(Instant::now()) {
                    self.perform(myself, next);
                }
            }
        }
        if stale {
            self.look(myself);
        }
    }

    fn close_vanished(&mut self, list: &[Seen]) {
        let listed: BTreeSet<LinkId> = list.iter().filter_map(|seen| seen.link).collect();
        for link in self.table.authenticated() {
            if !listed.contains(&link) {
                self.end(link, "ractor ended the session");
            }
        }
    }

    fn seen(&mut self, seen: Seen) {
        let Some(link) = seen.link else {
            // It came in by ractor's own listener on loopback, where nobody watches for life.
            debug!(peer = %seen.name, "a session that did not come in by our door is closed");
            seen.actor.stop(Some("use the advertised port".to_owned()));
            return;
        };
        let name = self.name.clone();
        let Some(session) = self.table.get_mut(link) else { return };
        session.wire.trust();
        session.authenticated(&seen);
        if seen.ready && session.post.is_none() {
            session.post = super::post::of_session(seen.node).map(ActorRef::from);
            if session.post.is_some() {
                session.write(&Envelope::Knock { token: session.token, name });
            }
        }
    }

    /// A session ended that may never have been authenticated.
    fn gone(&mut self, label: &str, claimed: &str) {
        let Some((remote, link)) = server::parse_label(label) else { return };
        if claimed == self.name {
            // By another way than our own sockets, such as a translated address.
            self.tell_dialler(DiallerMessage::Myself(remote));
        } else if !self.table.was_authenticated(link)
            && let Some(missed) = self.refusals.say(Instant::now())
        {
            warn!(
                %remote, claimed, missed,
                "a peer was not admitted: it knows another cookie or is of another cluster, or was linked already"
            );
        }
    }

    fn overdue(&mut self, link: LinkId) {
        if self.table.get(link).is_some_and(|session| !session.is_linked()) {
            self.end(link, "it was not introduced within 5 s");
        }
    }

    fn frame(&mut self, myself: &ActorRef<SessionMessage>, bytes: &[u8]) {
        match Envelope::decode(bytes) {
            Ok(Envelope::Knock { token, name }) => {
                // It came through a session that is on ractor's list by now, perhaps not yet on ours.
                self.table.knocked(token, name, Instant::now());
                self.look(myself);
            }
            Ok(Envelope::Letter { token, message }) => {
                let Some(link) = self.table.by_token(token) else {
                    debug!("a frame for a link that is closed was dropped");
                    return;
                };
                match Message::decode(&message) {
                    Ok(message) => {
                        for next in self.table.letter(link, message, &self.settings.hello) {
                            self.perform(myself, next);
                        }
                    }
                    Err(error) => self.complain(&error.to_string()),
                }
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Does what the table found to be next.
    fn perform(&mut self, myself: &ActorRef<SessionMessage>, next: Next) {
        match next {
            Next::Greet(link) => {
                if let Some(session) = self.table.get(link) {
                    session.post_letter(Message::Hello(self.settings.hello.clone()).encode());
                }
            }
            Next::Link(link) => self.linked(link),
            Next::Deliver(link, message) => (self.sink)(LinkEvent::Received { link, message }),
            Next::Refuse(link, refusal) => {
                if let Some(session) = self.table.get(link) {
                    warn!(peer = %session.who(), address = %session.remote, %refusal, "a peer does not fit and is refused");
                    session.post_letter(Message::Refused(refusal).encode());
                    myself.send_after(LAST_WORD, move || SessionMessage::Enough(link));
                }
            }
            Next::Refused(link, refusal) => {
                if let Some(session) = self.table.get(link) {
                    warn!(peer = %session.who(), address = %session.remote, "a peer refuses this node: {refusal}");
                }
                self.end(link, "the peer refused this node: it does not fit");
            }
        }
    }

    fn linked(&mut self, link: LinkId) {
        let Some(session) = self.table.get_mut(link) else { return };
        let (Some(hello), Some(node)) = (session.hello.clone(), session.node) else { return };
        session.seat = None;
        let peer = hello.member.clone();
        let open = OpenLink { peer: peer.id.clone(), node, wire: Arc::clone(&session.wire) };
        lock(&self.shared.open).insert(link, open);
        debug!(peer = %peer.id, link = link.0, address = %session.remote, "linked");
        let (target, remote) = (session.target, session.remote);
        let early = std::mem::take(&mut session.early);
        let lease = hello.lease;
        if let Some(target) = target {
            self.table.fits_again(target);
        }
        (self.sink)(LinkEvent::Linked { link, peer: peer.clone(), lease, hello });
        self.tell_dialler(DiallerMessage::Linked { link, peer: peer.id, target, remote });
        for message in early {
            (self.sink)(LinkEvent::Received { link, message });
        }
    }

    /// Ends a connection, whatever it has become.
    fn end(&mut self, link: LinkId, reason: &str) {
        let Some(session) = self.table.remove(link) else { return };
        session.wire.hang_up();
        if let Some(actor) = &session.actor {
            actor.stop(Some(reason.to_owned()));
        }
        if session.is_linked() {
            lock(&self.shared.open).remove(&link);
            debug!(peer = %session.who(), link = link.0, reason, "unlinked");
            (self.sink)(LinkEvent::Unlinked { link });
            // After the report: a refusal that follows began after the close.
            self.tell_dialler(DiallerMessage::Unlinked(link));
            return;
        }
        let error = if session.node.is_some() {
            format!("{}: {reason}", session.who())
        } else {
            format!(
                "{reason} before anybody was introduced: it may be of another cluster, or know another cookie"
            )
        };
        if let Some(target) = session.target
            && self.table.complains_newly(target, &error)
        {
            warn!(address = %target, error, "no link");
        }
        self.tell_dialler(DiallerMessage::Ended { link, target: session.target, error });
    }

    fn send(&mut self, link: LinkId, message: Vec<u8>) {
        if message.len() > MAX_FRAME_LEN {
            error!(
                link = link.0,
                bytes = message.len(),
                "a message over the limit of {MAX_FRAME_LEN} bytes was not sent"
            );
            return;
        }
        if let Some(session) = self.table.get(link).filter(|session| session.is_linked()) {
            session.post_letter(message);
        }
    }

    fn tell_dialler(&self, message: DiallerMessage) {
        // When the dialler has ended, so will this actor, by its supervision.
        let _ = self.dialler.cast(message);
    }

    fn complain(&mut self, error: &str) {
        if let Some(missed) = self.garbage.say(Instant::now()) {
            warn!(error, missed, "a peer sent something that is no message; it was dropped");
        }
    }

    fn fail(&mut self, part: &'static str, cause: String) -> ActorProcessingErr {
        let text = LinkError::Broken { part, cause: cause.clone() }.to_string();
        (self.sink)(LinkEvent::Failed(LinkError::Broken { part, cause }));
        self.let_go();
        text.into()
    }

    /// Closes every socket, and the door with them.
    fn let_go(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        for session in self.table.drain() {
            session.wire.hang_up();
        }
        lock(&self.shared.open).clear();
    }
}

fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}

/// The actor of a session, in ractor's words.
type SessionRef = ActorRef<NodeSessionMessage>;

/// The post of a peer.
type PostRef = ActorRef<PostMessage>;
