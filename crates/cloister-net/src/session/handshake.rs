//! The way of one connection from its socket to its session. It runs on the application's runtime, as the session will.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::LinkId;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use tokio::time::timeout;

use super::begun::Begun;
use super::tie_break::TieBreak;
use super::{CLOSE_LINGER, server};
use crate::clock::Clock;
use crate::connection::authentication::Credentials;
use crate::connection::socket::{SocketIo, TrackedSocket};
use crate::connection::stream::{Callbacks, Stream};
use crate::connection::transport::{self, establish};
use crate::messages::SessionMessage;
use crate::tls::Tls;

/// A connection on which a session is to begin.
pub(super) struct Handshake {
    pub(super) link: LinkId,
    pub(super) socket: Arc<TrackedSocket>,
    pub(super) remote: SocketAddr,
    pub(super) dialled: bool,
    pub(super) clock: Clock,
    /// After how long without a byte the connection is in the way of no other with the same peer.
    pub(super) silent_after: Duration,
    pub(super) tls: Option<Tls>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) tie_break: Arc<TieBreak>,
    /// What the peer is sent first.
    pub(super) greeting: Arc<[u8]>,
    /// The longest frame that is sent, in bytes.
    pub(super) max_frame: u64,
    /// How many bytes may wait to be sent.
    pub(super) link_bytes: u64,
    pub(super) sessions: ActorRef<SessionMessage>,
    pub(super) server: ActorRef<NodeServerMessage>,
    pub(super) begun: Arc<Begun>,
}

impl Handshake {
    /// Authenticates the two ends to each other, and begins a session.
    pub(super) async fn run(self) {
        let mut io = SocketIo(Arc::clone(&self.socket));
        let (socket, clock, silent_after) = (Arc::downgrade(&self.socket), self.clock, self.silent_after);
        let is_quiet =
            move |socket: Arc<TrackedSocket>| clock.now().since(socket.last_received()) > silent_after;
        let is_silent = move || socket.upgrade().is_none_or(is_quiet);
        let may_begin = |peer: &str| self.tie_break.begin(self.link, peer, is_silent);
        let tls = self.tls.clone();
        match establish(io.clone(), self.dialled, tls, &self.credentials, may_begin).await {
            Ok(ends) => self.begin(ends),
            Err(error) => {
                // The peer may be about to read why; a connection that is closed before it reads gives no reason.
                let _ = timeout(CLOSE_LINGER, io.drain()).await;
                self.report(SessionMessage::NotEstablished { link: self.link, error });
            }
        }
    }

    /// Hands the connection to ractor, which introduces the two ends to each other; the greeting goes out at once beside that.
    fn begin(self, ends: transport::Ends) {
        if self.socket.has_ended() {
            self.tie_break.end(self.link);
            return;
        }
        // The peer knows the secret.
        self.socket.set_authenticated();
        let (link, sessions) = (self.link, &self.sessions);
        let forward = |message: fn(LinkId) -> SessionMessage| {
            let sessions = sessions.clone();
            move || drop(sessions.cast(message(link)))
        };
        let (hearing, refusing, buffered) = (sessions.clone(), sessions.clone(), self.begun.buffered());
        let callbacks = Callbacks {
            on_dropped: Arc::new(forward(SessionMessage::Dropped)),
            on_message: Box::new(move |message| {
                if let Some(message) = buffered.keep(message) {
                    let _ = hearing.cast(SessionMessage::MessageReceived { link, message });
                }
            }),
            on_oversized: Box::new(move |len| drop(refusing.cast(SessionMessage::Oversized { link, len }))),
        };
        let label = server::label(self.remote, link);
        let socket = Arc::clone(&self.socket);
        // The receiver's limit is taken to be this node's own: all nodes of a cluster are configured alike.
        let stream = Box::new(Stream::new(socket, ends, label, self.max_frame, self.link_bytes, callbacks));
        let (frame_reader, frame_writer) = (stream.frame_reader(), stream.frame_writer());
        let _ = frame_writer.send(&self.greeting);
        // Before ractor speaks of the session.
        self.begun.set((frame_reader, frame_writer));
        // When the node server has ended, everything here ends by supervision.
        let is_server = !self.dialled;
        let _ = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
    }

    /// Nothing comes of it when this node stops.
    fn report(&self, message: SessionMessage) {
        let _ = self.sessions.cast(message);
    }
}
