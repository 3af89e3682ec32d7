//! What a table is at this node: its shards, and what they need of the cluster.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cloister_core::log_limiter::LogLimiter;
use cloister_core::telemetry::TARGET;
use cloister_core::telemetry::rejections::{self, Reason};
use cloister_core::{Cloister, Epoch, NodeId, Slot, Status};
use cloister_table_proto::Event;
use ractor::{ActorCell, RpcReplyPort};
use tokio::sync::{broadcast, watch};
use tracing::{info, warn};

use crate::client::Numbers;
use crate::event::TableEvent;
use crate::holds::Holds;
use crate::message::{Answer, Blob, Request, TableMessage};
use crate::options::TableOptions;
use crate::shard::{Losses, Shard, ShardStatus};
use crate::wire::{self, Batch};

/// How many shards a table has. All nodes must agree on it.
pub(crate) const SHARDS: u8 = 4;

/// How many events a reader may be behind before it misses some.
const EVENTS: usize = 1_024;

/// The view by which this node sends operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientView {
    /// The view that this node is up in.
    pub(crate) epoch: Option<Epoch>,
    /// Since which view this node has been a member all the time. Owners remember its operations from then on.
    pub(crate) since: Epoch,
    /// This node leaves, or has ended.
    pub(crate) is_over: bool,
}

/// What a table is at this node.
pub(crate) struct Core {
    pub(crate) cloister: Cloister,
    /// The name of the table.
    pub(crate) table: String,
    /// The name that its actors are registered under.
    pub(crate) actor: String,
    pub(crate) options: TableOptions,
    pub(crate) holds: Holds,
    pub(crate) view: watch::Sender<ClientView>,
    pub(crate) numbers: Numbers,
    pub(crate) events: broadcast::Sender<TableEvent>,
    shards: Vec<Mutex<Shard>>,
    /// Locked before a shard, never after.
    links: Mutex<Links>,
    status: Mutex<CoreStatus>,
    unreadable: Mutex<LogLimiter>,
    /// The actor that takes what other nodes send.
    actor_cell: Mutex<Option<ActorCell>>,
}

/// The nodes whose tables are linked.
#[derive(Debug, Default)]
struct Links {
    /// With the numbers of their connections.
    connections: BTreeMap<NodeId, u64>,
    by_incarnation: BTreeMap<u64, NodeId>,
    /// The incarnation of this node that the shards are of.
    me: Option<NodeId>,
}

/// How the table stands at this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreStatus {
    pub(crate) all: ShardStatus,
    pub(crate) lost: u64,
}

impl Core {
    pub(crate) fn new(cloister: Cloister, table: &str, options: TableOptions) -> Self {
        let me = cloister.node();
        let shards = (0..SHARDS).map(|index| Mutex::new(Shard::new(index, SHARDS, me.clone(), &options)));
        Self {
            table: table.to_owned(),
            actor: format!("cloister.table.{table}"),
            holds: Holds::default(),
            view: watch::Sender::default(),
            numbers: Numbers::default(),
            events: broadcast::Sender::new(EVENTS),
            shards: shards.collect(),
            links: Mutex::default(),
            status: Mutex::default(),
            unreadable: Mutex::default(),
            actor_cell: Mutex::default(),
            options,
            cloister,
        }
    }

    /// The view under which this node may act at this moment.
    pub(crate) fn claim(&self) -> Option<Epoch> {
        self.cloister.claim().map(|claim| claim.epoch())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.cloister.status(), Status::Stopping | Status::Stopped)
    }

    /// The shard that a slot belongs to.
    fn index_of(slot: Slot) -> usize {
        usize::from(slot.number() % u16::from(SHARDS))
    }

    /// A shard; `None` if it has panicked. Its state may be anything then, so this node begins anew.
    fn shard(&self, index: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(index)?.lock().ok()
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().filter_map(|shard| shard.lock().ok())
    }

    /// Notes which actor takes what other nodes send; returns the one before.
    pub(crate) fn runs(&self, actor: Option<ActorCell>) -> Option<ActorCell> {
        std::mem::replace(&mut *self.actor_cell.lock().unwrap_or_else(PoisonError::into_inner), actor)
    }

    /// Whether a shard has panicked.
    pub(crate) fn has_failed(&self) -> bool {
        self.shards.iter().any(Mutex::is_poisoned)
    }

    /// Begins anew, without content.
    pub(crate) fn reset(&self) {
        let mut links = self.links();
        self.begin(&mut links, &self.cloister.node());
    }

    fn begin(&self, links: &mut Links, me: &NodeId) {
        self.holds.clear();
        self.view.send_replace(ClientView::default());
        *links = Links { me: Some(me.clone()), ..Links::default() };
        for (shard, index) in self.shards.iter().zip(0..) {
            let mut guard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *guard = Shard::new(index, SHARDS, me.clone(), &self.options);
            shard.clear_poison();
        }
    }

    /// Tells all shards of an event.
    pub(crate) fn handle(&self, event: &Event) {
        self.all().for_each(|mut shard| shard.handle(self, event.clone()));
    }

    /// Tells all shards of the announced round of this number.
    pub(crate) fn plan(&self, number: u64, event: &Event) {
        self.all().for_each(|mut shard| shard.plan(self, number, event.clone()));
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which nodes are linked, and whether this node has begun a new incarnation.
    pub(crate) fn look_at_links(&self) {
        let mut links = self.links();
        let me = self.cloister.node();
        if links.me.as_ref() != Some(&me) {
            self.begin(&mut links, &me);
        }
        let now = self.cloister.linked_with(&self.actor);
        let before = std::mem::replace(&mut links.connections, now.clone());
        links.by_incarnation = now.keys().map(|node| (node.incarnation().0, node.clone())).collect();
        for node in before.iter().filter(|(node, number)| now.get(node) != Some(number)) {
            self.handle(&Event::Unlinked(node.0.clone()));
        }
        for node in now.iter().filter(|(node, number)| before.get(node) != Some(number)) {
            self.handle(&Event::Linked(node.0.clone()));
        }
        if now.is_empty() && self.is_stopping() {
            // No node is there to take what this one has.
            self.holds.clear();
        }
    }

    /// The linked node of this incarnation.
    fn peer(&self, incarnation: u64) -> Option<NodeId> {
        let known = self.links().by_incarnation.get(&incarnation).cloned();
        known.or_else(|| {
            self.look_at_links();
            self.links().by_incarnation.get(&incarnation).cloned()
        })
    }

    /// Sends messages to the same shard of another node. What is lost is sent again at a tick.
    pub(crate) fn send(&self, to: &NodeId, shard: u8, batch: Batch) {
        let bytes = batch.into_bytes().into();
        let from = self.cloister.node().incarnation().0;
        let sent = self.cloister.cast_on(&self.actor, to, TableMessage::Peer { from, shard, bytes });
        if let Err(error) = sent {
            tracing::debug!(target: TARGET, table = self.table, cause = %error, "messages of a table were not sent");
        }
    }

    /// Takes messages of another node in.
    pub(crate) fn receive(&self, from: u64, shard: u8, bytes: &Blob) {
        let messages = match wire::decode(self.copies(), &bytes.0) {
            Ok(messages) => messages,
            Err(cause) => return self.unreadable(from, &cause.to_string()),
        };
        let Some(from) = self.peer(from) else { return };
        if let Some(mut shard) = self.shard(shard.into()) {
            shard.receive(self, &from, messages);
        }
    }

    fn unreadable(&self, from: u64, cause: &str) {
        rejections::count(Reason::Unreadable);
        let mut limiter = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            let peer = self.peer(from).map(|peer| peer.to_string());
            warn!(target: TARGET, table = self.table, peer, missed, cause, "a message of a table cannot be read and is dropped");
        }
    }

    pub(crate) fn copies(&self) -> u8 {
        u8::try_from(self.options.copies).unwrap_or(u8::MAX)
    }

    /// An operation on a key that this node should own.
    pub(crate) fn operate(&self, request: Request, reply: RpcReplyPort<Answer>) {
        let slot = Slot::of(&request.key.0);
        match self.shard(Self::index_of(slot)) {
            Some(mut shard) => shard.operate(self, slot, request, reply),
            None => drop(reply.send(Answer::Refused("the table has failed and begins anew".to_owned()))),
        }
    }

    /// The value of a key that this node serves at this moment.
    pub(crate) fn read(&self, key: &[u8]) -> Option<Option<Blob>> {
        let slot = Slot::of(key);
        let value = self.shard(Self::index_of(slot))?.read(self, slot, key).ok()?;
        Some(value.map(Blob))
    }

    /// How many entries this node serves in the view of `epoch`; `None` if it does not serve all that it owns.
    pub(crate) fn count(&self, epoch: Epoch) -> Option<u64> {
        (0..SHARDS).map(|index| self.shard(index.into())?.count(self, epoch)).sum()
    }

    /// The entries that this node serves, shard by shard.
    pub(crate) fn entries(
        &self,
        shard: u8,
    ) -> Vec<(cloister_table_proto::Bytes, cloister_table_proto::Bytes)> {
        self.shard(shard.into()).map(|shard| shard.entries(self)).unwrap_or_default()
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        self.look_at_links();
        let mut losses = Losses::default();
        for mut shard in self.all() {
            let of_shard = shard.tick(self);
            losses.lost.extend(of_shard.lost);
            losses.waiting.extend(of_shard.waiting);
        }
        self.tell(losses);
    }

    fn tell(&self, losses: Losses) {
        let Losses { lost, waiting } = losses;
        self.status_mut().lost += lost.len() as u64;
        for certain in [true, false] {
            let slots: Vec<Slot> =
                lost.iter().filter(|(_, its)| *its == certain).map(|(slot, _)| *slot).collect();
            if slots.is_empty() {
                continue;
            }
            let (table, count) = (&self.table, slots.len());
            if certain {
                warn!(
                    target: TARGET, table, slots = count,
                    "all copies of slots of a table are gone, so they go on empty: load their entries again; more copies \
                     (`TableOptions::copies`) survive more losses at once",
                );
            } else {
                warn!(
                    target: TARGET, table, slots = count,
                    "writes to slots of a table may be lost, and the slots go on with what there is: compare their entries with where \
                     they come from; more copies (`TableOptions::copies`) survive more losses at once",
                );
            }
            // There may be no reader.
            let _ = self.events.send(TableEvent::Lost { slots, certain });
        }
        if !waiting.is_empty() {
            warn!(
                target: TARGET, table = self.table, slots = waiting.len(),
                "all copies of slots of a table are gone, and they wait: start a node that has a copy, or accept the loss by \
                 `Table::accept_loss`",
            );
            let _ = self.events.send(TableEvent::WaitsForCopy { slots: waiting });
        }
    }

    /// Looks how the table stands, and tells when that has changed.
    pub(crate) fn look_at_status(&self) {
        let now =
            self.all().map(|mut shard| shard.status()).fold(ShardStatus::default(), |all, one| ShardStatus {
                rows: all.rows + one.rows,
                bytes: all.bytes + one.bytes,
                under_replicated: all.under_replicated + one.under_replicated,
            });
        let before = std::mem::replace(&mut self.status_mut().all, now);
        if before.under_replicated == now.under_replicated {
            return;
        }
        let slots = now.under_replicated;
        info!(target: TARGET, table = self.table, under_replicated = slots, "copies of a table are being made");
        let event = if slots == 0 { TableEvent::Replicated } else { TableEvent::UnderReplicated { slots } };
        let _ = self.events.send(event);
    }

    pub(crate) fn status(&self) -> CoreStatus {
        *self.status_mut()
    }

    fn status_mut(&self) -> MutexGuard<'_, CoreStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
