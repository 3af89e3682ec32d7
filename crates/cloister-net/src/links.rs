//! Links: everything between sockets and the monitor.
//!
//! ```text
//!  discovery ──addresses──▶ dialer ──streams──▶ ┌──────────┐ ──LinkEvent──▶ monitor
//!                          ▲ ◀─links, ends── │ sessions │ ◀──send, close──  (by Links)
//!  acceptor ────────────────────streams────▶ └──────────┘
//!                                             │        ▲ control frames
//!                                        NodeServer ◀─ stream (reader, writer) ⇄ socket
//! ```
//!
//! A *link* is an authenticated, ready ractor session to one life of a peer, over whose connection both sides have read
//! each other's `Hello`. What the nodes say to each other goes beside what ractor says, in control frames (`control.rs`). The part that sees a socket close, ractor's own list of sessions, and the answer of a
//! redial are three facts; this layer reports them as they are and judges none of them.

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloister_discovery::Discovery;
use cloister_proto::wire::MAX_FRAME_LEN;
use cloister_proto::{
    Address, CloseReason, Difference, Hello, LinkId, Member, Message, NodeId, NodeIdInterner, NodeName, Time,
    Timing,
};
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::watch;
use tracing::error;

pub use self::error::LinkError;
use crate::accept::acceptor;
#[doc(hidden)]
pub use crate::accept::acceptor::descriptors;
use crate::clock::Clock;
pub use crate::connection::backlog::{Backlog, Full};
use crate::connection::reader::FrameReader;
use crate::connection::socket::TrackedSocket;
use crate::connection::writer::FrameWriter;
use crate::connection::{authentication, codec};
use crate::dial::address_book::AddressBook;
use crate::jitter::{self, Jitter};
use crate::runtime::Application;
use crate::session::{SessionActor, SessionArguments, SessionMessage};
use crate::tls::Tls;

/// How long [`Links::stop`] waits for the actors to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the link layer tells the monitor.
#[derive(Debug)]
pub enum LinkEvent {
    /// A link is ready: both sides have authenticated and read each other's `Hello`.
    Linked {
        /// The number of the link, never used before.
        link: LinkId,
        /// Who is at the other end, as ractor authenticated it.
        peer: Member,
        /// All that the peer said of itself.
        hello: Hello,
    },
    /// A link is closed, by whomever. Told once for each link, and after it nothing more of that link.
    Unlinked {
        /// The number of the link.
        link: LinkId,
    },
    /// A message came in. Told only between `Linked` and `Unlinked`.
    Received {
        /// By which link.
        link: LinkId,
        /// What it says; never `Hello` nor `Refused`.
        message: Message,
    },
    /// An address refused a connection: no process listens there, or something refuses in its place.
    Refused {
        /// The address, as peers name it.
        address: Address,
        /// When the attempt began.
        began: Time,
    },
    /// What discovery found and the dialer made of it, told when it changed.
    Surveyed {
        /// The addresses named by discovery which are neither linked, nor refuse, nor are this node.
        unaccounted: BTreeSet<Address>,
        /// All addresses that discovery names, but for this node's own.
        named: BTreeSet<Address>,
        /// The addresses named by discovery which refuse.
        refusing: BTreeSet<Address>,
        /// Whether every strategy of discovery has answered once.
        complete: bool,
    },
    /// The link layer has ended by itself; nothing follows.
    Failed(LinkError),
}

/// Takes link events; must neither block nor panic. It is called by several actors.
pub type Sink = Arc<dyn Fn(LinkEvent) + Send + Sync>;

/// What the link layer is told once, at its start.
#[derive(Clone)]
pub struct LinkSettings {
    /// This node, with the address it advertises.
    pub me: Member,
    /// What this node says of itself on each new link.
    pub hello: Hello,
    /// The secret that all nodes of the cluster share.
    pub cookie: String,
    /// What connections are secured with; `None` for connections as they are.
    pub tls: Option<Tls>,
    /// The name of the cluster. Nodes of another name are refused, whatever their cookie.
    pub cluster: String,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How long things take.
    pub timing: Timing,
    /// Where to look for peers; each is asked by itself.
    pub strategies: Vec<Arc<dyn Discovery>>,
    /// The longest frame that is accepted from a peer, in bytes.
    pub max_frame: u64,
    /// How many bytes may wait to be sent to a peer before messages to it are refused.
    pub link_bytes: u64,
    /// The runtime that ractor's sessions and their sockets are on.
    pub application: Application,
}

impl fmt::Debug for LinkSettings {
    /// Without the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSettings")
            .field("me", &self.me)
            .field("cluster", &self.cluster)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

/// How an address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialState {
    /// A link to the node there is open.
    Linked,
    /// It is being tried, or has not been tried yet.
    Dialling,
    /// It refuses connections: no process listens there.
    Refused,
    /// It does not answer.
    Unreachable,
    /// It is this very node.
    Myself,
}

impl DialState {
    /// The lower-case name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            DialState::Linked => "linked",
            DialState::Dialling => "dialling",
            DialState::Refused => "refused",
            DialState::Unreachable => "unreachable",
            DialState::Myself => "self",
        }
    }
}

/// What the dialer knows of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialReport {
    /// The address.
    pub address: Address,
    /// Who is or was last linked there.
    pub name: Option<NodeName>,
    /// How it answers.
    pub state: DialState,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// When the last attempt began.
    pub last_attempt: Option<Time>,
}

/// A link as those see it who only look.
#[derive(Debug)]
pub(crate) struct OpenLink {
    pub(crate) peer: NodeId,
    /// The number of the session in ractor.
    pub(crate) node: ractor_cluster::NodeId,
    pub(crate) socket: Arc<TrackedSocket>,
    pub(crate) frame_reader: Arc<FrameReader>,
    pub(crate) frame_writer: Arc<FrameWriter>,
    /// What the peer has configured otherwise.
    pub(crate) differs: Arc<[Difference]>,
}

/// What the actors publish for those who only look.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) open: Mutex<BTreeMap<LinkId, OpenLink>>,
    pub(crate) book: Mutex<AddressBook>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in what comes by a connection as the link layer does: tells control frames from those of ractor, and decodes
/// their messages. For the fuzzer.
#[doc(hidden)]
pub fn read_bytes(mut bytes: &[u8]) -> Result<Vec<Message>, String> {
    let (mut demux, mut lives, mut messages) =
        (codec::Demux::default(), NodeIdInterner::default(), Vec::new());
    loop {
        let done = match demux.next(bytes).map_err(|error| error.to_string())? {
            codec::Segment::Incomplete => return Ok(messages),
            codec::Segment::Session(len) | codec::Segment::Consumed(len) => len,
            codec::Segment::Message(len, message) => {
                messages.extend(Message::decode_with(message, &mut lives));
                len
            }
        };
        bytes = bytes.get(done..).unwrap_or_default();
    }
}

/// Authenticates a process as `name` over a connection that it accepted, as the link layer does. What came in after that is returned. For
/// tests.
#[doc(hidden)]
pub async fn admit<S>(stream: &mut S, cluster: &str, cookie: &str, name: &str) -> Result<Vec<u8>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let credentials = authentication::Credentials::new(cluster.to_owned(), name.to_owned(), cookie);
    authentication::accept(stream, &credentials, |_| true).await.map_err(|rejected| rejected.to_string())
}

/// The links of this node. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Links {
    sessions: ActorRef<SessionMessage>,
    shared: Arc<Shared>,
    assembled: Arc<watch::Sender<bool>>,
}

impl Links {
    /// Listens, looks for peers and links to them, under `supervisor`, until it is stopped.
    ///
    /// Fails without a trace when the address cannot be listened on. A later failure is reported to `sink`, and
    /// ends the one actor that was placed under `supervisor`. Only one link layer can run in a process at a
    /// time: ractor's process groups belong to the whole process.
    pub async fn start(
        settings: LinkSettings,
        supervisor: ActorCell,
        clock: Clock,
        sink: Sink,
    ) -> Result<Links, LinkError> {
        let address = settings
            .me
            .id
            .name()
            .address()
            .cloned()
            .ok_or_else(|| LinkError::NoAddress(settings.me.id.name().to_string()))?;
        let listener = acceptor::listen(settings.bind)?;
        let seed = jitter::seed()?;
        let book = Mutex::new(AddressBook::new(address.clone(), Jitter::new(seed)));
        let shared = Arc::new(Shared { open: Mutex::default(), book });
        let (assembled, pace) = watch::channel(false);
        let arguments = SessionArguments {
            seed,
            settings,
            address,
            listener,
            clock,
            sink,
            shared: Arc::clone(&shared),
            pace,
        };
        let (sessions, _) = Actor::spawn_linked(None, SessionActor, arguments, supervisor)
            .await
            .map_err(|error| LinkError::Start(error.to_string()))?;
        Ok(Links { sessions, shared, assembled: Arc::new(assembled) })
    }

    /// Sends `message` by `link`. What cannot be sent is lost, and the link is then reported closed.
    pub fn send(&self, link: LinkId, message: &Message) {
        self.send_bytes(link, &message.encode());
    }

    /// Sends what is perhaps no message. For tests: a node never does.
    #[doc(hidden)]
    pub fn send_bytes(&self, link: LinkId, message: &[u8]) {
        let frame_writer = lock(&self.shared.open).get(&link).map(|open| Arc::clone(&open.frame_writer));
        if let Some(Err(len)) = frame_writer.map(|frame_writer| frame_writer.send(message)) {
            error!(
                link = link.0,
                bytes = len,
                "a message over the limit of {MAX_FRAME_LEN} bytes was not sent"
            );
        }
    }

    /// Closes `link`; it is reported closed, as any other.
    pub fn close(&self, link: LinkId, reason: CloseReason) {
        let _ = self.sessions.cast(SessionMessage::Close { link, reason });
    }

    /// Tries the address of `peer` at once, besides whatever discovery finds.
    pub fn meet(&self, peer: &NodeId) {
        let _ = self.sessions.cast(SessionMessage::Meet(peer.clone()));
    }

    /// Whether enough nodes are connected: discovery asks every second until it is told so, then every five.
    pub fn assembled(&self, assembled: bool) {
        self.assembled.send_if_modified(|now| std::mem::replace(now, assembled) != assembled);
    }

    /// When the last byte came in, for every open link.
    pub fn last_received(&self) -> Vec<(LinkId, Time)> {
        lock(&self.shared.open).iter().map(|(link, open)| (*link, open.socket.last_received())).collect()
    }

    /// Every address that is or was dialled, and how it answers.
    pub fn dials(&self) -> Vec<DialReport> {
        lock(&self.shared.book).reports()
    }

    /// What the peer that is linked has configured otherwise than this node.
    pub fn differs(&self, peer: &NodeId) -> Vec<Difference> {
        let open = lock(&self.shared.open);
        open.values()
            .rev()
            .find(|open| open.peer == *peer)
            .map(|open| open.differs.to_vec())
            .unwrap_or_default()
    }

    /// The number that ractor gave the present session to `peer`: the `node_id` of its remote actors. And what waits to be
    /// sent to it.
    pub fn remote_node(&self, peer: &NodeId) -> Option<(ractor_cluster::NodeId, Arc<Backlog>)> {
        let open = lock(&self.shared.open);
        // The calls of a session fail as it ends, on another thread than the one that takes its link off the list.
        let open = open.values().rev().find(|open| open.peer == *peer && !open.socket.has_ended())?;
        Some((open.node, Arc::clone(open.frame_writer.backlog())))
    }

    /// How many bytes wait to be sent to the peer for which most do.
    pub fn waiting(&self) -> u64 {
        let open = lock(&self.shared.open);
        open.values().map(|open| open.frame_writer.backlog().waiting()).max().unwrap_or(0)
    }

    /// Closes every link and the door. Nothing is reported any more.
    pub async fn stop(&self) {
        let reason = Some("the link layer stops".to_owned());
        if self.sessions.stop_and_wait(reason, Some(STOP_TIMEOUT)).await.is_err() {
            self.sessions.get_cell().kill();
        }
    }
}
