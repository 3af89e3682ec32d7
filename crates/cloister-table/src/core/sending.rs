//! What a table sends to other nodes, and what it gets from them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cloister_core::internal::{self, CallInProgress, PeerActor, recorded};
use cloister_core::telemetry::TARGET;
use cloister_core::telemetry::rejections::Reason;
use cloister_core::{CallError, NodeId};
use tracing::{debug, warn};

use super::Core;
use crate::message::{Answer, Packet, Request, TableMessage};
use crate::outgoing::Load;
use crate::reply::{Reply, There};
use crate::requests::{Failure, PendingRequest};
use crate::wire::{self, Batch};

impl Core {
    /// Sends what waits: at once if few operations are under way. Else the actor of the table sends it once it has handled the messages that
    /// it has now, and what those add travels with it.
    pub(crate) fn send(&self) {
        if self.under_way.is_few() { self.flush() } else { self.flush_soon() }
    }

    fn flush_soon(&self) {
        if self.is_unsent.swap(true, Ordering::AcqRel) {
            return;
        }
        let actor = self.actor_cell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if actor.is_none_or(|actor| actor.send_message(TableMessage::Flush).is_err()) {
            // It has ended. The one that follows begins with empty shards.
            self.is_unsent.store(false, Ordering::Release);
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&self) {
        self.is_unsent.store(false, Ordering::Release);
        let mut waiting = self.outgoing.lock();
        while let Some((node, load)) = waiting.pop_first() {
            self.dispatch(&node, load);
        }
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
        let mut waiting = self.outgoing.lock();
        let load = waiting.entry(node.clone()).or_default();
        if load.is_full(bytes) {
            self.dispatch(&node, std::mem::take(load));
        }
        add(load);
    }

    /// Sends this to a node. `outgoing` is locked meanwhile.
    fn dispatch(&self, node: &NodeId, load: Load) {
        let Load { packet, in_progress, .. } = load;
        let numbers: Vec<u64> = packet.requests.iter().map(|(number, _)| *number).collect();
        match self.peers.get(node) {
            None => self.requests.failed(&numbers, &Failure::NotLinked),
            Some(peer) => self.dispatch_to(node, &peer, packet, &numbers),
        }
        drop(in_progress);
    }

    fn dispatch_to(&self, node: &NodeId, peer: &PeerActor, packet: Packet, numbers: &[u64]) {
        let from = self.cloister.node().incarnation().0;
        // Before it is sent, so that no end of the link is missed.
        self.requests.sent(numbers, peer.id());
        match peer.cast(TableMessage::Packet { from, packet }) {
            Ok(()) if self.peers.get(node).is_some_and(|present| present == *peer) => {}
            // The link has changed meanwhile, and those that wait were looked at before.
            Ok(()) => self.requests.failed(numbers, &Failure::LinkLost),
            Err(error) => {
                match &error {
                    CallError::TooLarge { .. } => self.too_large(&error),
                    _ => {
                        debug!(target: TARGET, table = self.table, %error, "messages of a table were not sent")
                    }
                }
                self.requests.failed(numbers, &Failure::NotSent(error));
            }
        }
    }

    /// Sending it again will not help, and its slot has fewer copies until then.
    pub(super) fn too_large(&self, error: &CallError) {
        let mut limiter = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, missed, %error,
                "messages of a table are too large to be sent, so writes wait for their copies, or a slot for its content: remove the \
                 largest entries, and use a smaller `TableOptions::max_value_bytes`"
            );
        }
    }

    /// Takes in what the table of another node has sent.
    pub(crate) fn receive(&self, from: u64, packet: Packet) {
        let Some(node) = self.peer(from) else { return };
        for (shard, bytes) in packet.batches {
            match wire::decode(self.copies(), &bytes.0) {
                Ok(messages) => {
                    if let Some(mut shard) = self.shard(shard.into()) {
                        shard.receive(self, &node, messages);
                    }
                }
                Err(cause) => self.unreadable(&node, &cause.to_string()),
            }
        }
        for (number, request) in packet.requests {
            let there = There {
                core: self.myself.clone(),
                node: node.clone(),
                number,
                in_progress: internal::begin_received_call(&self.cloister),
                busy: self.under_way.begin(),
            };
            self.begin(request, Reply::from(there));
        }
        for (number, answer) in packet.answers {
            self.requests.answered(&node, number, answer);
        }
        self.send();
    }

    fn unreadable(&self, peer: &NodeId, cause: &str) {
        recorded::rejection(Reason::Unreadable);
        let mut limiter = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, %peer, missed, error = cause,
                "a message of a table cannot be read and is dropped; run the same release, and define the table alike, on all nodes"
            );
        }
    }
}
