//! What a table is at this node: its shards, and what they need of the cluster.

mod links;
mod receiving;
mod status;
mod watches;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cloister_core::internal::LogLimiter;
use cloister_core::telemetry::TARGET;
use cloister_core::{Cloister, Epoch, ManagerArguments, NodeId, Slot, Status};
use cloister_table_proto::{Bytes, Event, Settled};
use tokio::sync::broadcast;
use tracing::warn;

use crate::blob::Blob;
use crate::client_view::ClientViews;
use crate::delivery::{Accepted, Commit};
use crate::error::shown;
use crate::event::TableEvent;
use crate::exchange::Exchange;
use crate::holds::Holds;
use crate::message::{Answer, Request, RequestId};
use crate::numbers::Numbers;
use crate::options::TableOptions;
use crate::reply::Reply;
use crate::service::{Planned, Purpose, Service, ServiceTable};
use crate::shard::Shard;
use crate::standing::ShardStatus;
use crate::tasks::Tasks;
use crate::watching::Watches;
use links::Links;

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
    /// What is sent to other nodes. Locked after a shard, never before.
    pub(crate) exchange: Arc<Exchange>,
    /// Locked before a shard, never after.
    links: Mutex<Links>,
    status: Mutex<CoreStatus>,
    unreadable: Mutex<LogLimiter>,
    undecodable: Mutex<LogLimiter>,
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
            exchange: Arc::new(Exchange::new(cloister.clone(), table.to_owned())),
            links: Mutex::default(),
            status: Mutex::default(),
            unreadable: Mutex::default(),
            undecodable: Mutex::default(),
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

    /// Whether a shard has panicked.
    pub(crate) fn has_failed(&self) -> bool {
        self.shards.iter().any(Mutex::is_poisoned)
    }

    /// Begins anew, without content.
    pub(crate) fn reset(&self) {
        self.watches.start();
        let mut links = self.links();
        self.begin_anew(&mut links, &self.cloister.node());
    }

    fn begin_anew(&self, links: &mut Links, me: &NodeId) {
        self.holds.clear();
        self.exchange.reset();
        self.view.reset();
        *links = Links::of(me);
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
        self.exchange.flush();
    }

    /// Tells all shards of the announced round of this number.
    pub(crate) fn plan(&self, number: u64, event: &Event) {
        self.all().for_each(|mut shard| shard.plan(self, number, event.clone()));
        self.exchange.flush();
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

    /// An operation of this node on a key that it should own.
    pub(crate) fn operate(&self, request: Request, reply: Reply) {
        self.begin(request, reply);
        self.exchange.send();
    }

    /// The same, without sending what follows from it.
    fn begin(&self, request: Request, reply: Reply) {
        let slot = Slot::of(&request.key.0);
        match self.shard(Self::index_of(slot)) {
            Some(mut shard) => shard.operate(self, slot, request, reply),
            None => reply.send(Answer::Refused("the table has failed and begins anew".to_owned())),
        }
    }

    /// Writes for a message that was delivered here.
    pub(crate) fn commit(&self, message: &Accepted, commit: Commit, reply: Reply) {
        let slot = Slot::of(&message.key);
        match self.shard(Self::index_of(slot)) {
            Some(mut shard) => shard.commit(self, slot, message, commit, reply),
            None => reply.send(Answer::Uncertain),
        }
        self.exchange.send();
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
        self.ask_missed();
        self.exchange.flush();
        self.log_losses();
    }
}
