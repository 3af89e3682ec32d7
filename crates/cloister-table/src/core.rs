//! What a table is at this node: its shards, and what they need of the cluster.

mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cloister_core::internal::{self, LogLimiter, recorded};
use cloister_core::telemetry::TARGET;
use cloister_core::telemetry::rejections::Reason;
use cloister_core::{CallError, Cloister, Epoch, ManagerArguments, NodeId, Slot, Status};
use cloister_table_proto::{Bytes, Event, Settled};
use ractor::{ActorCell, RpcReplyPort};
use tokio::sync::broadcast;
use tracing::{debug, warn};

use crate::blob::Blob;
use crate::client_view::ClientViews;
use crate::delivery::{Accepted, Commit};
use crate::error::shown;
use crate::event::TableEvent;
use crate::holds::Holds;
use crate::message::{Answer, Request, RequestId, TableMessage};
use crate::numbers::Numbers;
use crate::options::TableOptions;
use crate::service::{Planned, Purpose, Service, ServiceTable};
use crate::shard::Shard;
use crate::standing::ShardStatus;
use crate::tasks::Tasks;
use crate::watching::{Filter, Watched, Watcher, Watches};
use crate::wire::{self, Batch};

/// How many shards a table has. All nodes must agree on it.
pub(crate) const SHARDS: u8 = 4;

/// How many events a reader may be behind before it misses some.
const EVENTS: usize = 1_024;

/// A view that has waited longer for a table is logged once, with what the table waits for.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// What a table is at this node.
pub(crate) struct Core {
    myself: Weak<Core>,
    kind: Purpose,
    pub(crate) cloister: Cloister,
    /// The name of the table.
    pub(crate) table: String,
    /// The name that its actors are registered under.
    pub(crate) actor: String,
    pub(crate) options: TableOptions,
    /// How many bytes all tables of this node may have.
    max_bytes: Option<u64>,
    /// How many bytes each shard has: as counted last, and written since. Changed while the shard is locked only.
    bytes: [AtomicU64; SHARDS as usize],
    pub(crate) holds: Holds,
    pub(crate) tasks: Tasks,
    pub(crate) view: ClientViews,
    pub(crate) numbers: Numbers,
    pub(crate) events: broadcast::Sender<TableEvent>,
    /// What is watched from here.
    pub(crate) watches: Watches,
    shards: Vec<Mutex<Shard>>,
    /// Shards have something to send, and the actor of the table is to do that.
    is_unsent: AtomicBool,
    /// Locked before a shard, never after.
    links: Mutex<Links>,
    status: Mutex<CoreStatus>,
    unreadable: Mutex<LogLimiter>,
    undecodable: Mutex<LogLimiter>,
    too_large: Mutex<LogLimiter>,
    /// The actor that takes what other nodes send.
    actor_cell: Mutex<Option<ActorCell>>,
}

/// The nodes whose tables are linked.
#[derive(Debug, Default)]
struct Links {
    /// With the numbers of their connections.
    connections: BTreeMap<NodeId, u64>,
    by_incarnation: BTreeMap<u64, NodeId>,
    /// The incarnations that leave.
    leaving: BTreeSet<u64>,
    /// Those that know that this node leaves, with the numbers of their connections.
    informed: BTreeMap<NodeId, u64>,
    /// The incarnation of this node that the shards are of.
    me: Option<NodeId>,
}

/// How the table stands at this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreStatus {
    pub(crate) all: ShardStatus,
    pub(crate) lost: u64,
    unlogged: Unlogged,
}

/// How many slots were lost since that was logged, and how many wait for a copy since then.
#[derive(Clone, Copy, Debug, Default)]
struct Unlogged {
    certain: usize,
    doubtful: usize,
    waiting: usize,
}

impl Core {
    /// What releases an announced round for the service, beside the shards.
    pub(crate) const SERVICE: u8 = SHARDS;

    pub(crate) fn new(
        arguments: &ManagerArguments,
        table: &str,
        options: TableOptions,
        kind: Purpose,
    ) -> Arc<Self> {
        let cloister = arguments.handle();
        let max_bytes = arguments.config().table_bytes;
        let me = cloister.node();
        let shard = |index| Mutex::new(Shard::new(index, SHARDS, me.clone(), &options));
        let shards = (0..SHARDS).map(shard).collect();
        Arc::new_cyclic(|myself| Self {
            myself: Weak::clone(myself),
            actor: format!("cloister.{}.{table}", kind.as_str()),
            kind,
            table: table.to_owned(),
            holds: Holds::default(),
            tasks: Tasks::default(),
            view: ClientViews::default(),
            numbers: Numbers::default(),
            events: broadcast::Sender::new(EVENTS),
            watches: Watches::default(),
            shards,
            is_unsent: AtomicBool::new(false),
            links: Mutex::default(),
            status: Mutex::default(),
            unreadable: Mutex::default(),
            undecodable: Mutex::default(),
            too_large: Mutex::default(),
            actor_cell: Mutex::default(),
            options,
            max_bytes,
            bytes: Default::default(),
            cloister,
        })
    }

    /// What answers messages for keys here, and the table as it sees it.
    pub(crate) fn service(&self) -> Option<(&dyn Service, ServiceTable)> {
        let Purpose::Service(service) = &self.kind else { return None };
        Some((service.as_ref(), ServiceTable { core: self.myself.upgrade()? }))
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
        self.watches.start();
        let mut links = self.links();
        self.begin(&mut links, &self.cloister.node());
    }

    fn begin(&self, links: &mut Links, me: &NodeId) {
        self.holds.clear();
        // The actor that was to send may have ended before it did.
        self.is_unsent.store(false, Ordering::Release);
        self.view.reset();
        *links = Links { me: Some(me.clone()), ..Links::default() };
        for (shard, index) in self.shards.iter().zip(0..) {
            let mut guard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *guard = Shard::new(index, SHARDS, me.clone(), &self.options);
            self.bytes[usize::from(index)].store(0, Ordering::SeqCst);
            shard.clear_poison();
        }
        if let Purpose::Service(service) = &self.kind {
            service.reset();
        }
    }

    /// Whether an operation that may have been done is sent again.
    pub(crate) fn repeats(&self) -> bool {
        match &self.kind {
            Purpose::Table => true,
            Purpose::Service(service) => service.repeats(),
        }
    }

    /// Whether it keeps the states of entities.
    pub(crate) fn is_entity(&self) -> bool {
        matches!(self.kind, Purpose::Service(_))
    }

    /// Tells all shards of an event.
    pub(crate) fn handle(&self, event: &Event) {
        self.all().for_each(|mut shard| shard.handle(self, event.clone()));
    }

    /// Tells all shards of the announced round of this number.
    pub(crate) fn plan(&self, number: u64, event: &Event) {
        self.all().for_each(|mut shard| shard.plan(self, number, event.clone()));
        match (self.service(), event) {
            (Some((service, table)), Event::Planned(Some(_))) => {
                service.planned(&table, Planned { table: table.clone(), number });
            }
            (Some((service, _)), _) => service.withdrawn(),
            (None, _) => {}
        }
    }

    /// Which parts of this node an announced round waits for.
    pub(crate) fn parts(&self) -> std::ops::Range<u8> {
        match self.kind {
            Purpose::Table => 0..SHARDS,
            Purpose::Service(_) => 0..Self::SERVICE + 1,
        }
    }

    /// A view has ended here.
    pub(crate) fn ended(&self) {
        if let Purpose::Service(service) = &self.kind {
            service.ended();
        }
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
        let now = internal::linked_with(&self.cloister, &self.actor);
        let before = std::mem::replace(&mut links.connections, now.clone());
        links.by_incarnation = now.keys().map(|node| (node.incarnation().0, node.clone())).collect();
        for node in before.iter().filter(|(node, number)| now.get(node) != Some(number)) {
            self.handle(&Event::Unlinked(node.0.clone()));
        }
        for node in now.iter().filter(|(node, number)| before.get(node) != Some(number)) {
            self.handle(&Event::Linked(node.0.clone()));
            // What its table told before may be lost.
            if let Some(epoch) = self.view.epoch() {
                self.watches.lock().iter().for_each(|(watch, watching)| {
                    self.ask(node.0, watch, epoch, watching.filter());
                });
            }
        }
        if !self.is_stopping() {
            return;
        }
        for (node, _) in now.iter().filter(|(node, number)| links.informed.get(node) != Some(number)) {
            let message = TableMessage::Leaves { from: me.incarnation().0 };
            // One that does not get it waits until `leave_timeout` if it leaves, too.
            let _ = self.cloister.cast_on(&self.actor, node, message);
        }
        links.informed = now;
        if links.informed.keys().all(|node| links.leaving.contains(&node.incarnation().0)) {
            // No node is there to take what this one has: there is none, or all of them leave.
            self.holds.clear();
        }
    }

    /// The nodes that a watch asks.
    pub(crate) fn watched_nodes(&self) -> Vec<NodeId> {
        self.cloister.state().members.iter().map(|member| member.id.clone()).collect()
    }

    /// Asks all members for what a watch is about.
    pub(crate) fn ask_again(&self, watch: u64) {
        let (Some(epoch), Some(filter)) = (self.view.epoch(), self.watches.filter(watch)) else {
            return;
        };
        self.watched_nodes().iter().for_each(|node| self.ask(node, watch, epoch, &filter));
    }

    fn ask(&self, node: &NodeId, watch: u64, epoch: Epoch, filter: &Filter) {
        let from = self.cloister.node().incarnation().0;
        let message = TableMessage::Watch { from, watch, epoch: epoch.as_u64(), filter: filter.clone() };
        // One whose table is not linked yet is asked when it is.
        let _ = self.cloister.cast_on(&self.actor, node, message);
    }

    /// This node is up in a view: all watches ask anew.
    pub(crate) fn watch_again(&self, epoch: Epoch) {
        self.watches.begin(epoch).into_iter().for_each(|watch| self.ask_again(watch));
    }

    /// A node watches what is owned here.
    pub(crate) fn watch(&self, from: u64, watch: u64, epoch: Epoch, filter: Filter) {
        let me = self.cloister.node();
        let node = if me.incarnation().0 == from { Some(me) } else { self.peer(from) };
        let Some(node) = node else { return };
        let watcher = Watcher { node, watch, epoch, filter };
        self.all().for_each(|mut shard| shard.watch(self, watcher.clone()));
    }

    pub(crate) fn unwatch(&self, from: u64, watch: u64) {
        self.all().for_each(|mut shard| shard.unwatch(from, watch));
    }

    /// Notifies a watcher. Returns whether it must be notified again, since too much waits to be sent to its node.
    pub(crate) fn send_to_watcher(&self, node: &NodeId, watched: Watched) -> bool {
        match self.cloister.cast_on(&self.actor, node, TableMessage::Watched { watched }) {
            Err(CallError::Overloaded { .. }) => true,
            Err(error @ CallError::TooLarge { .. }) => {
                self.too_large(&error);
                false
            }
            // A watcher that is not linked any more asks anew when it is.
            Ok(()) | Err(_) => false,
        }
    }

    /// A node leaves: it takes no entries any more.
    pub(crate) fn peer_leaves(&self, incarnation: u64) {
        self.links().leaving.insert(incarnation);
        self.look_at_links();
    }

    /// Has what shards want to send sent once the actor has handled the messages that it has now. What those add travels with it.
    pub(crate) fn flush_soon(&self) {
        if self.is_unsent.swap(true, Ordering::AcqRel) {
            return;
        }
        let actor = self.actor_cell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if actor.is_none_or(|actor| actor.send_message(TableMessage::Flush).is_err()) {
            // It has ended. The one that follows begins with empty shards.
            self.is_unsent.store(false, Ordering::Release);
        }
    }

    /// Sends what shards want to send.
    pub(crate) fn flush(&self) {
        self.is_unsent.store(false, Ordering::Release);
        self.all().for_each(|mut shard| shard.flush(self));
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
        match self.cloister.cast_on(&self.actor, to, TableMessage::Peer { from, shard, bytes }) {
            Ok(()) => {}
            Err(error @ CallError::TooLarge { .. }) => self.too_large(&error),
            Err(error) => {
                debug!(target: TARGET, table = self.table, %error, "messages of a table were not sent")
            }
        }
    }

    /// Sending it again will not help, and its slot has fewer copies until then.
    fn too_large(&self, error: &CallError) {
        let mut limiter = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, missed, %error,
                "messages of a table are too large to be sent, so writes wait for their copies, or a slot for its content: remove the                  largest entries, and use a smaller `TableOptions::max_value_bytes`"
            );
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
        recorded::rejection(Reason::Unreadable);
        let mut limiter = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            let peer = self.peer(from).map(|peer| peer.to_string());
            warn!(
                target: TARGET, table = self.table, peer, missed, error = cause,
                "a message of a table cannot be read and is dropped; run the same release, and define the table alike, on all nodes"
            );
        }
    }

    /// An entry cannot be decoded, and the program does not get it.
    pub(crate) fn left_out(&self, key: &[u8], cause: &str) {
        let mut limiter = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, key = shown(key), missed, error = cause,
                "an entry cannot be decoded and is left out; use the same types on all nodes, and `#[serde(default)]` for added fields"
            );
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

    /// Writes for a message that was delivered here.
    pub(crate) fn commit(&self, message: &Accepted, commit: Commit, reply: RpcReplyPort<Answer>) {
        let slot = Slot::of(&message.key);
        match self.shard(Self::index_of(slot)) {
            Some(mut shard) => shard.commit(self, slot, message, commit, reply),
            None => drop(reply.send(Answer::Uncertain)),
        }
    }

    /// Whether an operation was applied before.
    pub(crate) fn has_answered(&self, key: &[u8], id: RequestId) -> bool {
        let slot = Slot::of(key);
        self.shard(Self::index_of(slot)).is_some_and(|shard| shard.has_answered(slot, id))
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
    pub(crate) fn local_entries(&self) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        (0..SHARDS)
            .flat_map(|shard| self.shard(shard.into()).map(|shard| shard.entries(self)).unwrap_or_default())
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        self.look_at_links();
        let mut settled = Settled::default();
        for shard in self.all() {
            settled.add(shard.settled());
        }
        self.all().for_each(|mut shard| shard.tick(self, &settled));
        self.log_losses();
    }
}
