//! What handle, manager and monitor share.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use cloister_config::Config;
use cloister_net::clock::Clock;
use cloister_net::links::Links;
use cloister_net::runtime::Stall;
use cloister_proto::{ClusterState, CommonSettings, Member, NodeId, SplitPolicy, SplitReport, Status};
use ractor::ActorCell;
use tokio::sync::watch;
use tracing::info;

use super::drain::Drain;
use super::inboxes::Inboxes;
use super::incarnation::IncarnationState;
use super::obstacle::Obstacle;
use super::own_messages::OwnMessages;
use super::registered::Registered;
use super::thread_cache::ThreadCache;
use super::waiting::{TooMany, WaitingCall, WaitingCalls, WaitingLimits};
use crate::error::ExitReason;
use crate::listener::Listeners;
use crate::messages::{Command, ManagerMessage};
use crate::placement::{RingPlan, Snapshot};
use crate::rpc::CallsInProgress;
use crate::telemetry::TARGET;

/// How much longer than `drain_delay`, `drain_timeout` and `leave_timeout` leaving may take. In order: 4 s, of which links have 2 to close.
const LEAVE_GRACE: Duration = Duration::from_secs(8);

/// How long what ends with the node may take for it.
const COMPANIONS: Duration = Duration::from_secs(1);

/// What handle, manager and monitor share; outlives every incarnation of the node.
#[derive(Debug)]
pub(crate) struct Shared {
    clock: Clock,
    plan: RingPlan,
    consensus: AtomicUsize,
    split: SplitPolicy,
    /// But for `consensus`.
    pub(super) common_settings: ArcSwap<CommonSettings>,
    leave_timeout: Duration,
    rehash_timeout: Duration,
    drain: Drain,
    /// The present incarnation, for readers. It and its snapshot are replaced while `replacing` is locked.
    incarnation: ArcSwap<IncarnationState>,
    /// The snapshot of the present incarnation, for readers.
    snapshot: Arc<ArcSwap<Snapshot>>,
    replacing: Mutex<()>,
    listeners: Listeners,
    registered: Registered,
    progress: watch::Sender<Progress>,
    /// Changes whenever this node may do or reach more than before: its status, its lease, a link.
    turns: watch::Sender<()>,
    manager: Mutex<Option<ActorCell>>,
    /// What keeps this node from knowing its own address.
    trouble: Mutex<Option<String>>,
    waiting_for_end: Arc<AtomicUsize>,
    waiting_calls: WaitingCalls,
    calls_in_progress: CallsInProgress,
    waiting_limits: WaitingLimits,
    inboxes: Inboxes,
    own_messages: OwnMessages,
    companions: Arc<watch::Sender<usize>>,
    /// How well the runtime of the application answers.
    stall: Arc<Stall>,
}

/// How far the node has come, for tasks that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    /// Since when the node is between two views: it was up in the one before.
    pub(crate) between_views: Option<Instant>,
    /// Since when the node is to leave.
    pub(crate) draining: Option<Instant>,
    /// Whether the program should take no new work: `drain_delay` is over.
    pub(crate) no_new_work: bool,
    pub(crate) ended: Option<ExitReason>,
    /// Whether the program waited for the end when it came, or has asked for it since.
    pub(crate) end_awaited: bool,
}

/// Counts as waiting for the end until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingForEnd(Arc<AtomicUsize>);

/// Something that ends with the node, such as a server that shows it. Leaving waits a moment until this is dropped.
#[derive(Debug)]
pub struct Companion(Arc<watch::Sender<usize>>);

impl Shared {
    /// A node that has not started, and is called `node` until it knows better.
    pub(crate) fn new(node: Member, plan: RingPlan, config: &Config) -> Self {
        let incarnation = IncarnationState::new(node);
        let listeners = Listeners::new(Arc::clone(incarnation.snapshot().state()));
        Self {
            clock: Clock,
            plan,
            consensus: AtomicUsize::new(1),
            split: config.split,
            common_settings: ArcSwap::from_pointee(config.common_settings(NonZeroUsize::MIN)),
            leave_timeout: config.timing.leave_timeout,
            rehash_timeout: config.timing.rehash_timeout,
            drain: Drain::new(config.drain_delay, config.drain_timeout),
            snapshot: Arc::new(ArcSwap::new(incarnation.snapshot())),
            incarnation: ArcSwap::from_pointee(incarnation),
            replacing: Mutex::default(),
            listeners,
            registered: Registered::default(),
            progress: watch::Sender::default(),
            turns: watch::Sender::default(),
            manager: Mutex::default(),
            trouble: Mutex::default(),
            waiting_for_end: Arc::default(),
            waiting_calls: WaitingCalls::default(),
            calls_in_progress: CallsInProgress::default(),
            waiting_limits: WaitingLimits::from(config),
            inboxes: Inboxes::default(),
            own_messages: OwnMessages::default(),
            companions: Arc::default(),
            stall: Arc::default(),
        }
    }

    /// The limits for what waits for an owner, as sender and as receiver.
    pub(crate) fn waiting_limits(&self) -> WaitingLimits {
        self.waiting_limits
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn plan(&self) -> &RingPlan {
        &self.plan
    }

    /// How many members a view needs.
    pub(crate) fn consensus(&self) -> usize {
        self.need_now().get()
    }

    pub(crate) fn need_now(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.consensus.load(Ordering::SeqCst)).unwrap_or(NonZeroUsize::MIN)
    }

    /// A view needs so many members. Set before an incarnation begins.
    pub(crate) fn need(&self, consensus: NonZeroUsize) {
        self.consensus.store(consensus.get(), Ordering::SeqCst);
    }

    /// What the cluster can lose in this state; `None` while this node is in no view.
    pub(crate) fn split_report(&self, state: &ClusterState) -> Option<SplitReport> {
        SplitReport::of(self.split, self.consensus(), state)
    }

    /// Whether the node is between two views, and has not been for longer than a round may take.
    pub(crate) fn is_between_views(&self) -> bool {
        self.progress.borrow().between_views.is_some_and(|since| since.elapsed() < self.rehash_timeout)
    }

    pub(crate) fn leave_timeout(&self) -> Duration {
        self.leave_timeout
    }

    pub(crate) fn drain_hooks(&self) -> &Drain {
        &self.drain
    }

    /// What this node, if it was asked to leave and is still a member, waits for.
    pub(crate) fn drain_obstacle(&self) -> Option<Obstacle> {
        let (status, draining) = {
            let progress = self.progress.borrow();
            (progress.status, progress.draining)
        };
        let waits = || {
            let since = draining.filter(|_| !matches!(status, Status::Stopping | Status::Stopped))?;
            Some(Obstacle::Draining { since: since.elapsed(), hooks: Vec::new() })
        };
        self.drain.unfinished().or_else(waits)
    }

    /// From now on this node is not ready.
    pub(crate) fn begin_draining(&self) {
        self.progress.send_modify(|progress| progress.draining = Some(Instant::now()));
    }

    /// For those that wait until they should take no new work.
    pub(crate) fn end_new_work(&self) {
        self.progress.send_modify(|progress| progress.no_new_work = true);
    }

    pub(crate) fn stall(&self) -> &Arc<Stall> {
        &self.stall
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The calls that this node waits for before it ends.
    pub(crate) fn calls_in_progress(&self) -> &CallsInProgress {
        &self.calls_in_progress
    }

    pub(crate) fn inboxes(&self) -> &Inboxes {
        &self.inboxes
    }

    /// The messages that this node has sent to its own inbox.
    pub(crate) fn own_messages(&self) -> &OwnMessages {
        &self.own_messages
    }

    pub(crate) fn registered(&self) -> &Registered {
        &self.registered
    }

    /// The manager that runs, or the last one that did.
    pub(crate) fn manager(&self) -> Option<ActorCell> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Reads the present snapshot. Made for a million reads a second.
    pub(crate) fn look<T>(&self, look: impl Fn(&Snapshot) -> T) -> T {
        let looked = ThreadCache::with(&self.snapshot, |seen| look(seen.snapshot()));
        looked.unwrap_or_else(|| look(&self.snapshot.load()))
    }

    /// The owner of `key` on the ring of this name, `None` for the ring over all members.
    pub(crate) fn owner(&self, ring: Option<&str>, key: &[u8]) -> Option<NodeId> {
        let looked = ThreadCache::with(&self.snapshot, |seen| seen.owner(ring, key));
        looked.unwrap_or_else(|| self.snapshot.load().ring(ring)?.owner_of(key).cloned())
    }

    pub(crate) fn incarnation(&self) -> Arc<IncarnationState> {
        self.incarnation.load_full()
    }

    /// The links of the present incarnation, without a lock: each call to another node looks at them.
    pub(crate) fn with_links<T>(&self, with: impl FnOnce(&Links) -> T) -> Option<T> {
        self.incarnation.load().links().map(with)
    }

    fn replacing(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another incarnation takes the place of the present one, which claims nothing any more.
    fn replace(&self, incarnation: Arc<IncarnationState>) {
        let _replacing = self.replacing();
        self.incarnation.load().retire();
        self.snapshot.store(incarnation.snapshot());
        self.incarnation.store(incarnation);
    }

    /// `incarnation` has come to another state. Readers see it if that is the present incarnation: a monitor which is not quite dead
    /// must not publish over another.
    pub(crate) fn publish(&self, incarnation: &Arc<IncarnationState>, snapshot: Arc<Snapshot>) {
        let _replacing = self.replacing();
        incarnation.succeed(Arc::clone(&snapshot));
        if Arc::ptr_eq(&self.incarnation.load(), incarnation) {
            self.snapshot.store(snapshot);
        }
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// A manager starts, for the first time or again. What the one before left behind is over, and its links, if they are
    /// still there, are handed out to be stopped.
    pub(crate) fn manage(&self, manager: ActorCell) -> Option<Links> {
        *self.manager.lock().unwrap_or_else(PoisonError::into_inner) = Some(manager.clone());
        self.registered.monitor(&manager);
        let before = self.incarnation();
        self.suspend();
        self.drain.reset();
        self.progress.send_replace(Progress::default());
        before.links().cloned()
    }

    /// A new incarnation begins: the one before claims nothing any more, and its members are down for listeners.
    pub(crate) fn begin(&self, node: Member) -> Arc<IncarnationState> {
        let incarnation = Arc::new(IncarnationState::new(node.clone()));
        self.replace(Arc::clone(&incarnation));
        let base = self.listeners.restart(node);
        incarnation.begin_at(base);
        let numbered = incarnation.numbered(incarnation.snapshot().state());
        self.publish(&incarnation, Arc::new(Snapshot::new(numbered, None)));
        self.announce(Status::Down);
        incarnation
    }

    /// The present incarnation is over, and no other has begun yet.
    pub(crate) fn suspend(&self) {
        self.begin(self.incarnation().snapshot().state().node.clone());
    }

    /// The status has changed.
    pub(crate) fn announce(&self, status: Status) {
        self.announce_unless(|| false, status);
    }

    /// The status of `incarnation` has changed. A monitor which is not quite dead says nothing of a node that has begun anew.
    pub(crate) fn announce_of(&self, incarnation: &IncarnationState, status: Status) {
        self.announce_unless(|| incarnation.is_over(), status);
    }

    /// Asks `is_over` while no other status can be announced.
    fn announce_unless(&self, is_over: impl FnOnce() -> bool, status: Status) {
        self.progress.send_modify(|progress| {
            if is_over() {
                return;
            }
            progress.between_views = match (progress.status, status) {
                (Status::Up, Status::Rehashing) => Some(Instant::now()),
                (Status::Rehashing, Status::Rehashing) => progress.between_views,
                _ => None,
            };
            progress.status = status;
        });
        self.turn();
    }

    /// For those that wait until this node may do or reach more.
    pub(crate) fn turns(&self) -> watch::Receiver<()> {
        self.turns.subscribe()
    }

    /// This node may do or reach more than before.
    pub(crate) fn turn(&self) {
        self.turns.send_replace(());
    }

    /// The node has ended. The first reason counts.
    pub(crate) fn end(&self, ended: ExitReason) {
        let incarnation = self.incarnation();
        let mut stopped = ClusterState::clone(incarnation.snapshot().state());
        (stopped.status, stopped.sentry) = (Status::Stopped, None);
        // An incarnation of its own, so that a monitor which is not quite dead cannot publish over it.
        self.replace(Arc::new(IncarnationState::with(Snapshot::new(Arc::new(stopped), None))));
        self.progress.send_modify(|progress| {
            progress.status = Status::Stopped;
            progress.ended.get_or_insert(ended);
            // Before those that wait get their answer, and count no more.
            progress.end_awaited |= self.is_awaited();
        });
        // What waits for an owner ends.
        self.turn();
    }

    /// `incarnation` has ended, unless another has begun since.
    pub(crate) fn end_incarnation(&self, incarnation: &Arc<IncarnationState>, ended: ExitReason) {
        incarnation.retire();
        if Arc::ptr_eq(incarnation, &self.incarnation()) {
            self.suspend();
            self.end(ended);
        }
    }

    /// What keeps this node from knowing its own address; `None` when nothing does.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn present_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn companion(&self) -> Companion {
        self.companions.send_modify(|companions| *companions += 1);
        Companion(Arc::clone(&self.companions))
    }

    pub(crate) async fn leave(&self) {
        self.leave_alone().await;
        let mut companions = self.companions.subscribe();
        let gone = companions.wait_for(|companions| *companions == 0);
        if tokio::time::timeout(COMPANIONS, gone).await.is_err() {
            info!(target: TARGET, "what serves this node did not end in time: its port may still be in use");
        }
    }

    async fn leave_alone(&self) {
        let Some(manager) = self.manager() else { return self.end(ExitReason::Left) };
        // One that takes no messages any more is stopping already.
        let _ = manager.send_message(ManagerMessage(Command::Leave));
        let limit = self.drain.limit() + self.leave_timeout + LEAVE_GRACE;
        if manager.wait(Some(limit)).await.is_err() {
            manager.kill();
            self.end(ExitReason::Failed("leaving took too long".to_owned()));
        }
    }

    /// A call of so many bytes waits from now on.
    ///
    /// # Errors
    ///
    /// If too many do.
    pub(crate) fn wait(&self, bytes: usize) -> Result<WaitingCall, TooMany> {
        self.waiting_calls.wait(self.waiting_limits, bytes)
    }

    /// Whether another call may wait for an owner, whatever its length.
    ///
    /// # Errors
    ///
    /// If too many do.
    pub(crate) fn room_to_wait(&self) -> Result<(), TooMany> {
        self.waiting_calls.room(self.waiting_limits)
    }

    /// A call of so many bytes, for which there was room, waits for an owner until this is dropped.
    pub(crate) fn wait_admitted(&self, bytes: usize) -> WaitingCall {
        self.waiting_calls.wait_admitted(bytes)
    }

    pub(crate) fn wait_for_end(&self) -> WaitingForEnd {
        self.waiting_for_end.fetch_add(1, Ordering::SeqCst);
        self.progress.send_if_modified(|progress| {
            let is_late = progress.ended.is_some() && !progress.end_awaited;
            progress.end_awaited |= is_late;
            is_late
        });
        WaitingForEnd(Arc::clone(&self.waiting_for_end))
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting_for_end.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.0.send_modify(|companions| *companions -= 1);
    }
}

impl Drop for WaitingForEnd {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
