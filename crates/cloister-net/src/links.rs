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
//! A *link* is an authenticated, ready ractor session to one incarnation of a peer, over whose connection both sides have read each other's
//! `Hello`. The messages of the nodes go beside those of ractor, in control frames (`connection/codec.rs`). A socket that closes, ractor's
//! own list of sessions, and the answer of a redial are three facts. This layer reports them as they are and judges none of them.

pub(crate) mod dial_report;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod open_links;
pub(crate) mod settings;
pub(crate) mod shared;
#[cfg(feature = "test-support")]
mod test_support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister_discovery::interfaces;
use cloister_proto::wire::MAX_FRAME_LEN;
use cloister_proto::{CloseReason, Difference, Incarnation, LinkId, Message, NodeId, Time};
use ractor::{Actor, ActorCell, ActorId, ActorRef};
use tokio::sync::watch;
use tracing::error;

pub use self::dial_report::{DialReport, DialState};
pub use self::error::LinkError;
pub use self::event::{LinkEvent, Sink};
use self::open_links::OpenLinks;
pub use self::settings::LinkSettings;
pub use self::shared::SeedReport;
use self::shared::{PublishedLinks, lock};
#[cfg(feature = "test-support")]
pub use self::test_support::{admit, read_bytes};
use crate::accept::acceptor;
pub use crate::accept::acceptor::descriptors;
use crate::clock::Clock;
pub use crate::connection::backlog::{Backlog, Full};
use crate::dial::address_book::AddressBook;
use crate::jitter::{self, Jitter};
use crate::messages::SessionMessage;
use crate::session::{SessionActor, SessionArguments};

/// How long [`Links::stop`] waits for the actors to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The links of this node. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Links {
    sessions: ActorRef<SessionMessage>,
    shared: Arc<PublishedLinks>,
    assembled: Arc<watch::Sender<bool>>,
}

impl Links {
    /// Listens, looks for peers and links to them, under `supervisor`, until it is stopped.
    ///
    /// A later failure is reported to `sink`, and ends the one actor that was placed under `supervisor`. Only one link layer can run in a process at a
    /// time: ractor's process groups belong to the whole process.
    ///
    /// # Errors
    ///
    /// [`LinkError`] if the address cannot be listened on, or the actors do not start. Nothing is left behind then.
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
        let book =
            Mutex::new(AddressBook::new(address.clone(), Jitter::new(seed), interfaces::source_ip_for));
        let shared =
            Arc::new(PublishedLinks { open: OpenLinks::default(), book, failing_seeds: Mutex::default() });
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

    /// The actor that was placed under the supervisor.
    #[must_use]
    pub fn actor_id(&self) -> ActorId {
        self.sessions.get_id()
    }

    /// Sends `message` by `link`. What cannot be sent is lost, and the link is then reported closed.
    pub fn send(&self, link: LinkId, message: &Message) {
        self.write(link, &message.encode());
    }

    /// Sends bytes that may be no message. A node never does.
    #[cfg(feature = "test-support")]
    pub fn send_bytes(&self, link: LinkId, message: &[u8]) {
        self.write(link, message);
    }

    fn write(&self, link: LinkId, message: &[u8]) {
        let open = self.shared.open.get(link);
        if let Some(Err(len)) = open.map(|open| open.frame_writer.send(message)) {
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
    pub fn connect(&self, peer: &NodeId) {
        let _ = self.sessions.cast(SessionMessage::Connect(peer.clone()));
    }

    /// Whether enough nodes are connected: discovery asks every second until this is true, then every five.
    pub fn assembled(&self, assembled: bool) {
        self.assembled.send_if_modified(|now| std::mem::replace(now, assembled) != assembled);
    }

    /// When the last byte came in, for every open link.
    #[must_use]
    pub fn last_received(&self) -> Vec<(LinkId, Time)> {
        self.shared.open.map(|link, open| (link, open.socket.last_received()))
    }

    /// Every address that is or was dialled, and how it answers.
    #[must_use]
    pub fn dials(&self) -> Vec<DialReport> {
        lock(&self.shared.book).reports()
    }

    /// The seeds that name no node by their last answer.
    #[must_use]
    pub fn failing_seeds(&self) -> Vec<SeedReport> {
        lock(&self.shared.failing_seeds).clone()
    }

    /// The version of the application of the peer that is linked, if it says one.
    #[must_use]
    pub fn version(&self, peer: &NodeId) -> Option<String> {
        let version = self.shared.open.newest(peer, |open| Some(open.version.clone()));
        version.filter(|version| !version.is_empty())
    }

    /// What the peer that is linked has configured otherwise than this node.
    #[must_use]
    pub fn differs(&self, peer: &NodeId) -> Vec<Difference> {
        self.shared.open.newest(peer, |open| Some(open.differs.to_vec())).unwrap_or_default()
    }

    /// The number that ractor gave the present session to `peer`: the `node_id` of its remote actors. And what waits to be
    /// sent to it. Takes no lock.
    #[must_use]
    pub fn remote_node(&self, peer: &NodeId) -> Option<(ractor_cluster::NodeId, Arc<Backlog>)> {
        // The calls of a session fail as it ends, on another thread than the one that takes its link off the list.
        self.shared.open.newest(peer, |open| {
            (!open.socket.has_ended()).then(|| (open.node, Arc::clone(open.frame_writer.backlog())))
        })
    }

    /// The linked peer of this incarnation. Takes a lock.
    #[must_use]
    pub fn linked(&self, incarnation: Incarnation) -> Option<NodeId> {
        let peers = self.shared.open.map(|_, open| open.peer.clone());
        peers.into_iter().find(|peer| peer.incarnation() == incarnation)
    }

    /// The linked peers, each with the number that ractor gave its newest session. Takes a lock.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeId, ractor_cluster::NodeId> {
        let peers = self.shared.open.map(|_, open| (open.peer.clone(), open.node));
        peers.into_iter().collect()
    }

    /// How many bytes wait to be sent to the peer for which most do.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.shared.open.map(|_, open| open.frame_writer.backlog().waiting()).into_iter().max().unwrap_or(0)
    }

    /// Closes every link and the listener. Nothing is reported any more.
    pub async fn stop(&self) {
        let reason = Some("the link layer stops".to_owned());
        if self.sessions.stop_and_wait(reason, Some(STOP_TIMEOUT)).await.is_err() {
            self.sessions.get_cell().kill();
        }
    }
}
