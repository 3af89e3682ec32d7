//! `/events`: every change, as it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cloister_core::internal::{LogLimiter, recorded};
use cloister_core::ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use cloister_core::telemetry::rejections::Reason;
use cloister_core::{Change, DownReason, NodeId, StateChange, Status};
use cloister_json::ChangeRow;
use futures_core::Stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{info, warn};

use super::connections::{Answering, Permit};
use super::pages::name;
use super::{Over, Pages};

/// How many changes may wait for a client; one that is slower loses its connection.
const MAX_WAITING: usize = 256;

/// How long a stream goes on after its node has ended: its last change is still on the way.
const LAST_CHANGE: Duration = Duration::from_millis(500);

/// The most streams at a time. Each costs a listener of the node and a connection for as long as its client likes.
const MAX_STREAMS: usize = 16;

/// The places of the streams. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Streams {
    free: Arc<Semaphore>,
    max: usize,
    limiter: Arc<Mutex<LogLimiter>>,
}

impl Streams {
    /// Places beside which at least half of so many connections are left for pages, such as those that probes ask for.
    pub(super) fn new(connections: usize) -> Self {
        let max = MAX_STREAMS.min(connections / 2);
        Self { free: Arc::new(Semaphore::new(max)), max, limiter: Arc::default() }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        recorded::rejection(Reason::AdminStreams);
        let missed = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        if let Some(missed) = missed {
            warn!(
                max = self.max,
                missed, "a client of /events was refused: there are too many already; close one"
            );
        }
        None
    }
}

pub(super) async fn events(
    State(pages): State<Pages>,
    Extension(over): Extension<Over>,
    permit: Option<Extension<Permit>>,
) -> Response {
    let Some(place) = pages.streams.take() else {
        let max = pages.streams.max;
        let text = format!("{max} clients read /events already: close one, or try again later\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let permit = permit.map(|Extension(permit)| permit);
    match Actor::spawn(None, ListenerActor, Client { sender, permit: permit.clone() }).await {
        Ok((listener, _)) => {
            pages.cloister.subscribe_without_hold(&listener);
            let answering = permit.map(|permit| permit.answering());
            let listener = listener.get_cell();
            let over = Box::pin(async move {
                over.wait().await;
                tokio::time::sleep(LAST_CHANGE).await;
            });
            let events = Events { receiver, listener, over, _place: place, _answering: answering };
            Sse::new(events).keep_alive(KeepAlive::default()).into_response()
        }
        Err(cause) => {
            info!(error = %cause, "cannot listen for a client of /events");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Hands every change to one client.
struct ListenerActor;

/// Where the changes of one client go.
struct Client {
    sender: mpsc::Sender<Event>,
    /// Of its connection, if the server is this one.
    permit: Option<Permit>,
}

/// A change for a client.
struct Changed(StateChange);

impl cloister_core::ractor::Message for Changed {}

impl From<StateChange> for Changed {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for ListenerActor {
    type Msg = Changed;
    type State = Client;
    type Arguments = Client;

    async fn pre_start(&self, _: ActorRef<Changed>, client: Client) -> Result<Client, ActorProcessingErr> {
        Ok(client)
    }

    async fn handle(
        &self,
        myself: ActorRef<Changed>,
        Changed(change): Changed,
        client: &mut Client,
    ) -> Result<(), ActorProcessingErr> {
        let event = Event::default().json_data(event_of(&change))?;
        let sent = client.sender.try_send(event);
        if let (Err(TrySendError::Full(_)), Some(permit)) = (&sent, &client.permit) {
            // It would miss changes. Its stream is not polled while its socket takes no bytes, so it would never end by itself.
            permit.close();
        }
        if sent.is_err() || change.to == Status::Stopped {
            myself.stop(None);
        }
        Ok(())
    }
}

/// The events of one client; ends its listener when the client goes.
struct Events {
    receiver: mpsc::Receiver<Event>,
    listener: ActorCell,
    /// Ends the stream of a node that ended without a last change.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
    /// Its connection is not closed for another one.
    _answering: Option<Answering>,
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.receiver.poll_recv(context) {
            Poll::Pending => self.over.as_mut().poll(context).map(|()| None),
            Poll::Ready(event) => Poll::Ready(event.map(Ok)),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listener.stop(None);
    }
}

/// The JSON of a change, at this moment.
fn event_of(change: &StateChange) -> cloister_json::Event {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    cloister_json::Event {
        seq: change.seq,
        at: u64::try_from(at).unwrap_or(u64::MAX),
        from: change.from.to_string(),
        to: change.to.to_string(),
        epoch: change.state.epoch().map(|epoch| epoch.to_string()),
        changes: change.changes.iter().flat_map(rows).collect(),
        sentry: change.state.sentry.as_ref().map(name),
    }
}

/// One row for each node that a change is about.
fn rows(change: &Change) -> Vec<ChangeRow> {
    let row = |kind: &str, node: Option<&NodeId>, reason: Option<DownReason>| ChangeRow {
        kind: kind.to_owned(),
        node: node.map(name),
        reason: reason.map(|reason| reason.to_string()),
    };
    match change {
        Change::NodeUp { node } => vec![row("node_up", Some(node), None)],
        Change::NodeDown { node, reason } => vec![row("node_down", Some(node), Some(*reason))],
        Change::NetworkSplit { unreachable } => {
            unreachable.iter().map(|node| row("network_split", Some(node), None)).collect()
        }
        Change::NetworkHealed { nodes } => {
            nodes.iter().map(|node| row("network_healed", Some(node), None)).collect()
        }
        Change::SentryChanged { to, .. } => vec![row("sentry_changed", to.as_ref(), None)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::connections::Connections;
    use super::*;

    #[test]
    fn streams_leave_half_of_the_connections_to_probes() {
        for (connections, streams) in [(64, 16), (16, 8), (2, 1)] {
            assert_eq!(Streams::new(connections).free.available_permits(), streams);
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_loses_its_connection() {
        let (permit, _) = Connections::new(1).admit(Instant::now()).unwrap();
        let connection = tokio::spawn(std::future::pending::<()>());
        permit.served_by(connection.abort_handle());
        let (sender, _receiver) = mpsc::channel(2);
        let (listener, ended) =
            Actor::spawn(None, ListenerActor, Client { sender, permit: Some(permit) }).await.unwrap();
        let cloister = crate::start_with(crate::Config::new("slow")).await.unwrap();
        // Each time it hears of the present state.
        for _ in 0..3 {
            assert!(!connection.is_finished());
            cloister.subscribe_without_hold(&listener);
        }
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("its listener ends").unwrap();
        assert!(connection.await.unwrap_err().is_cancelled());
        cloister.leave().await;
    }
}
