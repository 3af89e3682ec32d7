//! What must hold after every event of every run.

use std::collections::BTreeMap;
use std::rc::Rc;

use cloister_proto::{Epoch, Node, NodeId, Ring, Status, Transition, View};
use cloister_testkit::laws::{ChangeLaw, Conflict, conflict, is_epoch_twice};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    /// What the listeners of each incarnation got.
    changes: BTreeMap<NodeId, ChangeLaw>,
    /// The members of the view of each epoch.
    views: BTreeMap<Epoch, Vec<NodeId>>,
    rings: BTreeMap<Vec<NodeId>, Rc<Ring>>,
    /// From which beginning each view descends: the epoch of the first.
    roots: BTreeMap<Epoch, Epoch>,
    /// Whether the views that broke a law descend from two beginnings.
    pub(crate) two_roots: bool,
}

impl Laws {
    /// The laws of events, and those of views: no two have one epoch, and epochs rise where clocks agree.
    pub(crate) fn on_change(
        &mut self,
        node: &NodeId,
        change: &Transition,
        clocks_agree: bool,
        runs: impl Fn(&NodeId) -> bool,
    ) -> Result<(), Violation> {
        let law = self.changes.entry(node.clone()).or_default();
        law.check(change).map_err(|broken| Violation(format!("{node}: {broken}")))?;
        if let Some(view) = change.state.view.as_ref().filter(|_| change.to == Status::Up) {
            let ids: Vec<NodeId> = view.ids().cloned().collect();
            let newest = self.views.keys().next_back().copied().unwrap_or_default();
            self.find_root(view.epoch(), &ids, runs);
            if clocks_agree && !self.views.contains_key(&view.epoch()) && view.epoch() < newest {
                self.two_roots = self.roots.get(&view.epoch()) != self.roots.get(&newest);
                return Err(Violation(format!("epoch {} is installed after {newest}", view.epoch())));
            }
            let known = self.views.get(&view.epoch()).map(|members| (view.epoch(), members.as_slice()));
            if is_epoch_twice(known, view) {
                return Err(Violation(format!("two views have epoch {}", view.epoch())));
            }
            self.views.insert(view.epoch(), ids);
        }
        Ok(())
    }

    /// The laws of claims, for two nodes that may both act at this instant.
    pub(crate) fn both_claim(&mut self, a: (&NodeId, &Node), b: (&NodeId, &Node)) -> Result<(), Violation> {
        let (Some(view_a), Some(view_b)) = (&a.1.state().view, &b.1.state().view) else { return Ok(()) };
        let rings = &mut self.rings;
        let ring = |view: &View| {
            let members = view.ids().cloned().collect();
            Rc::clone(rings.entry(members).or_insert_with_key(|members: &Vec<_>| Rc::new(Ring::new(members))))
        };
        let what = match conflict((a.0, view_a), (b.0, view_b), ring) {
            None => return Ok(()),
            Some(Conflict::TwoSentries) => "two sentries at once".to_owned(),
            Some(Conflict::SlotTwice(slot)) => format!("slot {slot} is owned twice"),
        };
        self.two_roots = self.roots.get(&view_a.epoch()) != self.roots.get(&view_b.epoch());
        Err(Violation(format!(
            "{what}: {} in view {} and {} in view {}",
            a.0,
            view_a.epoch(),
            b.0,
            view_b.epoch()
        )))
    }

    /// A view descends from the newest one before it that had one of its members, unless it begins a cluster. It begins one if less than
    /// half of that view is in it, and all the others have ended. Then a member that was left behind has begun again with new processes.
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

    /// How many views were installed.
    pub(crate) fn views(&self) -> usize {
        self.views.len()
    }
}
