//! The data of the state machine, without its rules.

mod deadlines;
mod goodbyes;
mod heartbeats;
mod persistence;
mod proposals;
mod reachability;
mod rejection;
mod wall_clock;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::intent::Intents;
use crate::action::Action;
use crate::backoff::Backoff;
use crate::candidate::hash_nodes;
use crate::change::{ChangeTracker, ClusterState};
use crate::event::LinkId;
use crate::lease::Grants;
use crate::name::{Address, NodeId};
use crate::peer::Peer;
use crate::settings::Settings;
use crate::status::Status;
use crate::time::Time;
use crate::view::{Epoch, View};

pub(super) use deadlines::PeerDeadlines;
#[cfg(test)]
pub(super) use goodbyes::MAX_NAMED;
pub(super) use goodbyes::{Goodbyes, KnownGoodbye};
pub(super) use heartbeats::{BroadcastState, HeartbeatSender};
pub(super) use persistence::{Contents, PersistState, Persistence};
pub(super) use proposals::{PendingProposal, Promise, Round};
pub(super) use reachability::{Candidate, Reachability};
pub use rejection::Rejection;
pub(super) use wall_clock::WallClock;

/// One node of a cluster, without clock, socket or task.
///
/// After [`Node::new`] and after each [`Node::handle`], perform [`Node::next_action`] until it is `None`, then
/// wake the node at [`Node::next_timeout`] with [`Event::Tick`](crate::Event::Tick).
#[derive(Clone, Debug, Hash)]
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) me: NodeId,
    pub(crate) started_at: Time,
    pub(crate) wall_clock: WallClock,
    pub(crate) now: Time,
    /// When it asked to be woken; a later tick shows how late it is.
    pub(crate) wake_at: Option<Time>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) links: BTreeMap<LinkId, NodeId>,
    pub(crate) discovery: Discovery,
    /// The discovered addresses, each with when it was last linked or first discovered.
    pub(crate) absent: BTreeMap<Address, Time>,
    pub(crate) goodbyes: Goodbyes,
    /// The memory that is persisted over a restart; `None` without a state file.
    pub(crate) persistence: Option<Persistence>,
    /// Whether this node can neither follow nor begin with the candidate members.
    pub(crate) objects: bool,
    /// The size of the cluster in heartbeats, and the view that it belongs to.
    pub(crate) reported_size: (usize, Epoch),
    /// Which leavers it takes into account.
    pub(crate) leavers_counted: (u64, u64, u64),
    /// Counts how often it got smaller.
    pub(crate) size_version: u64,
    /// Since when a round waits for reports of the size, and the number of the newest goodbye that they were asked for.
    pub(crate) sizes_asked: Option<(Time, u64)>,
    pub(crate) deadlines: PeerDeadlines,

    pub(crate) member_state: MemberState,
    /// The view installed last; kept after a step-down, because its members may hold leases.
    pub(crate) installed: Option<Arc<View>>,
    pub(crate) promised: Epoch,
    pub(crate) released_epoch: Epoch,
    pub(crate) max_epoch_seen: Epoch,
    /// Views acknowledged since, which other nodes may have installed.
    pub(crate) maybe_installed: Vec<Arc<View>>,
    pub(crate) pending: Option<PendingProposal>,
    pub(crate) round: Option<Round>,
    pub(crate) backoff: Backoff,
    pub(crate) retry_at: Time,

    pub(crate) reachability: Reachability,
    /// Counts changes of which peers are leaving.
    pub(crate) leaving_version: u64,
    pub(crate) candidate: Candidate,
    pub(crate) heartbeats: HeartbeatSender,
    pub(crate) intents: Intents,
    /// When to look for peers that are long gone.
    pub(crate) prune_at: Time,
    /// The earliest time at which something pending may be allowed.
    pub(crate) waits_until: Option<Time>,

    pub(crate) tracker: ChangeTracker,
    /// The key of the last notification of listeners.
    pub(crate) notified: Option<NotifyKey>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) rejections: BTreeMap<Rejection, u64>,
}

/// Where a node stands with respect to views.
#[derive(Clone, Debug, Hash)]
pub(crate) enum MemberState {
    Assembling,
    Promised(Promise),
    Installed(Installed),
    /// `kept_lease` is `None` unless a test lets the node keep its lease.
    Leaving {
        since: Time,
        /// Whether listeners of this node hold its stop.
        held: bool,
        kept_lease: Option<Time>,
    },
    Left,
}

/// A node that participates in its installed view.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Installed {
    pub(crate) since: Time,
    pub(crate) grants: Grants,
    /// Whether the first lease has been held.
    pub(crate) had_lease: bool,
    pub(crate) lease_until: Option<Time>,
    /// After a pause while holding a lease, process queued input until this deadline before treating the lease as expired.
    pub(crate) drain_until: Option<Time>,
}

impl Installed {
    /// Whether it holds its lease.
    pub(crate) fn holds_lease(&self, now: Time) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    /// Whether queued input may still renew the lease.
    pub(crate) fn may_renew(&self, now: Time) -> bool {
        self.had_lease && self.drain_until.is_some_and(|until| now < until)
    }
}

/// The last result of discovery.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Discovery {
    pub(crate) unverified: BTreeSet<Address>,
    pub(crate) refusing: BTreeSet<Address>,
    pub(crate) complete: bool,
}

/// Everything that a notification depends on: while it is the same, there is nothing to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NotifyKey {
    pub(crate) status: Status,
    pub(crate) reachability: u64,
    pub(crate) leaving_version: u64,
    pub(crate) installed: Epoch,
    pub(crate) promised: Epoch,
    pub(crate) intent: u64,
}

impl Node {
    /// A node that starts now. A node that needs no other emits the notification of its first view at once.
    #[must_use]
    pub fn new(settings: Settings, now: Time) -> Self {
        let me = settings.me.id.clone();
        let nodes: Arc<[NodeId]> = [me.clone()].into();
        let repair = settings.timing.heartbeat_every;
        let mut node = Self {
            started_at: now,
            wall_clock: WallClock::new(settings.me.id.started_at()),
            now,
            wake_at: None,
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            discovery: Discovery::default(),
            absent: BTreeMap::new(),
            goodbyes: Goodbyes::default(),
            persistence: None,
            objects: false,
            reported_size: (0, Epoch::ZERO),
            leavers_counted: (0, 0, 0),
            size_version: 0,
            sizes_asked: None,
            deadlines: PeerDeadlines::new(),
            member_state: MemberState::Assembling,
            installed: None,
            promised: Epoch::ZERO,
            released_epoch: Epoch::ZERO,
            max_epoch_seen: Epoch::ZERO,
            maybe_installed: Vec::new(),
            pending: None,
            round: None,
            backoff: Backoff::new(repair / 20, repair, settings.jitter),
            retry_at: now,
            reachability: Reachability { hash: hash_nodes(&nodes), nodes, version: 1 },
            candidate: Candidate {
                nodes: Vec::new(),
                includes_self: false,
                is_incomplete: false,
                stale: true,
                not_before: now,
                changed_at: now,
                unsettled_since: None,
                left_out_since: None,
            },
            heartbeats: HeartbeatSender::new(now),
            intents: Intents::default(),
            prune_at: now,
            waits_until: None,
            tracker: ChangeTracker::new(settings.me.clone()),
            notified: None,
            leaving_version: 0,
            actions: VecDeque::new(),
            rejections: BTreeMap::new(),
            me,
            settings,
        };
        // The other policies do not follow the views of an earlier incarnation.
        if let Some(memory) = node.settings.memory.take().filter(|_| node.follows_majority()) {
            node.restore(memory);
        }
        node.step();
        node
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to wake the node if no event comes before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.wake_at
    }

    /// The state that listeners were notified of last.
    #[must_use]
    pub fn state(&self) -> &Arc<ClusterState> {
        self.tracker.state()
    }

    /// Until when this node may act as a member of its installed view; `None` if it may not. Compare with the clock at the very
    /// moment of acting.
    #[must_use]
    pub fn lease_until(&self) -> Option<Time> {
        match &self.member_state {
            MemberState::Installed(bound) => bound.lease_until,
            MemberState::Leaving { kept_lease: claims, .. } => *claims,
            MemberState::Assembling | MemberState::Promised(_) | MemberState::Left => None,
        }
    }

    /// Whether this node may act at `now` as a member of its installed view. What says so outside of the core, from any thread, is the
    /// same comparison with [`lease_until`](Node::lease_until) in an atomic word.
    #[must_use]
    pub fn holds_lease(&self, now: Time) -> bool {
        self.lease_until().is_some_and(|until| now < until)
    }
}
