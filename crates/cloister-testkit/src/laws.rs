//! The safety laws. In a cluster of cores in one thread, the simulator checks them after every event, and so do the scripts and the
//! model of the core. Tests with real processes check [`ChangeLaw`] for each listener.

use std::collections::BTreeSet;
use std::fmt;
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

/// What a listener got: a [`Transition`] of the core, or what a process has printed of one.
pub trait Observed {
    /// Names an incarnation of a node.
    type Node: Clone + Ord + fmt::Debug + fmt::Display;

    /// The number of the change.
    fn seq(&self) -> u64;
    /// The status before.
    fn from(&self) -> Status;
    /// The status now.
    fn to(&self) -> Status;
    /// The epoch of the installed view.
    fn epoch(&self) -> Option<Epoch>;
    /// The members now.
    fn members(&self) -> impl Iterator<Item = &Self::Node>;
    /// Which nodes came and went, in order.
    fn steps(&self) -> impl Iterator<Item = Step<&Self::Node>>;
    /// Whether it reports a change of any kind.
    fn has_changes(&self) -> bool;
    /// What of it contradicts the rest of it, in words.
    fn contradiction(&self) -> Option<String>;
}

/// A node came, or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<N> {
    /// It is up.
    Up(N),
    /// It is down.
    Down(N),
}

impl Observed for Transition {
    type Node = NodeId;

    fn seq(&self) -> u64 {
        self.seq
    }

    fn from(&self) -> Status {
        self.from
    }

    fn to(&self) -> Status {
        self.to
    }

    fn epoch(&self) -> Option<Epoch> {
        self.state.epoch()
    }

    fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.state.members.iter().map(|member| &member.id)
    }

    fn steps(&self) -> impl Iterator<Item = Step<&NodeId>> {
        self.changes.iter().filter_map(|change| match change {
            Change::NodeUp { node } => Some(Step::Up(node)),
            Change::NodeDown { node, .. } => Some(Step::Down(node)),
            _ => None,
        })
    }

    fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    fn contradiction(&self) -> Option<String> {
        let state = (self.state.seq, self.state.status);
        let (seq, to) = (self.seq, self.to);
        (state != (seq, to)).then(|| format!("change {seq} to {to} has state {} of {}", state.0, state.1))
    }
}

/// The laws of what a listener of one node gets:
///
/// - The numbers have no gap, and each change starts from the status that the one before led to.
/// - Up and down of an incarnation alternate, and what came and went is the difference of the two states.
/// - A node that is up has a view. The epoch of installed views never falls. A node that begins anew in its process is down and has
///   no view, until it has one of a greater epoch.
#[derive(Clone, Debug, Hash)]
pub struct ChangeLaw<N = NodeId> {
    seq: u64,
    status: Status,
    members: BTreeSet<N>,
    has_view: bool,
    /// The greatest epoch of an installed view.
    greatest: Epoch,
}

/// For a listener that has been there since the node began.
impl<N> Default for ChangeLaw<N> {
    fn default() -> Self {
        let (seq, status, members) = (0, Status::Down, BTreeSet::new());
        Self { seq, status, members, has_view: false, greatest: Epoch::ZERO }
    }
}

impl<N: Clone + Ord + fmt::Debug + fmt::Display> ChangeLaw<N> {
    /// For a listener that came later. The first that it gets is the present state.
    ///
    /// # Errors
    /// The law that is broken, in words.
    pub fn starting_with(first: &impl Observed<Node = N>) -> Result<Self, String> {
        if first.has_changes() || first.from() != first.to() {
            return Err("the first message is not the present state".to_owned());
        }
        Ok(Self {
            seq: first.seq(),
            status: first.to(),
            members: first.members().cloned().collect(),
            has_view: first.epoch().is_some(),
            greatest: first.epoch().unwrap_or_default(),
        })
    }

    /// Checks the next change.
    ///
    /// # Errors
    /// The law that is broken, in words.
    pub fn check(&mut self, change: &impl Observed<Node = N>) -> Result<(), String> {
        let (seq, to, epoch) = (change.seq(), change.to(), change.epoch());
        if let Some(contradiction) = change.contradiction() {
            return Err(contradiction);
        }
        if seq != self.seq + 1 {
            return Err(format!("seq {seq} follows {}", self.seq));
        }
        if change.from() != self.status {
            return Err(format!("a change from {} follows {}", change.from(), self.status));
        }
        let mut members = self.members.clone();
        for step in change.steps() {
            match step {
                Step::Up(node) if !members.insert(node.clone()) => {
                    return Err(format!("{node} is up twice"));
                }
                Step::Down(node) if !members.remove(node) => {
                    return Err(format!("{node} is down without having been up"));
                }
                _ => {}
            }
        }
        let state: BTreeSet<&N> = change.members().collect();
        if !members.iter().eq(state.iter().copied()) {
            return Err(format!("reported changes lead to {members:?}, the state is {state:?}"));
        }
        match epoch {
            Some(epoch) if epoch < self.greatest => {
                return Err(format!("epoch {epoch} follows {}", self.greatest));
            }
            None if to == Status::Up => return Err("up without a view".to_owned()),
            None if self.has_view && to != Status::Down => {
                return Err(format!("{to} without a view, after that of epoch {}", self.greatest));
            }
            _ => {}
        }
        (self.seq, self.status, self.members, self.has_view) = (seq, to, members, epoch.is_some());
        self.greatest = epoch.unwrap_or(self.greatest);
        Ok(())
    }
}
