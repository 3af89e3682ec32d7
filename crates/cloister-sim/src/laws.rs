//! What must hold after every event of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use cloister_proto::{Change, Epoch, Node, NodeId, Ring, Slot, Status, Transition};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    lives: BTreeMap<NodeId, Life>,
    /// The members of the view of each epoch.
    views: BTreeMap<Epoch, Vec<NodeId>>,
    rings: BTreeMap<Vec<NodeId>, Rc<Ring>>,
    /// From which beginning each view descends: the epoch of the first.
    roots: BTreeMap<Epoch, Epoch>,
    /// Whether the views that broke a law descend from two beginnings.
    pub(crate) two_roots: bool,
}

#[derive(Debug, Default)]
struct Life {
    seq: u64,
    status: Status,
    members: BTreeSet<NodeId>,
    epoch: Epoch,
}

impl Laws {
    /// The laws of events: no gap in `seq`, each change starts where the last ended, up and down alternate, and what
    /// is told is the difference of two states.
    pub(crate) fn told(
        &mut self,
        who: &NodeId,
        change: &Transition,
        clocks_agree: bool,
        runs: impl Fn(&NodeId) -> bool,
    ) -> Result<(), Violation> {
        let life = self.lives.entry(who.clone()).or_default();
        let fail = |what: String| Err(Violation(format!("{who}: {what}")));
        if change.seq != life.seq + 1 || change.state.seq != change.seq {
            return fail(format!("seq {} follows {}", change.seq, life.seq));
        }
        if change.from != life.status || change.to != change.state.status {
            return fail(format!("a change from {} follows {}", change.from, life.status));
        }
        let mut members = life.members.clone();
        for step in &change.changes {
            match step {
                Change::NodeUp { node } if !members.insert(node.clone()) => {
                    return fail(format!("{node} is up twice"));
                }
                Change::NodeDown { node, .. } if !members.remove(node) => {
                    return fail(format!("{node} is down without having been up"));
                }
                _ => {}
            }
        }
        let state: BTreeSet<NodeId> = change.state.members.iter().map(|member| member.id.clone()).collect();
        if members != state {
            return fail(format!("told changes lead to {members:?}, the state is {state:?}"));
        }
        life.seq = change.seq;
        life.status = change.to;
        life.members = members;
        if change.to == Status::Up {
            let Some(view) = &change.state.view else { return fail("up without a view".into()) };
            if view.epoch() < life.epoch {
                return fail(format!("epoch {} follows {}", view.epoch(), life.epoch));
            }
            life.epoch = view.epoch();
            let ids: Vec<NodeId> = view.ids().cloned().collect();
            let newest = self.views.keys().next_back().copied().unwrap_or_default();
            self.find_root(view.epoch(), &ids, runs);
            if clocks_agree && !self.views.contains_key(&view.epoch()) && view.epoch() < newest {
                self.two_roots = self.roots.get(&view.epoch()) != self.roots.get(&newest);
                return Err(Violation(format!("epoch {} is installed after {newest}", view.epoch())));
            }
            if *self.views.entry(view.epoch()).or_insert_with(|| ids.clone()) != ids {
                return Err(Violation(format!("two views have epoch {}", view.epoch())));
            }
        }
        Ok(())
    }

    /// The laws of claims, for two nodes that may both act at this instant.
    pub(crate) fn both_claim(&mut self, a: (&NodeId, &Node), b: (&NodeId, &Node)) -> Result<(), Violation> {
        let (Some(view_a), Some(view_b)) = (&a.1.state().view, &b.1.state().view) else { return Ok(()) };
        if view_a.epoch() == view_b.epoch() {
            return Ok(());
        }
        self.two_roots = self.roots.get(&view_a.epoch()) != self.roots.get(&view_b.epoch());
        if view_a.sentry() == Some(a.0) && view_b.sentry() == Some(b.0) {
            return Err(Violation(format!(
                "two sentries at once: {} in view {} and {} in view {}",
                a.0,
                view_a.epoch(),
                b.0,
                view_b.epoch()
            )));
        }
        let ring_a = self.ring(view_a.ids().cloned().collect());
        let ring_b = self.ring(view_b.ids().cloned().collect());
        let twice =
            Slot::all().find(|slot| ring_a.owner(*slot) == Some(a.0) && ring_b.owner(*slot) == Some(b.0));
        match twice {
            Some(slot) => Err(Violation(format!(
                "slot {slot} is owned twice: by {} in view {} and by {} in view {}",
                a.0,
                view_a.epoch(),
                b.0,
                view_b.epoch()
            ))),
            None => Ok(()),
        }
    }

    /// A view descends from the newest one before it that had one of its members, unless it begins a cluster: less than half of that
    /// view is in it, and all the others have ended. Then a member that was left behind has begun again with new processes.
    fn find_root(&mut self, epoch: Epoch, members: &[NodeId], runs: impl Fn(&NodeId) -> bool) {
        if self.roots.contains_key(&epoch) {
            return;
        }
        let shares = |ids: &Vec<NodeId>| ids.iter().any(|id| members.contains(id));
        let before = self.views.iter().rev().find(|(at, ids)| **at < epoch && shares(ids));
        let descends = |ids: &Vec<NodeId>| {
            let missing: Vec<&NodeId> = ids.iter().filter(|id| !members.contains(id)).collect();
            2 * missing.len() <= ids.len() || missing.into_iter().any(&runs)
        };
        let before = before.filter(|(_, ids)| descends(ids)).map(|(at, _)| *at);
        let root = before.and_then(|at| self.roots.get(&at).copied()).unwrap_or(epoch);
        self.roots.insert(epoch, root);
    }

    fn ring(&mut self, members: Vec<NodeId>) -> Rc<Ring> {
        let ring = self.rings.entry(members).or_insert_with_key(|members| Rc::new(Ring::new(members)));
        Rc::clone(ring)
    }

    /// How many views were installed.
    pub(crate) fn views(&self) -> usize {
        self.views.len()
    }
}
