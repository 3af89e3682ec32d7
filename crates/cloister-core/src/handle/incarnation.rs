//! What readers and the manager know of one incarnation of the node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cloister_net::clock::Clock;
use cloister_net::links::Links;
use cloister_proto::{ClusterState, Member, Time};
use ractor::ActorRef;

use crate::messages::{CoreReport, MonitorMessage};
use crate::placement::Snapshot;

/// How long the monitor may take to say how things are.
const REPORT_LIMIT: Duration = Duration::from_secs(1);

/// One incarnation of the node: from the moment it knows its name until its monitor ends.
#[derive(Debug)]
pub(crate) struct IncarnationState {
    /// Its lease also says whether this incarnation is over.
    snapshot: Mutex<Arc<Snapshot>>,
    contacts: OnceLock<(ActorRef<MonitorMessage>, Option<Links>)>,
    /// The `seq` at which it began.
    base: AtomicU64,
}

impl IncarnationState {
    pub(super) fn new(node: Member) -> Self {
        Self::with(Snapshot::new(Arc::new(ClusterState::initial(node)), None))
    }

    pub(super) fn with(snapshot: Snapshot) -> Self {
        Self { snapshot: Mutex::new(Arc::new(snapshot)), contacts: OnceLock::new(), base: AtomicU64::new(0) }
    }

    /// Its states are numbered from here on. Before its core begins.
    pub(super) fn begin_at(&self, seq: u64) {
        self.base.store(seq, Ordering::SeqCst);
    }

    /// A state of its core with a number that goes on from the incarnations before.
    pub(crate) fn numbered(&self, state: &Arc<ClusterState>) -> Arc<ClusterState> {
        match self.base.load(Ordering::SeqCst) {
            0 => Arc::clone(state),
            base => {
                let mut state = ClusterState::clone(state);
                state.seq += base;
                Arc::new(state)
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest())
    }

    fn latest(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims nothing from now on. Call it before its links are closed: others take a node whose address refuses for
    /// dead, and share out at once what it owned.
    pub(crate) fn retire(&self) {
        self.latest().lease().end();
    }

    /// Whether it has retired.
    pub(crate) fn is_over(&self) -> bool {
        self.latest().lease().is_over()
    }

    /// Another snapshot takes the place of the latest. It has no lease, and gets none if this incarnation is over.
    pub(super) fn succeed(&self, snapshot: Arc<Snapshot>) {
        let mut latest = self.latest();
        if latest.lease().is_over() {
            snapshot.lease().end();
        }
        *latest = snapshot;
    }

    /// Gives the published snapshot its lease, unless this incarnation is over; whether it had none that was held.
    pub(crate) fn grant(&self, lease: Option<Time>, now: Time) -> bool {
        let snapshot = self.snapshot();
        let had = snapshot.lease().holds(|| now);
        // What is told from the time of the lease is as old as the lease at most.
        Clock.sync();
        snapshot.lease().grant(lease);
        !had && snapshot.lease().holds(|| now)
    }

    /// The monitor of this incarnation has started.
    pub(crate) fn begin(&self, monitor: ActorRef<MonitorMessage>, links: Option<Links>) {
        // An incarnation has one monitor. A second would be refused here, and would stay unused.
        let _ = self.contacts.set((monitor, links));
    }

    pub(crate) fn monitor(&self) -> Option<&ActorRef<MonitorMessage>> {
        self.contacts.get().map(|(monitor, _)| monitor)
    }

    pub(crate) fn links(&self) -> Option<&Links> {
        self.contacts.get().and_then(|(_, links)| links.as_ref())
    }

    /// How things are inside the core; `None` when there is none, or it does not answer in time.
    pub(crate) async fn report(&self) -> Option<CoreReport> {
        let answer = self.monitor()?.call(MonitorMessage::Report, Some(REPORT_LIMIT)).await;
        answer.ok()?.success_or(()).ok()
    }
}
