//! Publishes what the core decided for readers on other threads.

use std::sync::Arc;

use cloister_proto::{ClusterState, Epoch, Node, NodeId, Status, Time, View};

use crate::handle::{IncarnationState, Shared};
use crate::listener::{Placement, RingDiff};
use crate::placement::{Rings, Snapshot};

/// Keeps the snapshot of one incarnation equal to its core, and every ring computed once.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    incarnation: Arc<IncarnationState>,
    me: NodeId,
    published: Arc<Snapshot>,
    /// The state of the core that is published.
    decided: Arc<ClusterState>,
    /// The rings that were computed last, of views that may still come: the installed and the proposed one.
    computed: Vec<(Arc<View>, Arc<Rings>)>,
    /// The view that listeners got last as the one that is up, and its rings.
    notified: Option<(Epoch, Arc<Rings>)>,
    /// The view that was proposed last, and the greatest epoch that its members had installed then.
    predecessor: Option<(Epoch, Option<Epoch>)>,
}

impl Publisher {
    /// The publisher of an incarnation that has not begun.
    pub(crate) fn new(shared: Arc<Shared>, incarnation: Arc<IncarnationState>) -> Self {
        let published = incarnation.snapshot();
        let (me, decided) = (published.state().node.id.clone(), Arc::clone(published.state()));
        let (computed, notified, predecessor) = (Vec::new(), None, None);
        Self { shared, incarnation, me, published, decided, computed, notified, predecessor }
    }

    /// The incarnation whose decisions are published.
    pub(crate) fn incarnation(&self) -> &Arc<IncarnationState> {
        &self.incarnation
    }

    /// Publishes what `node` decided. Call it after every event, before any action is performed. A node that gives up a view must have
    /// stopped claiming it before a peer learns of that.
    pub(crate) fn publish(&mut self, node: &Node) {
        let state = node.state();
        // A lease is of the view that was reported as the one that is up.
        let lease = node.lease_until().filter(|_| state.status == Status::Up);
        if Arc::ptr_eq(&self.decided, state) {
            self.grant(lease);
            return;
        }
        self.published.lease().grant(None);
        if let Some(proposed) = &state.proposed
            && self.predecessor.is_none_or(|(epoch, _)| epoch != proposed.epoch())
        {
            self.predecessor = Some((proposed.epoch(), node.predecessor(proposed)));
        }
        let placed = state.view.clone().map(|view| {
            let rings = self.rings(&view);
            (view, rings)
        });
        self.decided = Arc::clone(state);
        let snapshot = Arc::new(Snapshot::new(self.incarnation.numbered(state), placed));
        self.published = Arc::clone(&snapshot);
        self.shared.publish(&self.incarnation, snapshot);
        self.grant(lease);
    }

    /// A state of the core as readers and listeners get it.
    pub(crate) fn numbered(&self, state: &Arc<ClusterState>) -> Arc<ClusterState> {
        match Arc::ptr_eq(&self.decided, state) {
            true => Arc::clone(self.published.state()),
            false => self.incarnation.numbered(state),
        }
    }

    fn grant(&self, lease: Option<Time>) {
        if self.incarnation.grant(lease, self.shared.clock().now()) {
            self.shared.turn();
        }
    }

    /// What listeners get besides `state`.
    pub(crate) fn placement(&mut self, state: &ClusterState) -> Placement {
        let moved = self.moves(state);
        let view = state.proposed.as_ref().or(state.planned.as_ref()).or(state.view.as_ref());
        let predecessor = view.zip(self.predecessor).filter(|(view, (epoch, _))| view.epoch() == *epoch);
        Placement {
            moved,
            rings: view.map(|view| self.rings(view)),
            predecessor: predecessor.and_then(|(_, (_, before))| before),
        }
    }

    /// The slots that this node takes and gives on the way to `state`: planned while it is rehashing, done when
    /// it is up.
    fn moves(&mut self, state: &ClusterState) -> Vec<RingDiff> {
        let before = self.notified.clone();
        // What is planned is reported as a change of its own, when the view before it is known.
        if let Some(proposed) = state.proposed.as_ref().or(state.planned.as_ref()) {
            let next = self.rings(proposed);
            return Rings::moves(&self.me, before.as_ref().map(|(_, rings)| &**rings), &next);
        }
        let Some(view) = state.view.as_ref().filter(|_| state.status == Status::Up) else {
            return Vec::new();
        };
        if before.as_ref().is_some_and(|(epoch, _)| *epoch == view.epoch()) {
            return Vec::new();
        }
        let next = self.rings(view);
        let moves = Rings::moves(&self.me, before.as_ref().map(|(_, rings)| &**rings), &next);
        self.notified = Some((view.epoch(), next));
        moves
    }

    /// The rings over the members of `view`; views of the same members share them.
    fn rings(&mut self, view: &Arc<View>) -> Arc<Rings> {
        if let Some((_, rings)) = self.computed.iter().find(|(known, _)| known.members() == view.members()) {
            return Arc::clone(rings);
        }
        let rings = Arc::new(Rings::new(self.shared.plan(), view.members()));
        self.computed.push((Arc::clone(view), Arc::clone(&rings)));
        if self.computed.len() > 2 {
            self.computed.remove(0);
        }
        rings
    }
}
