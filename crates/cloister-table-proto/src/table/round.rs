//! The beginning of a view: asking for labels, and deciding which content is that of the view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_proto::{Epoch, Slot};

use super::alike::{Alike, Decided};
use super::decide::{Claims, Loss, Reports, SlotDecision};
use super::holding::{self, Holding};
use super::nodes::{NodeMap, NodeSet, Peer};
use super::owned::{Change, Claimed, Owned, Replica, Role};
use super::reported::Reported;
use super::view::View;
use super::{Action, OnLoss, Table};
use crate::content::Content;
use crate::knowledge::Knowledge;
use crate::label::{Label, Seen, Stamp};
use crate::message::{Message, SlotReport, ViewMembers};
use crate::placement::Placement;
use crate::reports::SlotReports;
use crate::rule::Rule;

/// What is asked for at the beginning of a view.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Members that have not answered.
    pub(super) members: NodeSet,
    /// Linked nodes that are no members, and have not answered.
    pub(super) visitors: NodeSet,
    /// Views that are known to be installed.
    installed: BTreeSet<Epoch>,
    /// Views of which the members are known.
    views: BTreeMap<Epoch, Vec<u64>>,
    /// The incarnations of the members that have answered, and of others, which leave.
    reporters: BTreeSet<u64>,
    leavers: BTreeSet<u64>,
    reports: NodeMap<Reported>,
    pub(super) decided: bool,
    /// For verdicts: one slot is decided after the other.
    memory: Claims,
}

impl Round {
    /// Whether fewer than half of the members of the newest view that is known have answered, without those that leave. Then the others may
    /// have installed a view after it, and have ended since: nothing knows what that acknowledged. Views go on without a node that leaves.
    fn is_doubtful(&self) -> bool {
        let newest = self.installed.last().copied().unwrap_or_default();
        let doubts = |members: &Vec<u64>| {
            let stay = members.iter().filter(|member| !self.leavers.contains(member));
            2 * stay.clone().filter(|member| self.reporters.contains(member)).count() < stay.count()
        };
        // A view of which no member has answered is known by its epoch only.
        newest != Epoch::ZERO && self.views.get(&newest).is_none_or(doubts)
    }

    /// What follows from the reports of a slot; without the rules of doubt and proof if a test switches them off.
    fn verdict(&mut self, slot: Slot, doubts: bool, proof: bool) -> SlotDecision {
        let is_doubtful = doubts && self.is_doubtful();
        let memory = std::mem::take(&mut self.memory);
        let of = |(node, reported)| Some((node, Reported::of(reported, slot)?.1));
        let reports = self.reports.iter_mut().filter_map(of);
        Reports { reports, installed: &self.installed, is_doubtful, proof, memory }.verdict()
    }
}

impl Table {
    /// Asks every member and every linked node what it has of the slots that this node is to own.
    pub(super) fn ask_labels(&mut self) {
        let Some(view) = &self.view else { return };
        let me = self.nodes.me();
        let owned = Arc::new(Owned::default());
        for slot in self.slots.iter().filter(|slot| view.copies_of(*slot).owner() == Some(me)) {
            self.owned.insert_shared(slot, Arc::clone(&owned));
        }
        let mut round = Round::default();
        if !self.owned.is_empty() {
            round.members = view.others().clone();
            if self.enabled(Rule::AskLeavers) {
                let linked = self.nodes.linked().iter();
                round.visitors =
                    linked.filter(|peer| *peer != me && !view.members().contains(*peer)).collect();
            }
        }
        round.installed.extend([self.installed, view.predecessor()]);
        round.views = self.views.iter().cloned().collect();
        round.reporters.insert(self.nodes.id_of(me).incarnation().0);
        let slots: Vec<Slot> = self.owned.slots().collect();
        round.reports.insert(me, Reported::new(self.reports_of(&slots)));
        let asked: Vec<Peer> = round.members.iter().chain(round.visitors.iter()).collect();
        self.round = Some(round);
        asked.into_iter().for_each(|peer| self.ask(peer));
        self.decide_if_answered();
    }

    /// Answers those that asked before this node heard of the view.
    pub(super) fn answer_askers(&mut self) {
        let epoch = self.epoch();
        for ((its, asker), slots) in std::mem::take(&mut self.asked) {
            if its == epoch {
                let asker = self.nodes.number_of(&asker);
                self.report(asker, epoch, true, slots);
            } else if its > epoch {
                self.asked.insert((its, asker), slots);
            }
        }
    }

    pub(super) fn ask(&mut self, peer: Peer) {
        let slots = self.owned.slots().collect();
        let (epoch, member) = (self.epoch(), self.is_member(peer));
        self.send(peer, Message::Ask { epoch, member, slots });
    }

    /// A node that is no member has a link while labels are asked for: it may be one that leaves.
    pub(super) fn ask_visitor(&mut self, peer: Peer) {
        if self.is_member(peer) || !self.enabled(Rule::AskLeavers) {
            return;
        }
        let Some(round) = &mut self.round else { return };
        if !round.decided && round.visitors.insert(peer) {
            self.ask(peer);
        }
    }

    /// A node that is no member has lost its link: what it had is not there any more.
    pub(super) fn forget_visitor(&mut self, peer: Peer) {
        if let Some(round) = &mut self.round {
            round.visitors.remove(peer);
            self.decide_if_answered();
        }
    }

    /// Reports what this node has of these slots. A member answers only once it has promised the view itself, so it has heard of all
    /// views before.
    pub(super) fn report(&mut self, from: Peer, epoch: Epoch, member: bool, slots: Vec<Slot>) {
        if member && !self.leaves && epoch > self.epoch() {
            let from = self.nodes.id_of(from);
            self.asked.retain(|(its, asker), _| *its >= epoch && asker != from);
            self.asked.insert((epoch, from.clone()), slots);
            return;
        }
        let takes_part = member || self.leaves;
        let (mut views, mut reports) = (None, SlotReports::default());
        if takes_part {
            self.fence = self.fence.max(epoch);
            views = Some(self.views.iter().filter(|(its, _)| *its >= self.installed).cloned().collect());
            reports = self.reports_of(&slots);
        }
        self.send(from, Message::Reports { epoch, installed: self.installed, views, reports });
    }

    fn reports_of(&self, slots: &[Slot]) -> SlotReports {
        let report = |slot: &Slot| {
            let reported = self.holdings.get(*slot).filter(|holding| !holding.is_unreported_loss);
            let stamp = reported.map_or(Stamp::NONE, |holding| holding.stamp);
            let seen = self.seen.get(*slot);
            let knows = self.knows.of(self.slots.place_of(*slot)?)?;
            let is_known = stamp != Stamp::NONE || seen != Seen::NOTHING || **knows != Knowledge::default();
            is_known.then(|| SlotReport { slot: *slot, stamp, seen, knows: Arc::clone(knows) })
        };
        slots.iter().filter_map(report).collect()
    }

    pub(super) fn take_reports(
        &mut self,
        from: Peer,
        epoch: Epoch,
        (installed, views): (Epoch, Option<Vec<ViewMembers>>),
        reports: SlotReports,
    ) {
        if epoch != self.epoch() {
            return;
        }
        let Some(round) = &mut self.round else { return };
        let is_visitor = round.visitors.remove(from);
        if !round.members.remove(from) && !is_visitor {
            return;
        }
        round.installed.insert(installed);
        if let Some(views) = views {
            let answered = if is_visitor { &mut round.leavers } else { &mut round.reporters };
            answered.insert(self.nodes.id_of(from).incarnation().0);
            round.views.extend(views);
        }
        round.reports.insert(from, Reported::new(reports));
        self.decide_if_answered();
    }

    fn decide_if_answered(&mut self) {
        let members = self.view.as_ref().map_or(0, |view| view.members().len());
        let Some(round) = &self.round else { return };
        let answered = match !self.enabled(Rule::AskAll) {
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
        let newest = self.round.as_ref().and_then(|round| round.installed.last().copied());
        self.hear_of_view_before(self.epoch(), newest.unwrap_or_default());
        let mut alike = Alike::default();
        for slot in self.owned.slots().collect::<Vec<_>>() {
            self.decide_alike(slot, &mut alike);
        }
        self.release_view_if_ready();
    }

    /// Decides a slot as one before that is like it, or by itself.
    fn decide_alike(&mut self, slot: Slot, alike: &mut Alike) {
        let (Some(round), Some(view)) = (self.round.as_mut(), &self.view) else { return };
        let kind = |reported: &mut Reported| reported.of(slot).map_or(u32::MAX, |(kind, _)| kind);
        let kinds = round.reports.iter_mut().map(|(_, reported)| kind(reported));
        let Some(decided) = alike.find(kinds.chain(view.copies_of(slot).iter().map(Peer::number))) else {
            let decided = self.decide(slot);
            alike.remember(decided);
            return;
        };
        self.seen.set(slot, decided.seen);
        if decided.is_known {
            self.learned_seen(slot, self.epoch());
        }
        self.owed.informs.push(slot);
        self.adopt(slot, decided.content, self.epoch());
        self.owed.relabels.push(slot);
        self.owned.insert_shared(slot, Arc::clone(&decided.owned));
        self.ready_if_here(slot);
    }

    /// What follows from the reports of a slot.
    fn verdict(&mut self, slot: Slot) -> Option<SlotDecision> {
        let (doubts, proof) = (self.enabled(Rule::Doubt), self.enabled(Rule::Proof));
        Some(self.round.as_mut()?.verdict(slot, doubts, proof))
    }

    /// Decides which content of a slot is that of the view, and which nodes have it.
    /// Returns what became of it if it goes on with what this node has of it.
    pub(super) fn decide(&mut self, slot: Slot) -> Option<Decided> {
        self.decide_or_wait(slot, self.options.on_loss == OnLoss::Wait)
    }

    fn decide_or_wait(&mut self, slot: Slot, waits_if_lost: bool) -> Option<Decided> {
        let verdict = self.verdict(slot)?;
        let will = Seen { start: verdict.seen.start.max(verdict.written), ..verdict.seen };
        let (epoch, me, others) = (self.epoch(), self.nodes.me(), self.others());
        let loses = verdict.loss.filter(|loss| *loss == Loss::Gone || self.enabled(Rule::Inform));
        let mut unsealed = others.clone();
        match loses {
            Some(Loss::Gone) => {}
            Some(Loss::Unknown) | None if will == Seen::NOTHING => unsealed.clear(),
            Some(Loss::Unknown) | None => verdict.witnesses(will).for_each(|node| {
                unsealed.remove(node);
            }),
        }
        self.seen.set(slot, verdict.seen);
        // What nothing knows is reported first; else the next view would take this one's word for it.
        let is_known = verdict.is_known || !self.enabled(Rule::Inform);
        let informs = if is_known && self.enabled(Rule::Inform) { others } else { NodeSet::default() };
        if is_known {
            self.learned_seen(slot, epoch);
        }
        self.owed.informs.push(slot);
        let mut owned = self.owned.get(slot).cloned()?;
        (owned.decided, owned.informs, owned.unsealed) = (true, informs, unsealed);
        let copies = self.view.as_ref().map(|view| view.copies_of(slot)).unwrap_or_default();
        let is_left = |node: &Peer| *node != me && !copies.has(*node);
        owned.leftovers = verdict.holders().filter(is_left).collect();
        (owned.loss, owned.is_known) = (loses, is_known);
        owned.waits_for_copy = loses.is_some() && waits_if_lost;
        let mut has_content = false;
        match loses {
            Some(_) if owned.waits_for_copy => {
                if self.up {
                    self.actions.push_back(Action::WaitsForCopy(slot));
                }
            }
            Some(Loss::Gone) => self.empty(slot, epoch, true),
            // It goes on with what there is, once that is reported.
            Some(Loss::Unknown) => {}
            None => has_content = self.keep(slot, &mut owned, &verdict),
        }
        self.owned.share(slot, owned);
        let (seen, content) = (verdict.seen, (verdict.best, verdict.written));
        let owned = self.owned.shared(slot).filter(|_| has_content);
        if let Some(round) = &mut self.round {
            round.memory = verdict.into_memory();
        }
        self.ready_if_here(slot);
        Some(Decided { owned: owned?, seen, content, is_known })
    }

    /// A loss that is not certain was reported: the slot goes on with what there is.
    pub(super) fn keep_what_there_is(&mut self, slot: Slot) {
        let Some(mut verdict) = self.verdict(slot) else { return };
        // A reported loss is like a write: the next view does not report it again.
        verdict.written = Label::start_of(self.epoch());
        let Some(mut owned) = self.owned.get(slot).cloned() else { return };
        self.keep(slot, &mut owned, &verdict);
        self.owned.insert(slot, owned);
    }

    /// The slot goes on with the content of this verdict. Returns whether this node has it.
    fn keep(&mut self, slot: Slot, owned: &mut Owned, verdict: &SlotDecision) -> bool {
        let (epoch, me) = (self.epoch(), self.nodes.me());
        let content = (verdict.best, verdict.written);
        let relabels = self.relabels_of(slot, verdict);
        let has_best = verdict.claim_of(me).is_some_and(|(_, lags)| !lags);
        let sources: Vec<(Peer, Label)> = match has_best || verdict.best == Label::NONE {
            true => Vec::new(),
            false => verdict.equal().map(|(node, stamp)| (node, stamp.label)).collect(),
        };
        if has_best {
            self.adopt(slot, content, epoch);
        } else if sources.is_empty() {
            self.empty(slot, epoch, false);
        }
        let counts = Replica { role: Role::Counts };
        let equal = relabels.iter().filter(|(_, claimed)| !claimed.lags);
        owned.replicas = equal.map(|(node, _)| (node, counts)).collect();
        for (node, _) in relabels.iter().filter(|(_, claimed)| claimed.counts) {
            owned.leftovers.remove(node);
        }
        owned.relabels = relabels;
        self.owed.relabels.push(slot);
        owned.pulls = !sources.is_empty();
        if owned.pulls {
            self.pull_first(slot, sources, content);
        }
        has_best
    }

    /// The members that have the content of this verdict, or lack only its last writes.
    fn relabels_of(&self, slot: Slot, verdict: &SlotDecision) -> NodeMap<Claimed> {
        let SlotDecision { best, written, .. } = *verdict;
        let Some(view) = &self.view else { return NodeMap::default() };
        let (copies, others) = (view.copies_of(slot), view.others());
        let keeps_extra = best != Label::NONE && self.enabled(Rule::KeepUntilComplete);
        let catches_up = self.enabled(Rule::CatchUp);
        let mut missing = copies.len().saturating_sub(1);
        let mut relabels = NodeMap::default();
        let mut claim = |node: Peer, reported: Stamp, lags: bool, is_wanted: bool| {
            // Others stay copies until those that should have one are complete.
            let counts = is_wanted || (keeps_extra && missing > 0);
            missing = missing.saturating_sub(usize::from(counts));
            if counts || lags {
                relabels.insert(node, Claimed { reported, label: best, written, lags, counts });
            }
        };
        for node in copies.iter().filter(|node| others.contains(*node)) {
            if let Some((reported, lags)) = verdict.claim_of(node).filter(|(_, lags)| catches_up || !lags) {
                claim(node, reported, lags, true);
            }
        }
        let is_extra = |node: Peer| others.contains(node) && !copies.has(node);
        for (node, reported, lags) in verdict.equal_or_lagging().filter(|(node, ..)| is_extra(*node)) {
            if catches_up || !lags {
                claim(node, reported, lags, false);
            }
        }
        relabels
    }

    pub(super) fn informed(&mut self, from: Peer, epoch: Epoch, slots: Vec<Slot>) {
        if epoch != self.epoch() {
            return;
        }
        for slot in slots {
            let Some(owned) = self.owned.get(slot).filter(|owned| owned.informs.contains(from)) else {
                continue;
            };
            let was_ready = owned.ready;
            let after = self.owned.change(slot, Change::Informed(from), |owned| owned.informed(from));
            if let Some(after) = after.filter(|after| after.ready && !was_ready) {
                let lags = after.has_lagging();
                self.became_ready(slot, lags);
            }
            self.serve_if_sealed(slot);
        }
    }

    /// The only node that had the content of a slot was leaving, and is gone. What it had reported to be seen is lost then.
    pub(super) fn decide_without(&mut self, slot: Slot, gone: Peer) {
        if let Some(reported) = self.round.as_mut().and_then(|round| round.reports.get_mut(gone)) {
            reported.forget_content(slot);
        }
        if !self.is_fenced(self.epoch()) && self.owned.contains(slot) {
            self.owned.share(slot, Owned::default());
            self.decide(slot);
        }
    }

    pub(super) fn accept_loss(&mut self) {
        if self.is_fenced(self.epoch()) {
            return;
        }
        let waiting = self.owned.iter().filter(|(_, owned)| owned.waits_for_copy).map(|(slot, _)| slot);
        for slot in waiting.collect::<Vec<_>>() {
            self.decide_or_wait(slot, false);
        }
    }

    fn empty(&mut self, slot: Slot, epoch: Epoch, is_loss: bool) {
        // What a loss leaves is like a write: what was there before is over.
        let written = if is_loss { Label::start_of(epoch) } else { Label::NONE };
        let stamp = Stamp { candidate: epoch, written, ..Stamp::NONE };
        let empty = Holding { is_unreported_loss: is_loss, ..Holding::new(Content::default(), stamp) };
        self.holdings.share(slot, empty);
        self.label_at_once(slot, epoch);
    }

    /// The content that this node has is that of the view of `epoch`.
    pub(super) fn adopt(&mut self, slot: Slot, (label, written): (Label, Label), epoch: Epoch) {
        if !self.holdings.contains(slot) {
            self.holdings.share(slot, Holding::default());
        }
        self.holdings.change(slot, holding::Change::Adopt { label, written, epoch }, |holding| {
            holding.relabel(label);
            holding.stamp = Stamp { label, written, candidate: epoch, learning: false };
        });
        self.label_at_once(slot, epoch);
        self.forget_clients(slot);
    }

    /// Labels what was brought into place for the view of `epoch` if that is known to be installed.
    pub(super) fn label_at_once(&mut self, slot: Slot, epoch: Epoch) {
        let known = self.installed == epoch || !self.enabled(Rule::Candidate);
        if known && self.holdings.get(slot).is_some_and(|holding| !holding.is_unreported_loss) {
            self.holdings.change(slot, holding::Change::Label(epoch), |holding| {
                holding.stamp.candidate = Epoch::ZERO;
                holding.relabel(Label::start_of(epoch));
            });
        }
    }

    pub(super) fn relabelled(&mut self, from: Peer, epoch: Epoch, slots: Vec<Slot>) {
        if epoch != self.epoch() {
            return;
        }
        for slot in slots {
            if !self.owned.get(slot).is_some_and(|owned| owned.relabels.contains(from)) {
                continue;
            }
            self.owned.change(slot, Change::Relabelled(from), |owned| owned.relabelled(from));
            self.serve_if_sealed(slot);
        }
    }

    /// A slot is ready once its content is here, and all members know what was seen of it. Other copies need not have confirmed
    /// theirs: a write waits for them.
    pub(super) fn ready_if_here(&mut self, slot: Slot) {
        let Some(owned) = self.owned.get(slot) else { return };
        if owned.ready || !owned.may_be_ready() {
            return;
        }
        let lags = owned.has_lagging();
        self.owned.change(slot, Change::Ready, |owned| owned.ready = true);
        self.became_ready(slot, lags);
    }

    fn became_ready(&mut self, slot: Slot, lags: bool) {
        if lags {
            self.owed.relabels.push(slot);
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
        let is_unsettled = |owned: &Owned| !owned.ready && !owned.waits_for_copy;
        // The one that was not ready before probably is not yet.
        self.unsettled = self.owned.find_from(self.unsettled, is_unsettled);
        if self.unsettled.is_none() {
            self.holds_view = false;
            self.actions.push_back(Action::ReleaseView(self.epoch()));
        }
    }

    /// Those that have the copies of each slot in a planned view fetch them while the present view goes on.
    pub(super) fn plan(&mut self, placement: Option<Placement>) {
        let is_over = placement.is_none() && self.planned.is_some();
        self.planned = placement.map(|placement| View::new(placement, &mut self.nodes));
        if is_over && self.up {
            self.stop_warming();
        }
        self.holds_planned = self.planned.is_some();
        for slot in self.owned.slots().collect::<Vec<_>>() {
            self.warm(slot);
        }
        self.release_planned_if_warm();
    }
}
