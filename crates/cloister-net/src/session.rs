//! The sessions: every connection from its socket to its end, and the links that some of them become.
//!
//! ```text
//!  socket ─▶ TLS, if any ─▶ admission ─▶ ractor authenticates ─▶ Hello ⇄ Hello, ready ─▶ Linked ─▶ Unlinked
//!            └───────────────── within HANDSHAKE_TIMEOUT, or it is closed ─────────────────┘
//! ```
//!
//! Sessions are tracked by node-server events and by dropped sockets. The node server reports no session that lost an election, so the
//! session list is compared every two seconds.

mod already_logged;
mod begun;
mod failure_log;
mod handshake;
mod reporting;
mod server;
mod state;
mod table;
mod tie_break;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{Address, CloseReason, Message, NodeIdInterner};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::NodeServerMessage;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::info;

use self::already_logged::AlreadyLogged;
use self::failure_log::FailureLog;
use self::table::Table;
use self::tie_break::TieBreak;
use crate::accept::acceptor;
use crate::clock::Clock;
use crate::connection::authentication::Credentials;
use crate::dial::dialer::{DialerActor, DialerArguments};
use crate::discovery_loop::DiscoveryLoop;
use crate::jitter::Jitter;
use crate::links::event::Sink;
use crate::links::settings::LinkSettings;
use crate::links::shared::{PublishedLinks, lock};
use crate::log_limiter::LogLimiter;
use crate::messages::{DialerMessage, SessionMessage};
use crate::runtime::deadline;
use crate::standby;

/// How often the sessions are compared with ractor's list: with the first message of a peer after this time.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(2);

/// How often they are if no peer sends anything.
const RECONCILE_IN_SILENCE: Duration = Duration::from_secs(3);

/// How long a peer that is to go is given to read why.
const CLOSE_LINGER: Duration = Duration::from_millis(250);

/// Keeps the sessions, and every other part of the link layer as its child: when one of them ends, all end.
pub(crate) struct SessionActor;

/// The arguments of the sessions actor.
pub(crate) struct SessionArguments {
    pub(crate) settings: LinkSettings,
    pub(crate) address: Address,
    pub(crate) listener: TcpListener,
    pub(crate) clock: Clock,
    pub(crate) sink: Sink,
    pub(crate) shared: Arc<PublishedLinks>,
    pub(crate) pace: watch::Receiver<bool>,
    /// Seeds the jitter.
    pub(crate) seed: NonZeroU64,
}

pub(crate) struct SessionState {
    settings: LinkSettings,
    clock: Clock,
    sink: Sink,
    shared: Arc<PublishedLinks>,
    server: ActorRef<NodeServerMessage>,
    dialer: ActorRef<DialerMessage>,
    tasks: Vec<SupervisedTask>,
    credentials: Arc<Credentials>,
    tie_break: Arc<TieBreak>,
    /// What each peer is sent first.
    greeting: Arc<[u8]>,
    table: Table,
    incarnations: NodeIdInterner,
    /// Whether the list of sessions is being asked for.
    is_asked: bool,
    failure_log: FailureLog,
    already_logged: AlreadyLogged,
    garbage: LogLimiter,
    refusals: LogLimiter,
    oversized: LogLimiter,
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
        let server = server::start(&settings, &address, &myself).await?;
        let name = server::ractor_name(&settings.me.id, &address);
        let tie_break = TieBreak::new(name.clone());
        let credentials = Credentials::new(settings.cluster.clone(), name, &settings.cookie);
        let dialing = DialerArguments {
            me: address.clone(),
            bind: settings.bind,
            clock,
            sink: Arc::clone(&sink),
            shared: Arc::clone(&shared),
            sessions: myself.clone(),
        };
        let (dialer, _) = Actor::spawn_linked(None, DialerActor, dialing, myself.get_cell()).await?;

        let mine = address.ip().map(|ip| SocketAddr::new(ip, address.port()));
        let discovery_loop = DiscoveryLoop::new(
            settings.strategies.iter().map(Arc::clone),
            mine,
            settings.bind,
            Jitter::new(seed),
        );
        let (to_sessions, accepting) = (myself.clone(), myself.clone());
        let published = Arc::clone(&shared);
        let publish = move |failing| *lock(&published.failing_seeds) = failing;
        let (known, standing, looking) = (Arc::clone(&shared), Arc::clone(&shared), myself.clone());
        let mut tasks = vec![
            supervise("discovery loop", &myself, async move {
                discovery_loop.run(to_sessions, pace, publish).await;
                "the sessions have ended".to_owned()
            }),
            supervise("standby", &myself, async move {
                standby::run(standing, looking, clock, settings.timing).await;
                "it never does".to_owned()
            }),
            supervise("acceptor", &myself, async move {
                acceptor::run(listener, accepting, known).await.to_string()
            }),
        ];
        if let Some(tls) = settings.tls.clone() {
            tasks.push(supervise("watch over the TLS files", &myself, async move {
                tls.watch().await;
                "it never does".to_owned()
            }));
        }
        tasks.push(supervise("comparison of the sessions", &myself, compare(myself.clone(), clock)));
        Ok(SessionState {
            credentials: Arc::new(credentials),
            tie_break: Arc::new(tie_break),
            greeting: Message::Hello(settings.hello.clone()).encode().into(),
            table: Table::default(),
            incarnations: NodeIdInterner::of(settings.me.id.clone()),
            is_asked: false,
            failure_log: FailureLog::default(),
            already_logged: AlreadyLogged::default(),
            garbage: LogLimiter::default(),
            refusals: LogLimiter::default(),
            oversized: LogLimiter::default(),
            settings,
            clock,
            sink,
            shared,
            server,
            dialer,
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
            SessionMessage::Accepted { socket, remote, since, permit } => {
                state.open(&myself, socket, remote, None, since, Some(permit));
            }
            SessionMessage::Dialled { socket, target, since } => {
                state.open(&myself, socket, target, Some(target), since, None);
            }
            SessionMessage::Probed(ip) => state.notify_dialer(DialerMessage::Probed(ip)),
            SessionMessage::NotEstablished { link, error } => state.not_established(link, error),
            SessionMessage::Dropped(link) => state.end(link, reporting::CLOSED),
            SessionMessage::AuthSession(seen) => state.seen(&myself, seen),
            SessionMessage::Vanished(link) => state.vanished(link),
            SessionMessage::Reconcile => state.reconcile(&myself),
            SessionMessage::Bypassed { address } => {
                info!(peer_addr = %address, "a connection past this node's own port was closed");
            }
            SessionMessage::Listed { known, list } => state.listed(&myself, &known, list),
            SessionMessage::Overdue(link) => state.overdue(link),
            SessionMessage::Enough { link, reason } => state.end(link, reason),
            SessionMessage::Oversized { link, len } => state.on_oversized(link, len),
            SessionMessage::MessageReceived { link, message } => {
                state.message_received(&myself, link, message);
                deadline::note_received();
            }
            SessionMessage::Close { link, reason: CloseReason::DuplicateName } => {
                // It got the order to end, and must have read it before its link is gone, or it would come again.
                let reason = CloseReason::DuplicateName.as_str();
                myself.send_after(CLOSE_LINGER, move || SessionMessage::Enough { link, reason });
            }
            SessionMessage::Close { link, reason } => state.end(link, reason.as_str()),
            SessionMessage::Found(discovered) => state.notify_dialer(DialerMessage::Discovered(discovered)),
            SessionMessage::Connect(peer) => state.notify_dialer(DialerMessage::Connect(peer)),
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
        let part = if child.get_id() == state.server.get_id() { "node server" } else { "dialer" };
        Err(state.fail(part, cause))
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<SessionMessage>,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        // Once this has been awaited the listener is closed, so its address can be listened on again.
        let watchers: Vec<JoinHandle<()>> = state.tasks.drain(..).map(SupervisedTask::end).collect();
        state.close_all();
        for watcher in watchers {
            // It cannot fail: it only waits for a task that has been aborted.
            let _ = watcher.await;
        }
        Ok(())
    }
}

impl Drop for SessionState {
    /// An actor that failed or was killed is not asked to stop properly.
    fn drop(&mut self) {
        self.close_all();
    }
}

/// A part that must not end, and the task that reports its end.
struct SupervisedTask {
    work: AbortHandle,
    watcher: JoinHandle<()>,
}

impl SupervisedTask {
    /// Ends the part; it is gone when the answer is there.
    fn end(self) -> JoinHandle<()> {
        self.work.abort();
        self.watcher
    }
}

/// Has the sessions compared with ractor's list again and again.
async fn compare(sessions: ActorRef<SessionMessage>, clock: Clock) -> String {
    loop {
        let compared = clock.now();
        deadline::wait(|| match clock.now().since(compared) {
            since if since >= RECONCILE_INTERVAL => Duration::ZERO,
            since => RECONCILE_IN_SILENCE.saturating_sub(since),
        })
        .await;
        if sessions.cast(SessionMessage::Reconcile).is_err() {
            return "the sessions have ended".to_owned();
        }
    }
}

/// Runs a part that must not end.
fn supervise(
    part: &'static str,
    sessions: &ActorRef<SessionMessage>,
    work: impl Future<Output = String> + Send + 'static,
) -> SupervisedTask {
    let sessions = sessions.clone();
    let work = tokio::spawn(work);
    let abort = work.abort_handle();
    let watcher = tokio::spawn(async move {
        let cause = match work.await {
            Ok(cause) => cause,
            Err(error) => error.to_string(),
        };
        // The cast fails when the whole layer ends; then there is nothing to report.
        let _ = sessions.cast(SessionMessage::Broken { part, cause });
    });
    SupervisedTask { work: abort, watcher }
}
