//! What the handle reads without a lock: the state, the rings over the view, and the lease.
//!
//! The monitor is the only writer. A reader takes the snapshot, looks into its tables, and compares the lease with the clock at the very
//! end. So a process that wakes from a long pause answers no. Before a snapshot is replaced its lease is taken away: a reader that still
//! holds the old one can no longer say yes.

mod lease;
mod rings;

use std::sync::Arc;

use cloister_net::clock::Clock;
use cloister_proto::{ClusterState, Epoch, NodeId, Ring, Time, View};

pub(crate) use lease::Lease;
pub(crate) use rings::{RingPlan, Rings};

/// The cluster as this node sees it at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    state: Arc<ClusterState>,
    /// The view that was installed last, and its rings.
    placed: Option<(Arc<View>, Arc<Rings>)>,
    /// Until when this node may act as a member of that view.
    lease: Lease,
}

impl Snapshot {
    /// A snapshot without a lease.
    pub(crate) fn new(state: Arc<ClusterState>, placed: Option<(Arc<View>, Arc<Rings>)>) -> Self {
        Self { state, placed, lease: Lease::default() }
    }

    pub(crate) fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// The epoch of the view installed last.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.placed.as_ref().map(|(view, _)| view.epoch())
    }

    /// The ring of this name, `None` for the ring over all members.
    pub(crate) fn ring(&self, name: Option<&str>) -> Option<&Ring> {
        self.rings().and_then(|rings| rings.get(name))
    }

    /// How many slots of the ring each member owns, the oldest first; empty without a view.
    pub(crate) fn slot_counts(&self, ring: Option<&str>) -> Vec<(NodeId, usize)> {
        let counts = self.ring(ring).map(Ring::slot_counts).unwrap_or_default();
        counts.into_iter().map(|(member, slots)| (member.clone(), slots)).collect()
    }

    /// The rings of the view installed last.
    pub(crate) fn rings(&self) -> Option<&Arc<Rings>> {
        self.placed.as_ref().map(|(_, rings)| rings)
    }

    /// Whether this node owns `key` and may say so now.
    pub(crate) fn is_mine(&self, ring: Option<&str>, key: &[u8], clock: Clock) -> bool {
        self.owned_at(ring, key, clock).is_some()
    }

    /// The present moment, if this node owns `key` and may say so now.
    #[inline]
    pub(crate) fn owned_at(&self, ring: Option<&str>, key: &[u8], clock: Clock) -> Option<Time> {
        let mine = self.ring(ring).and_then(|ring| ring.owner_of(key)) == Some(&self.state.node.id);
        if !mine {
            return None;
        }
        let mut at = Time::ZERO;
        let now = || {
            at = clock.now();
            at
        };
        self.lease.holds(now).then_some(at)
    }

    /// Whether this node is the oldest of its view and may say so now.
    pub(crate) fn is_sentry(&self, clock: Clock) -> bool {
        let first = self.placed.as_ref().and_then(|(view, _)| view.sentry());
        first == Some(&self.state.node.id) && self.holds(clock)
    }

    /// Whether the lease is held; reads the clock last.
    pub(crate) fn holds(&self, clock: Clock) -> bool {
        self.lease.holds(|| clock.now())
    }

    /// The lease of this view.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }
}
