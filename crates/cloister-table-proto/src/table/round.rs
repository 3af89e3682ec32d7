//! The beginning of a view: asking for labels, and deciding which content is that of the view.

use std::collections::{BTreeMap, BTreeSet};

use cloister_proto::{Epoch, NodeId, Slot};

use super::decide::{Loss, Reports, Verdict};
use super::owned::{Claimed, Owned, Replica, Role};
use super::{Action, Holding, OnLoss, Table};
use crate::content::Content;
use crate::knowledge::Knowledge;
use crate::label::{Label, Seen, Stamp};
use crate::message::{Message, SlotReport, ViewMembers};
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
    /// Views of which the members are known.
    views: BTreeMap<Epoch, Vec<u64>>,
    /// The incarnations of the nodes that have answered.
    reporters: BTreeSet<u64>,
    reports: BTreeMap<Slot, BTreeMap<NodeId, SlotReport>>,
    decided: bool,
}

impl Round {
    /// Whether fewer than half of the members of the newest view that is known have answered. Then the others may have installed a view
    /// after it, and have ended since: nothing knows what that acknowledged.
    fn is_doubtful(&self) -> bool {
        let newest = self.installed.last().copied().unwrap_or_default();
        let doubts = |members: &Vec<u64>| {
            let answered = members.iter().filter(|member| self.reporters.contains(member)).count();
            2 * answered < members.len()
        };
        // A view of which no member has answered is known by its epoch only.
        newest != Epoch::ZERO && self.views.get(&newest).is_none_or(doubts)
    }
}

impl Table {
    /// Asks every member and every linked node what it has of the slots that this node is to own.
    pub(super) fn ask_labels(&mut self) {
        let Some(placement) = &self.placement else { return };
        let mine = |slot: &&Slot| placement.owner_of(**slot) == Some(&self.me);
        self.owned = self.options.slots.iter().filter(mine).map(|slot| (*slot, Owned::default())).collect();
        let members: BTreeSet<NodeId> =
            placement.members().iter().filter(|id| **id != self.me).cloned().collect();
        let visitors = match self.keeps(Rule::AskLeavers) {
            true => self.linked.iter().filter(|peer| !members.contains(peer)).cloned().collect(),
            false => BTreeSet::new(),
        };
        let predecessor = placement.predecessor();
        let mut round = Round { members, visitors, ..Round::default() };
        if self.owned.is_empty() {
            (round.members, round.visitors) = Default::default();
        }
        round.installed.extend([self.installed, predecessor]);
        round.views = self.views.iter().cloned().collect();
        round.reporters.insert(self.me.incarnation().0);
        let slots: Vec<Slot> = self.owned.keys().copied().collect();
        for report in self.reports_of(&slots) {
            round.reports.entry(report.slot).or_default().insert(self.me.clone(), report);
        }
        let asked: Vec<NodeId> = round.members.iter().chain(&round.visitors).cloned().collect();
        self.round = Some(round);
        asked.iter().for_each(|peer| self.ask(peer));
        self.decide_if_answered();
    }

    /// Answers those that asked before this node heard of the view.
    pub(super) fn answer_askers(&mut self) {
        let epoch = self.epoch();
        for ((its, asker), slots) in std::mem::take(&mut self.asked) {
            if its == epoch {
                self.report(&asker, epoch, true, slots);
            } else if its > epoch {
                self.asked.insert((its, asker), slots);
            }
        }
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

    /// Tells what this node has of these slots: a member as soon as it has promised the view itself, so that it has heard of all views
    /// before.
    pub(super) fn report(&mut self, from: &NodeId, epoch: Epoch, member: bool, slots: Vec<Slot>) {
        if member && !self.leaves && epoch > self.epoch() {
            self.asked.retain(|(its, asker), _| *its >= epoch && asker != from);
            self.asked.insert((epoch, from.clone()), slots);
            return;
        }
        let takes_part = member || self.leaves;
        let (mut views, mut reports) = (None, Vec::new());
        if takes_part {
            self.fence = self.fence.max(epoch);
            views = Some(self.views.iter().filter(|(its, _)| *its >= self.installed).cloned().collect());
            reports = self.reports_of(&slots);
        }
        self.send(from, Message::Reports { epoch, installed: self.installed, views, reports });
    }

    fn reports_of(&self, slots: &[Slot]) -> Vec<SlotReport> {
        let report = |slot: &Slot| {
            let told = self.holdings.get(slot).filter(|holding| !holding.is_untold_loss);
            let stamp = told.map_or(Stamp::NONE, |holding| holding.stamp);
            let seen = self.seen.get(slot).copied().unwrap_or_default();
            let knows = self.knows.get(slot).cloned().unwrap_or_default();
            SlotReport { slot: *slot, stamp, seen, knows }
        };
        let known = |report: &SlotReport| {
            report.stamp != Stamp::NONE
                || report.seen != Seen::NOTHING
                || report.knows != Knowledge::default()
        };
        slots.iter().map(report).filter(known).collect()
    }

    pub(super) fn take_reports(
        &mut self,
        from: &NodeId,
        epoch: Epoch,
        (installed, views): (Epoch, Option<Vec<ViewMembers>>),
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
        if let Some(views) = views {
            round.reporters.insert(from.incarnation().0);
            round.views.extend(views);
        }
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
        self.release_view_if_ready();
    }

    /// What follows from the reports of a slot.
    fn verdict(&self, round: &Round, slot: Slot) -> Verdict {
        let none = BTreeMap::new();
        let reports = Reports {
            reports: round.reports.get(&slot).unwrap_or(&none),
            installed: &round.installed,
            is_doubtful: self.keeps(Rule::Doubt) && round.is_doubtful(),
            proof: self.keeps(Rule::Proof),
        };
        reports.verdict()
    }

    /// Decides which content of a slot is that of the view, and which nodes have it.
    pub(super) fn decide(&mut self, slot: Slot) {
        self.decide_or_wait(slot, self.options.on_loss == OnLoss::Wait);
    }

    fn decide_or_wait(&mut self, slot: Slot, waits_if_lost: bool) {
        let Some(round) = &self.round else { return };
        let verdict = self.verdict(round, slot);
        let reports = round.reports.get(&slot);
        let will = Seen { start: verdict.seen.start.max(verdict.written), ..verdict.seen };
        let known =
            |node: &NodeId| reports.and_then(|all| all.get(node)).map_or(Seen::NOTHING, |report| report.seen);
        let knows = |node: &NodeId| known(node).covers(will);
        let (epoch, copies) = (self.epoch(), self.copies_of(slot));
        let others: BTreeSet<NodeId> =
            self.members().iter().filter(|node| **node != self.me).cloned().collect();
        let loses = verdict.loss.filter(|loss| *loss == Loss::Gone || self.keeps(Rule::Inform));
        let unsealed = match loses {
            Some(Loss::Gone) => others.clone(),
            Some(Loss::Unknown) | None => others.iter().filter(|node| !knows(node)).cloned().collect(),
        };
        self.seen.insert(slot, verdict.seen);
        // What nothing knows is told first; else the next view would take this one's word for it.
        let is_known = verdict.is_known || !self.keeps(Rule::Inform);
        let informs = if is_known && self.keeps(Rule::Inform) { others.clone() } else { BTreeSet::new() };
        if is_known {
            self.is_told(slot, epoch);
        }
        self.owed.informs.insert(slot);
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        (owned.decided, owned.informs, owned.unsealed) = (true, informs, unsealed);
        owned.leftovers = verdict
            .holders
            .iter()
            .filter(|node| **node != self.me && !copies.contains(node))
            .cloned()
            .collect();
        (owned.loss, owned.is_known) = (loses, is_known);
        owned.waits_for_copy = loses.is_some() && waits_if_lost;
        match loses {
            Some(_) if owned.waits_for_copy => {
                if self.up {
                    self.actions.push_back(Action::WaitsForCopy(slot));
                }
            }
            Some(Loss::Gone) => self.empty(slot, epoch, true),
            // It goes on with what there is, once that is told.
            Some(Loss::Unknown) => {}
            None => self.keep(slot, &verdict, &others),
        }
        self.ready_if_here(slot);
    }

    /// A loss that is not certain was told: the slot goes on with what there is.
    pub(super) fn keep_what_there_is(&mut self, slot: Slot) {
        let Some(round) = &self.round else { return };
        let verdict = self.verdict(round, slot);
        let others = self.members().iter().filter(|node| **node != self.me).cloned().collect();
        // What was told is like a write: the next view does not tell it again.
        let written = Label::start_of(self.epoch());
        self.keep(slot, &Verdict { written, ..verdict }, &others);
    }

    /// The slot goes on with the content of this verdict.
    fn keep(&mut self, slot: Slot, verdict: &Verdict, others: &BTreeSet<NodeId>) {
        let (epoch, copies) = (self.epoch(), self.copies_of(slot));
        let Verdict { best, written, .. } = *verdict;
        let has_best = |node: &NodeId| verdict.stamp_of(node).is_some();
        let mut missing = copies.len() - 1;
        let (wanted, extra): (Vec<&NodeId>, Vec<&NodeId>) =
            others.iter().partition(|node| copies.contains(node));
        let keeps_extra = best != Label::NONE && self.keeps(Rule::KeepUntilComplete);
        let catches_up = self.keeps(Rule::CatchUp);
        let mut relabels = BTreeMap::new();
        for (node, is_wanted) in
            wanted.iter().map(|node| (*node, true)).chain(extra.iter().map(|node| (*node, false)))
        {
            let lags = verdict.lagging.contains_key(node) && catches_up;
            let Some(reported) =
                verdict.stamp_of(node).or(verdict.lagging.get(node).copied().filter(|_| lags))
            else {
                continue;
            };
            // Others stay copies until those that should have one are complete.
            let counts = is_wanted || (keeps_extra && missing > 0);
            missing = missing.saturating_sub(usize::from(counts));
            if counts || lags {
                relabels.insert(node.clone(), Claimed { reported, label: best, written, lags, counts });
            }
        }
        let sources: Vec<(NodeId, Label)> = match has_best(&self.me) || best == Label::NONE {
            true => Vec::new(),
            false => verdict.equal.iter().map(|(node, stamp)| (node.clone(), stamp.label)).collect(),
        };
        if has_best(&self.me) {
            self.adopt(slot, (best, written), epoch);
        } else if sources.is_empty() {
            self.empty(slot, epoch, false);
        }
        let counts = Replica { role: Role::Counts, acked: 0 };
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        let equal = relabels.iter().filter(|(_, claimed)| !claimed.lags);
        owned.replicas = equal.map(|(node, _)| (node.clone(), counts)).collect();
        owned.leftovers.retain(|node| relabels.get(node).is_none_or(|claimed| !claimed.counts));
        owned.relabels = relabels;
        self.owed.relabels.insert(slot);
        owned.pulls = !sources.is_empty();
        if owned.pulls {
            self.pull_first(slot, sources, (best, written));
        }
    }

    pub(super) fn informed(&mut self, from: &NodeId, epoch: Epoch, slots: Vec<Slot>) {
        if epoch != self.epoch() {
            return;
        }
        for slot in slots {
            if self.owned.get_mut(&slot).is_some_and(|owned| owned.informs.remove(from)) {
                self.ready_if_here(slot);
                self.serve_if_sealed(slot);
            }
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
        }
    }

    pub(super) fn accept_loss(&mut self) {
        if self.is_fenced(self.epoch()) {
            return;
        }
        let waiting = self.owned.iter().filter(|(_, owned)| owned.waits_for_copy).map(|(slot, _)| *slot);
        for slot in waiting.collect::<Vec<_>>() {
            self.decide_or_wait(slot, false);
        }
    }

    fn empty(&mut self, slot: Slot, epoch: Epoch, is_loss: bool) {
        // What a loss leaves is like a write: what was there before is over.
        let written = if is_loss { Label::start_of(epoch) } else { Label::NONE };
        let stamp = Stamp { candidate: epoch, written, ..Stamp::NONE };
        self.holdings
            .insert(slot, Holding { is_untold_loss: is_loss, ..Holding::new(Content::default(), stamp) });
        self.label_at_once(slot, epoch);
    }

    /// The content that this node has is that of the view of `epoch`.
    pub(super) fn adopt(&mut self, slot: Slot, (label, written): (Label, Label), epoch: Epoch) {
        let holding =
            self.holdings.entry(slot).or_insert_with(|| Holding::new(Content::default(), Stamp::NONE));
        holding.relabel(label);
        holding.stamp = Stamp { label, written, candidate: epoch, learning: false };
        self.label_at_once(slot, epoch);
        self.forget_clients(slot);
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

    pub(super) fn relabelled(&mut self, from: &NodeId, epoch: Epoch, slots: Vec<Slot>) {
        if epoch != self.epoch() {
            return;
        }
        for slot in slots {
            let Some(owned) = self.owned.get_mut(&slot) else { continue };
            let Some(claimed) = owned.relabels.remove(from) else { continue };
            if claimed.counts {
                owned.replicas.entry(from.clone()).or_insert(Replica { role: Role::Counts, acked: 0 });
            }
            self.serve_if_sealed(slot);
        }
    }

    /// A slot is ready once its content is here, and all members know what was seen of it. Other copies need not have confirmed
    /// theirs: a write waits for them.
    pub(super) fn ready_if_here(&mut self, slot: Slot) {
        let Some(owned) = self.owned.get_mut(&slot) else { return };
        let is_here = owned.decided && !owned.pulls && !owned.waits_for_copy;
        let is_ready = is_here && owned.informs.is_empty();
        if owned.ready || !is_ready {
            return;
        }
        owned.ready = true;
        if owned.has_lagging() {
            self.owed.relabels.insert(slot);
        }
        if self.up {
            self.serve_if_sealed(slot);
        }
        self.release_view_if_ready();
    }

    pub(super) fn release_view_if_ready(&mut self) {
        if !self.holds_view || self.round.as_ref().is_some_and(|round| !round.decided) {
            return;
        }
        let is_unsettled = |(_, owned): &(&Slot, &Owned)| !owned.ready && !owned.waits_for_copy;
        // The one that was not ready before probably is not yet.
        let first = self.unsettled.or(self.owned.keys().next().copied());
        let next = first.and_then(|first| self.owned.range(first..).find(is_unsettled));
        self.unsettled = next.or_else(|| self.owned.iter().find(is_unsettled)).map(|(slot, _)| *slot);
        if self.unsettled.is_none() {
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
