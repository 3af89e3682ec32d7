//! What a table sends to those of other nodes, and the operations that wait for an answer of theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use cloister_core::internal::{CallInProgress, LogLimiter, PeerActor};
use cloister_core::telemetry::TARGET;
use cloister_core::{CallError, Cloister, NodeId};
use ractor::ActorCell;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::message::{Answer, Packet, Request, TableMessage};
use crate::outgoing::{Load, UnderWay};
use crate::requests::{Failure, PendingRequest, Requests};
use crate::wire::Batch;

/// What a table sends to those of other nodes. Its locks are taken last.
pub(crate) struct Exchange {
    cloister: Cloister,
    /// The name of the table.
    table: String,
    /// What waits to be sent. It is sent under this lock, so that it arrives in the order in which it was added.
    outgoing: Mutex<BTreeMap<NodeId, Load>>,
    /// Something waits to be sent. Set and cleared while `outgoing` is locked.
    has_any: AtomicBool,
    /// The actor of the table is to send what waits.
    is_unsent: AtomicBool,
    /// The actor that takes what other nodes send.
    actor: Mutex<Option<ActorCell>>,
    pub(crate) requests: Requests,
    pub(crate) under_way: UnderWay,
    /// The tables of linked nodes.
    peers: RwLock<BTreeMap<NodeId, PeerActor>>,
    /// They have changed.
    pub(crate) linked: watch::Sender<()>,
    too_large: Mutex<LogLimiter>,
}

impl Exchange {
    pub(crate) fn new(cloister: Cloister, table: String) -> Self {
        Self {
            cloister,
            table,
            outgoing: Mutex::default(),
            has_any: AtomicBool::new(false),
            is_unsent: AtomicBool::new(false),
            actor: Mutex::default(),
            requests: Requests::default(),
            under_way: UnderWay::default(),
            peers: RwLock::default(),
            linked: watch::Sender::default(),
            too_large: Mutex::default(),
        }
    }

    /// Begins anew: nothing waits, and no table is linked.
    pub(crate) fn reset(&self) {
        self.outgoing().clear();
        // The actor that was to send may have ended before it did.
        self.is_unsent.store(false, Ordering::Release);
        self.set_peers(BTreeMap::new());
    }

    /// Notes which actor takes what other nodes send; returns the one before.
    pub(crate) fn runs(&self, actor: Option<ActorCell>) -> Option<ActorCell> {
        std::mem::replace(&mut *self.actor.lock().unwrap_or_else(PoisonError::into_inner), actor)
    }

    /// The tables of linked nodes are these from now on. What was sent to others has no answer.
    pub(crate) fn set_peers(&self, peers: BTreeMap<NodeId, PeerActor>) {
        let mut present = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        present.clone_from(&peers);
        drop(present);
        self.requests.only(|node, actor| peers.get(node).is_some_and(|peer| peer.id() == actor));
        self.linked.send_replace(());
    }

    fn outgoing(&self) -> MutexGuard<'_, BTreeMap<NodeId, Load>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, node: &NodeId) -> Option<PeerActor> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Sends what waits: at once if few operations are under way. Else the actor of the table sends it once it has handled the messages that
    /// it has now, and what those add travels with it.
    pub(crate) fn send(&self) {
        // An operation of a node on its own keys may change nothing.
        if !self.has_any.load(Ordering::Acquire) {
            return;
        }
        if self.under_way.is_few() { self.flush() } else { self.flush_soon() }
    }

    fn flush_soon(&self) {
        if self.is_unsent.swap(true, Ordering::AcqRel) {
            return;
        }
        let actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if actor.is_none_or(|actor| actor.send_message(TableMessage::Flush).is_err()) {
            // It has ended. The one that follows begins with empty shards.
            self.is_unsent.store(false, Ordering::Release);
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&self) {
        self.is_unsent.store(false, Ordering::Release);
        let mut waiting = self.outgoing();
        while let Some((node, load)) = waiting.pop_first() {
            self.dispatch(&node, load);
        }
        self.has_any.store(false, Ordering::Release);
    }

    /// Messages of a shard to the same shard of another node. What is lost is sent again at a tick.
    pub(crate) fn add_batch(&self, node: NodeId, shard: u8, batch: Batch) {
        let bytes = batch.into_bytes();
        self.add(node, bytes.len(), |load| load.add_batch(shard, bytes));
    }

    /// The answer to an operation of another node.
    pub(crate) fn answer(&self, node: NodeId, number: u64, answer: Answer, in_progress: CallInProgress) {
        self.add(node, answer.len(), |load| load.add_answer(number, answer, in_progress));
    }

    /// Sends an operation to the owner of its key.
    pub(crate) fn request(&self, node: &NodeId, request: Request) -> PendingRequest<'_> {
        let pending = self.requests.open(node);
        self.add(node.clone(), request.len(), |load| load.add_request(pending.number, request));
        self.send();
        pending
    }

    fn add(&self, node: NodeId, bytes: usize, add: impl FnOnce(&mut Load)) {
        let mut waiting = self.outgoing();
        let load = waiting.entry(node.clone()).or_default();
        if load.is_full(bytes) {
            self.dispatch(&node, std::mem::take(load));
        }
        add(load);
        self.has_any.store(true, Ordering::Release);
    }

    /// Sends this to a node. `outgoing` is locked meanwhile.
    fn dispatch(&self, node: &NodeId, load: Load) {
        let Load { packet, in_progress, .. } = load;
        let numbers: Vec<u64> = packet.requests.iter().map(|(number, _)| *number).collect();
        match self.peer(node) {
            None => self.requests.failed(&numbers, &Failure::NotLinked),
            Some(peer) => self.dispatch_to(node, &peer, packet, &numbers),
        }
        drop(in_progress);
    }

    fn dispatch_to(&self, node: &NodeId, peer: &PeerActor, mut packet: Packet, numbers: &[u64]) {
        let from = self.cloister.node().incarnation().0;
        if !packet.answers.is_empty() && !peer.has_room() {
            // The node waits for them, and would send its operations again. As many as it has sent wait at most.
            let answers = Packet { answers: std::mem::take(&mut packet.answers), ..Packet::default() };
            if let Err(error) = peer.cast_answer(TableMessage::Packet { from, packet: answers }) {
                self.not_sent(&error);
            }
        }
        if packet.is_empty() {
            return;
        }
        // Before it is sent, so that no end of the link is missed.
        self.requests.sent(numbers, peer.id());
        match peer.cast(TableMessage::Packet { from, packet }) {
            Ok(()) if self.peer(node).is_some_and(|present| present == *peer) => {}
            // The link has changed meanwhile, and those that wait were looked at before.
            Ok(()) => self.requests.failed(numbers, &Failure::LinkLost),
            Err(error) => {
                self.not_sent(&error);
                self.requests.failed(numbers, &Failure::NotSent(error));
            }
        }
    }

    fn not_sent(&self, error: &CallError) {
        match error {
            CallError::TooLarge { .. } => self.too_large(error),
            _ => debug!(target: TARGET, table = self.table, %error, "messages of a table were not sent"),
        }
    }

    /// Sending it again will not help, and its slot has fewer copies until then.
    pub(crate) fn too_large(&self, error: &CallError) {
        let mut limiter = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, missed, %error,
                "messages of a table are too large to be sent, so writes wait for their copies, or a slot for its content: remove the \
                 largest entries, and use a smaller `TableOptions::max_value_bytes`"
            );
        }
    }
}
