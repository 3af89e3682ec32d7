//! The safety laws, for every cluster of cores in one thread: the simulator checks them after every event, and so do the scripts
//! and the model of the core.

use std::collections::BTreeSet;
use std::rc::Rc;

use cloister_proto::{Change, Epoch, NodeId, Ring, Slot, Status, Transition, View};

/// What two nodes that act at one instant must not both claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Both act as sentry.
    TwoSentries,
    /// Both own this slot.
    SlotTwice(Slot),
}

/// Checks two nodes that may both act at one instant, each with its view. `ring` makes the ring of a view, or has it already.
pub fn conflict(
    a: (&NodeId, &View),
    b: (&NodeId, &View),
    mut ring: impl FnMut(&View) -> Rc<Ring>,
) -> Option<Conflict> {
    if a.1.epoch() == b.1.epoch() {
        return None;
    }
    if a.1.sentry() == Some(a.0) && b.1.sentry() == Some(b.0) {
        return Some(Conflict::TwoSentries);
    }
    let (ring_a, ring_b) = (ring(a.1), ring(b.1));
    let twice = |slot: &Slot| ring_a.owner(*slot) == Some(a.0) && ring_b.owner(*slot) == Some(b.0);
    Slot::all().find(twice).map(Conflict::SlotTwice)
}

/// Whether a view has the epoch of a known one, and other members.
pub fn is_epoch_twice(known: Option<(Epoch, &[NodeId])>, view: &View) -> bool {
    known.is_some_and(|(epoch, members)| epoch == view.epoch() && !view.ids().eq(members))
}

/// The laws of what the listeners of one incarnation of a node get: no gap in `seq`, each change starts where the last ended, up and down
/// alternate, what is reported is the difference of two states, and the epoch of installed views does not fall.
#[derive(Clone, Debug, Default, Hash)]
pub struct ChangeLaw {
    seq: u64,
    status: Status,
    members: BTreeSet<NodeId>,
    epoch: Epoch,
}

impl ChangeLaw {
    /// Checks the next change.
    ///
    /// # Errors
    /// The law that is broken, in words.
    pub fn check(&mut self, change: &Transition) -> Result<(), String> {
        if change.seq != self.seq + 1 || change.state.seq != change.seq {
            return Err(format!("seq {} follows {}", change.seq, self.seq));
        }
        if change.from != self.status || change.to != change.state.status {
            return Err(format!("a change from {} follows {}", change.from, self.status));
        }
        let mut members = self.members.clone();
        for step in &change.changes {
            match step {
                Change::NodeUp { node } if !members.insert(node.clone()) => {
                    return Err(format!("{node} is up twice"));
                }
                Change::NodeDown { node, .. } if !members.remove(node) => {
                    return Err(format!("{node} is down without having been up"));
                }
                _ => {}
            }
        }
        let state: BTreeSet<NodeId> = change.state.members.iter().map(|member| member.id.clone()).collect();
        if members != state {
            return Err(format!("reported changes lead to {members:?}, the state is {state:?}"));
        }
        if change.to == Status::Up {
            let Some(view) = &change.state.view else { return Err("up without a view".to_owned()) };
            if view.epoch() < self.epoch {
                return Err(format!("epoch {} follows {}", view.epoch(), self.epoch));
            }
            self.epoch = view.epoch();
        }
        (self.seq, self.status, self.members) = (change.seq, change.to, members);
        Ok(())
    }
}
