//! Passes changes of the cluster on to the shards.

use std::sync::Arc;

use cloister_core::{Epoch, NodeId, Ring, StateChange, Status, View};
use cloister_table_proto::{Event, Placement};

use crate::core::{Core, SHARDS};
use crate::holds::Waits;
use crate::leaving::Leaving;

/// Makes events of changes.
pub(crate) struct Changes {
    core: Arc<Core>,
    /// The placement of the view that was promised or installed last.
    placement: Option<Placement>,
    /// The number of the last announced round.
    planned: u64,
    is_planned: bool,
    /// The incarnation of this node.
    me: Option<NodeId>,
    /// The view that this node is up in.
    present: Option<Epoch>,
    /// This node leaves, and its service knows.
    leaves: bool,
}

impl Changes {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, placement: None, planned: 0, is_planned: false, me: None, present: None, leaves: false }
    }

    /// Tells the shards of a change.
    pub(crate) fn take(&mut self, change: &StateChange) {
        let state = &change.state;
        if self.me.replace(state.node.id.clone()).is_some_and(|before| before != state.node.id) {
            (self.placement, self.is_planned, self.leaves) = (None, false, false);
            self.core.view.reset();
        }
        self.core.look_at_links();
        let event = match (change.to, &state.proposed, &state.view) {
            (Status::Rehashing, Some(proposed), _) => {
                let placement = self.placement_of(proposed, change);
                self.hold(Waits::View(proposed.epoch().as_u64()), change);
                Event::Promised(placement)
            }
            (Status::Up, _, Some(view)) => Event::Up(self.placement_of(view, change)),
            (Status::Stopping | Status::Stopped, ..) => {
                self.hold(Waits::Leave, change);
                Event::Leaves
            }
            _ if self.core.options.outlives_lease() => return,
            _ => Event::Down,
        };
        let present = match &event {
            Event::Up(placement) => Some(placement.epoch()),
            _ => None,
        };
        if std::mem::replace(&mut self.present, present) != present {
            self.core.ended();
        }
        if present.is_none() {
            self.core.view.down(matches!(event, Event::Leaves));
        }
        self.core.handle(&event);
        let leaves = matches!(event, Event::Leaves);
        // Once: changes of others may come while this node leaves.
        if leaves
            && !std::mem::replace(&mut self.leaves, leaves)
            && let Some((service, table)) = self.core.service()
        {
            service.leaves(Leaving::new(table));
        }
        if let Event::Up(placement) = event {
            // This node sends operations by this view from now on.
            if self.core.view.up(placement.epoch()) {
                self.core.watch_again(placement.epoch());
            }
        }
        self.plan(change);
        // Whether the hold that it has taken is of use shows only now.
        self.core.look_at_links();
    }

    fn plan(&mut self, change: &StateChange) {
        let planned = change.state.planned.as_ref().filter(|_| change.to == Status::Up);
        if planned.is_none() && !self.is_planned {
            if change.to == Status::Up {
                // Nothing is to be copied: nothing waits.
                drop(change.hold());
            }
            return;
        }
        self.is_planned = planned.is_some();
        let placement = planned.map(|view| placement(view, change, &self.core));
        if placement.is_some() {
            self.planned += 1;
            self.hold(Waits::Planned(self.planned), change);
        }
        self.core.plan(self.planned, &Event::Planned(placement));
    }

    /// Has the round wait for all shards. What was not offered is not waited for.
    fn hold(&self, what: Waits, change: &StateChange) {
        let parts = match what {
            Waits::Planned(_) | Waits::Leave => self.core.parts(),
            Waits::View(_) => 0..SHARDS,
        };
        if let Some(hold) = change.hold() {
            self.core.holds.put(what, hold, parts);
        }
    }

    fn placement_of(&mut self, view: &View, change: &StateChange) -> Placement {
        match &self.placement {
            Some(known) if known.epoch() == view.epoch() => known.clone(),
            _ => {
                let placement = placement(view, change, &self.core);
                self.core.view.named(&placement);
                self.placement.insert(placement).clone()
            }
        }
    }
}

fn placement(view: &View, change: &StateChange, core: &Core) -> Placement {
    let members: Arc<[NodeId]> = view.ids().cloned().collect();
    let is_of_view = |ring: &Arc<Ring>| {
        ring.members().len() == members.len() && members.iter().all(|id| ring.members().contains(id))
    };
    let ring = change.ring(None).filter(is_of_view).unwrap_or_else(|| Arc::new(Ring::new(members.iter())));
    let replicas = Arc::new(ring.replicas(core.options.copies));
    Placement::new(view.epoch(), change.predecessor().unwrap_or(Epoch::ZERO), members, replicas)
}
