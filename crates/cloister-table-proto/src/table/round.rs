//! The beginning of a view: asking for labels, and deciding which content is that of the view.

use std::collections::{BTreeMap, BTreeSet};

use cloister_proto::{Epoch, NodeId, Slot};

use super::owned::{Owned, Replica, Role};
use super::{Action, Holding, OnLoss, Table};
use crate::content::Content;
use crate::label::{Label, Seen, Stamp};
use crate::message::{Message, SlotReport};
use crate::placement::Placement;
use crate::rule::Rule;

/// What is asked for at the beginning of a view.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Members that have not answered.
    pub(super) members: BTreeSet<NodeId>,
    /// Linked nodes that are no members, and have not answered.
    pub(super) visitors: BTreeSet<NodeId>,
    /// Views that are known to be installed.
    installed: BTreeSet<Epoch>,
    reports: BTreeMap<Slot, BTreeMap<NodeId, SlotReport>>,
    decided: bool,
}

impl Table {
    /// Asks every member and every linked node what it has of the slots that this node is to own.
    pub(super) fn ask_labels(&mut self) {
        let Some(placement) = &self.placement else { return };
        let mine = |slot: &&Slot| placement.owner_of(**slot) == Some(&self.me);
        self.owned = self.options.slots.iter().filter(mine).map(|slot| (*slot, Owned::default())).collect();
        let members: BTreeSet<NodeId> = placement.members().iter().filter(|id| **id != self.me).cloned().collect();
        let visitors = match self.keeps(Rule::AskLeavers) {
            true => self.linked.iter().filter(|peer| !members.contains(peer)).cloned().collect(),
            false => BTreeSet::new(),
        };
        let mut round = Round { members, visitors, ..Round::default() };
        if self.owned.is_empty() {
            (round.members, round.visitors) = Default::default();
        }
        round.installed.insert(self.installed);
        let slots: Vec<Slot> = self.owned.keys().copied().collect();
        for report in self.reports_of(&slots) {
            round.reports.entry(report.slot).or_default().insert(self.me.clone(), report);
        }
        let asked: Vec<NodeId> = round.members.iter().chain(&round.visitors).cloned().collect();
        self.round = Some(round);
        asked.iter().for_each(|peer| self.ask(peer));
        self.decide_if_answered();
    }

    pub(super) fn ask(&mut self, peer: &NodeId) {
        let slots = self.owned.keys().copied().collect();
        let (epoch, member) = (self.epoch(), self.members().contains(peer));
        self.send(peer, Message::Ask { epoch, member, slots });
    }

    /// A node that is no member has a link while labels are asked for: it may be one that leaves.
    pub(super) fn ask_visitor(&mut self, peer: &NodeId) {
        if self.members().contains(peer) || !self.keeps(Rule::AskLeavers) {
            return;
        }
        let Some(round) = &mut self.round else { return };
        if !round.decided && round.visitors.insert(peer.clone()) {
            self.ask(peer);
        }
    }

    /// A node that is no member has lost its link: what it had is not there any more.
    pub(super) fn forget_visitor(&mut self, peer: &NodeId) {
        if let Some(round) = &mut self.round {
            round.visitors.remove(peer);
            self.decide_if_answered();
        }
    }

    pub(super) fn report(&mut self, from: &NodeId, epoch: Epoch, member: bool, slots: &[Slot]) {
        let takes_part = member || self.leaves;
        let mut reports = Vec::new();
        if takes_part {
            self.fence = self.fence.max(epoch);
            reports = self.reports_of(slots);
        }
        self.send(from, Message::Reports { epoch, installed: self.installed, reports });
    }

    fn reports_of(&self, slots: &[Slot]) -> Vec<SlotReport> {
        let report = |slot: &Slot| {
            let told = self.holdings.get(slot).filter(|holding| !holding.is_untold_loss);
            let stamp = told.map_or(Stamp::NONE, |holding| holding.stamp);
            let seen = self.seen.get(slot).copied().unwrap_or_default();
            SlotReport { slot: *slot, stamp, seen }
        };
        let known = |report: &SlotReport| report.stamp != Stamp::NONE || report.seen != Seen::NOTHING;
        slots.iter().map(report).filter(known).collect()
    }

    pub(super) fn take_reports(
        &mut self,
        from: &NodeId,
        epoch: Epoch,
        installed: Epoch,
        reports: Vec<SlotReport>,
    ) {
        if epoch != self.epoch() {
            return;
        }
        let Some(round) = &mut self.round else { return };
        if !round.members.remove(from) && !round.visitors.remove(from) {
            return;
        }
        round.installed.insert(installed);
        for report in reports {
            round.reports.entry(report.slot).or_default().insert(from.clone(), report);
        }
        self.decide_if_answered();
    }

    fn decide_if_answered(&mut self) {
        let members = self.members().len();
        let Some(round) = &self.round else { return };
        let answered = match self.broken == Some(Rule::AskAll) {
            false => round.members.is_empty() && round.visitors.is_empty(),
            true => round.members.len() * 2 < members,
        };
        // After a report for a later view this node's content stays as it was reported.
        if round.decided || !answered || self.is_fenced(self.epoch()) {
            return;
        }
        if let Some(round) = &mut self.round {
            round.decided = true;
        }
        for slot in self.owned.keys().copied().collect::<Vec<_>>() {
            self.decide(slot);
        }
        self.send_relabels(None);
        self.release_view_if_ready();
    }

    /// Decides which content of a slot is that of the view, and who has it.
    pub(super) fn decide(&mut self, slot: Slot) {
        let Some(round) = &self.round else { return };
        let reports = round.reports.get(&slot).cloned().unwrap_or_default();
        let seen = reports.values().fold(Seen::NOTHING, |seen, report| seen.and(report.seen));
        self.expect_seals(slot, seen, &reports);
        let Some(round) = &self.round else { return };
        let proof = self.broken != Some(Rule::Proof);
        let installed = |epoch: Epoch| proof && (round.installed.contains(&epoch) || seen.writes == epoch);
        let effective: BTreeMap<&NodeId, (Label, bool)> =
            reports.iter().map(|(node, report)| (node, report.stamp.effective(installed))).collect();
        let complete = effective.iter().filter(|(_, (_, complete))| *complete);
        let complete = complete.map(|(node, (label, _))| (*label, reports[*node].stamp.written));
        let (best, written) = complete.max().unwrap_or((Label::NONE, Label::NONE));
        // A copy that was being made tells as well that its view wrote the slot.
        let learning = effective.iter().filter(|(_, (_, complete))| !complete);
        let learned = learning.map(|(node, _)| reports[*node].stamp.written.epoch).max();
        let writes = seen.writes.max(learned.unwrap_or_default());
        if best.epoch < writes || written < seen.start {
            self.decide_lost(slot, &reports);
            return;
        }
        let has_best =
            |node: &NodeId| effective.get(node).map_or(best == Label::NONE, |(label, _)| *label == best);
        let stamp_of = |node: &NodeId| reports.get(node).map_or(Stamp::NONE, |report| report.stamp);
        let copies = self.copies_of(slot);
        let mut relabels: BTreeMap<NodeId, (Stamp, Label)> = copies
            .iter()
            .filter(|node| **node != self.me && has_best(node))
            .map(|node| (node.clone(), (stamp_of(node), best)))
            .collect();
        if best != Label::NONE && self.keeps(Rule::KeepUntilComplete) {
            let members = self.members().iter();
            let others = members.filter(|node| **node != self.me && !copies.contains(node) && has_best(node));
            let missing = copies.len().saturating_sub(1 + relabels.len());
            let others: Vec<_> = others.take(missing).map(|node| (node.clone(), (stamp_of(node), best))).collect();
            relabels.extend(others);
        }
        let is_leftover = |node: &&NodeId| {
            **node != self.me && !copies.contains(node) && stamp_of(node) != Stamp::NONE
        };
        let leftovers = reports.keys().filter(is_leftover).filter(|node| !relabels.contains_key(*node));
        let leftovers = leftovers.cloned().collect();
        let sources: Vec<(NodeId, Label)> = match has_best(&self.me) {
            true => Vec::new(),
            false => effective
                .iter()
                .filter(|(_, (label, _))| *label == best)
                .map(|(node, _)| ((*node).clone(), stamp_of(node).label))
                .collect(),
        };
        let epoch = self.epoch();
        if has_best(&self.me) {
            self.adopt(slot, best, epoch);
        } else if sources.is_empty() {
            self.empty(slot, epoch, false);
        }
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        owned.decided = true;
        owned.leftovers = leftovers;
        owned.pulls = !sources.is_empty();
        owned.relabels = relabels;
        let counts = Replica { role: Role::Counts, acked: 0 };
        owned.replicas = owned.relabels.keys().map(|node| (node.clone(), counts)).collect();
        if owned.pulls {
            self.pull_first(slot, sources, best);
        }
        self.ready_if_here(slot);
    }

    /// The members that do not know yet what was seen of a slot, or what will have been seen once it is served.
    fn expect_seals(&mut self, slot: Slot, seen: Seen, reports: &BTreeMap<NodeId, SlotReport>) {
        self.seen.insert(slot, seen);
        let newest = reports.values().map(|report| report.stamp.written).max().unwrap_or_default();
        let will = Seen { start: seen.start.max(newest), ..seen };
        let known = |node: &NodeId| reports.get(node).map_or(Seen::NOTHING, |report| report.seen);
        let unsealed = self.members().iter().filter(|node| **node != self.me && !known(node).covers(will));
        let unsealed = unsealed.cloned().collect();
        if let Some(owned) = self.owned.get_mut(&slot) {
            owned.unsealed = unsealed;
        }
    }

    /// The only node that had the content of a slot was leaving, and is gone.
    pub(super) fn decide_without(&mut self, slot: Slot, gone: &NodeId) {
        if let Some(reports) = self.round.as_mut().and_then(|round| round.reports.get_mut(&slot)) {
            reports.remove(gone);
        }
        if !self.is_fenced(self.epoch()) && self.owned.contains_key(&slot) {
            self.owned.insert(slot, Owned::default());
            self.decide(slot);
            self.send_relabels(None);
            }
    }

    /// All complete copies of the slot are gone.
    fn decide_lost(&mut self, slot: Slot, reports: &BTreeMap<NodeId, SlotReport>) {
        let (epoch, copies) = (self.epoch(), self.copies_of(slot));
        let waits = self.options.on_loss == OnLoss::Wait;
        let has = |(node, report): (&NodeId, &SlotReport)| (report.stamp != Stamp::NONE).then(|| node.clone());
        let leftovers = reports.iter().filter_map(has).filter(|node| *node != self.me && !copies.contains(node));
        let leftovers = leftovers.collect();
        let members = self.members().iter().filter(|node| **node != self.me).cloned().collect();
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        owned.unsealed = members;
        (owned.decided, owned.lost, owned.waits_for_copy, owned.leftovers) = (true, true, waits, leftovers);
        if waits {
            if self.up {
                self.actions.push_back(Action::WaitsForCopy(slot));
            }
            self.release_view_if_ready();
            return;
        }
        self.empty(slot, epoch, true);
        self.ready_if_here(slot);
    }

    pub(super) fn accept_loss(&mut self) {
        let epoch = self.epoch();
        if self.is_fenced(epoch) {
            return;
        }
        let waiting = self.owned.iter().filter(|(_, owned)| owned.waits_for_copy).map(|(slot, _)| *slot);
        for slot in waiting.collect::<Vec<_>>() {
            if let Some(owned) = self.owned.get_mut(&slot) {
                owned.waits_for_copy = false;
            }
            self.empty(slot, epoch, true);
            self.ready_if_here(slot);
        }
    }

    fn empty(&mut self, slot: Slot, epoch: Epoch, is_loss: bool) {
        // What a loss leaves is like a write: what was there before is over.
        let written = if is_loss { Label::start_of(epoch) } else { Label::NONE };
        let stamp = Stamp { candidate: epoch, written, ..Stamp::NONE };
        self.holdings.insert(slot, Holding { is_untold_loss: is_loss, ..Holding::new(Content::default(), stamp) });
        self.label_at_once(slot, epoch);
    }

    /// The content that this node has is that of the view of `epoch`.
    pub(super) fn adopt(&mut self, slot: Slot, label: Label, epoch: Epoch) {
        let holding =
            self.holdings.entry(slot).or_insert_with(|| Holding::new(Content::default(), Stamp::NONE));
        holding.relabel(label);
        holding.stamp.candidate = epoch;
        holding.stamp.learning = false;
        self.label_at_once(slot, epoch);
    }

    /// Labels what was brought into place for the view of `epoch` if that is known to be installed.
    pub(super) fn label_at_once(&mut self, slot: Slot, epoch: Epoch) {
        let known = self.installed == epoch || !self.keeps(Rule::Candidate);
        let told = |holding: &&mut Holding| known && !holding.is_untold_loss;
        if let Some(holding) = self.holdings.get_mut(&slot).filter(told) {
            holding.stamp.candidate = Epoch::ZERO;
            holding.relabel(Label::start_of(epoch));
        }
    }

    pub(super) fn send_relabels(&mut self, only: Option<&NodeId>) {
        let mut by_peer: BTreeMap<NodeId, Vec<(Slot, Stamp, Label)>> = BTreeMap::new();
        for (slot, owned) in &self.owned {
            for (peer, (stamp, label)) in &owned.relabels {
                if only.is_none_or(|only| only == peer) {
                    by_peer.entry(peer.clone()).or_default().push((*slot, *stamp, *label));
                }
            }
        }
        let epoch = self.epoch();
        for (peer, slots) in by_peer {
            self.send(&peer, Message::Relabel { epoch, slots });
        }
    }

    pub(super) fn relabelled(&mut self, from: &NodeId, epoch: Epoch, slots: Vec<Slot>) {
        if epoch != self.epoch() {
            return;
        }
        for slot in slots {
            if let Some(owned) = self.owned.get_mut(&slot) {
                owned.relabels.remove(from);
            }
        }
    }

    /// A slot is ready once its content is here. Other copies need not have confirmed theirs: a write waits for them.
    pub(super) fn ready_if_here(&mut self, slot: Slot) {
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        let is_ready = owned.decided && !owned.pulls && !owned.waits_for_copy;
        if owned.ready || !is_ready {
            return;
        }
        owned.ready = true;
        if self.up {
            self.serve_if_sealed(slot);
            self.send_seals(None);
        }
        self.release_view_if_ready();
    }

    pub(super) fn release_view_if_ready(&mut self) {
        let settled = |owned: &Owned| owned.ready || owned.waits_for_copy;
        let answered = self.round.as_ref().is_none_or(|round| round.decided);
        if self.holds_view && answered && self.owned.values().all(settled) {
            self.holds_view = false;
            self.actions.push_back(Action::ReleaseView(self.epoch()));
        }
    }

    /// Those that have the copies of each slot in a planned view fetch them while the present view goes on.
    pub(super) fn plan(&mut self, placement: Option<Placement>) {
        let is_over = placement.is_none() && self.planned.is_some();
        self.planned = placement;
        if is_over && self.up {
            self.stop_warming();
        }
        self.holds_planned = self.planned.is_some();
        for slot in self.owned.keys().copied().collect::<Vec<_>>() {
            self.warm(slot);
        }
        self.release_planned_if_warm();
    }
}
