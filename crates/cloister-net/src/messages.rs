//! The messages of the actors of the link layer. Each part may import them; they import no actor.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use cloister_proto::{Address, CloseReason, LinkId, NodeId, Time};
use ractor::ActorRef;
use ractor_cluster::NodeSessionMessage;
use tokio::net::TcpStream;

use crate::accept::pending::Permit;
use crate::connection::transport::EstablishError;
use crate::dial::address_book::Attempt;
use crate::discovered::Discovered;

/// How long a connection may take from its first moment to a link.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The messages of the sessions actor.
pub(crate) enum SessionMessage {
    /// A connection was accepted and has sent its first byte.
    Accepted { socket: TcpStream, remote: SocketAddr, since: Instant, permit: Permit },
    /// A connection came in and ended before its first byte.
    Probed(IpAddr),
    /// A dial was accepted.
    Dialled { socket: TcpStream, target: SocketAddr, since: Instant },
    /// No session can begin on a connection.
    NotEstablished { link: LinkId, error: EstablishError },
    /// ractor let go of the socket of this connection.
    Dropped(LinkId),
    /// ractor has authenticated a session, or made it ready.
    AuthSession(AuthSession),
    /// The session of this connection has ended.
    Vanished(LinkId),
    /// It is time to compare the sessions with ractor's list.
    Reconcile,
    /// A session that did not come in by our acceptor or dialer was closed.
    Bypassed { address: String },
    /// The list of sessions; `None` when it could not be had. `known` had been authenticated before it was asked for.
    Listed { known: Vec<LinkId>, list: Option<Vec<AuthSession>> },
    /// A connection should be a link by now.
    Overdue(LinkId),
    /// A peer that is to go has had time to read why.
    Enough { link: LinkId, reason: &'static str },
    /// A frame of this length was over the limit and has not been sent.
    Oversized { link: LinkId, len: u64 },
    /// The bytes of a message came in by this connection.
    MessageReceived { link: LinkId, message: Vec<u8> },
    /// Close a link.
    Close { link: LinkId, reason: CloseReason },
    /// Discovery names these addresses.
    Found(Discovered),
    /// Try a peer at once.
    Connect(NodeId),
    /// A task of the link layer ended.
    Broken { part: &'static str, cause: String },
}

impl ractor::Message for SessionMessage {}

/// A session that ractor has authenticated.
pub(crate) struct AuthSession {
    /// Our number for its connection; `None` when it came by another way than ours.
    pub(crate) link: Option<LinkId>,
    /// ractor's number for it.
    pub(crate) node: ractor_cluster::NodeId,
    pub(crate) actor: SessionRef,
    /// The name that the peer authenticated with.
    pub(crate) name: String,
    /// Whether both sides have exchanged their actors and groups.
    pub(crate) ready: bool,
}

/// The actor of a session, in ractor's words.
pub(crate) type SessionRef = ActorRef<NodeSessionMessage>;

/// The messages of the dialer.
pub(crate) enum DialerMessage {
    /// Discovery names these addresses.
    Discovered(Discovered),
    /// This peer should be linked and is not.
    Connect(NodeId),
    /// The host name of a peer leads to these addresses; to none, if there was no answer.
    Resolved { host: Address, found: BTreeSet<SocketAddr>, lookup: Lookup },
    /// A connect has ended.
    Tried { target: SocketAddr, attempt: Attempt, began: Time, result: io::Result<TcpStream>, since: Instant },
    /// A connection from there ended before its first byte.
    Probed(IpAddr),
    /// A connection from another node is being introduced.
    Pending { link: LinkId, ip: IpAddr },
    /// A connection ended before it was linked.
    Ended { link: LinkId, target: Option<SocketAddr>, error: String },
    /// This address is our own.
    IsSelf(SocketAddr),
    /// A link is open.
    Linked { link: LinkId, peer: NodeId, target: Option<SocketAddr>, remote: SocketAddr },
    /// The node at this address has this link, which was made by another address.
    Covered { link: LinkId, target: SocketAddr },
    /// A link is closed.
    Unlinked(LinkId),
    /// Try what is due, and report how far discovery and the dials have come.
    Settle,
}

impl ractor::Message for DialerMessage {}

/// Why the host name of a peer was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The peer is to be dialled.
    Dial,
    /// The peer is linked, and it is to be known where its name leads. So many look-ups before did not say that.
    Confirm { failures: u32 },
}
