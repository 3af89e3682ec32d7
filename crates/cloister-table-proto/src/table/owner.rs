//! The owner of a slot: reads, writes, and the copies that have them.

use cloister_proto::{Epoch, Slot};

use super::decide::Loss;
use super::nodes::{NodeSet, Peer};
use super::owed::Owed;
use super::owned::{Change, Owned, Replica, Role};
use super::writes::{Pending, Writes};
use super::{Action, Table};
use crate::label::{Label, Seen};
use crate::message::Message;
use crate::operation::{Bytes, Decision, Operation, OperationId, Token, Uncertain};
use crate::rule::Rule;

/// Why a read or a write was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// This node does not own the slot in its present view, or has none.
    NotOwner,
    /// It owns the slot but may not act in the view of its state: its lease has lapsed, or a later view is being agreed on.
    NoClaim,
    /// The content is not in place yet.
    NotReady,
    /// All complete copies are gone, and the table waits for one.
    Lost,
    /// The client of the operation has given it up, or has been answered: it may have been applied before.
    Settled,
}

impl Table {
    /// What a read of this key at this moment shows. `claim` is the epoch under which this node may act; the shell looks at it
    /// once more before it answers.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if this node does not serve the slot at this moment.
    pub fn read(&self, claim: Option<Epoch>, slot: Slot, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        self.may_serve(claim, slot)?;
        let applied = || self.holdings.get(slot).and_then(|holding| holding.content.get(key));
        let pending = self.writes.get(slot).and_then(|writes| writes.committed_value(key));
        Ok(match pending.filter(|_| self.enabled(Rule::Shadow)) {
            Some(before) => before.clone(),
            None => applied(),
        })
    }

    /// Begins a write: `decide` sees the newest value of the key, and says what becomes of it. The answer comes as
    /// [`Action::Answer`] once every complete copy has the write. An operation that was applied before is answered as it was then,
    /// and `decide` is not called.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if this node does not serve the slot at this moment; nothing was done then.
    pub fn write(
        &mut self,
        claim: Option<Epoch>,
        (slot, key): (Slot, &Bytes),
        id: Option<OperationId>,
        token: Token,
        decide: impl FnOnce(Option<&Bytes>) -> Decision,
    ) -> Result<(), Refusal> {
        self.claim = claim;
        self.may_serve(claim, slot)?;
        let epoch = self.epoch();
        if self.is_fenced(epoch) {
            return Err(Refusal::NoClaim);
        }
        if let Some(id) = id {
            self.learn_settled(id);
        }
        let (once, settles) = (self.enabled(Rule::Once), self.enabled(Rule::Settled));
        let Some(holding) = self.holdings.get(slot).filter(|_| self.owned.contains(slot)) else {
            return Err(Refusal::NotOwner);
        };
        let known = id.filter(|_| once).and_then(|id| holding.content.answer(id));
        if settles && known.is_none() && id.is_some_and(|id| holding.content.is_settled(id)) {
            return Err(Refusal::Settled);
        }
        let before = holding.content.get(key);
        let (value, answer) = match known {
            Some(answer) => (None, answer.clone()),
            None => match decide(before.as_ref()) {
                Decision::Keep { answer } => (None, answer),
                Decision::Insert { value, answer } => (Some(Some(value)), answer),
                Decision::Remove { answer } => (Some(None), answer),
            },
        };
        let number = holding.stamp.label.number;
        let (committed, sent) = (self.committed(slot), self.paces.now());
        let Some(writes) = self.writes.get_or_insert_with(slot, || Writes::after(committed)) else {
            return Err(Refusal::NotOwner);
        };
        let Some(value) = value else {
            // It shows the writes before it, which not every copy may have.
            writes.push(Pending { number, sent, operation: None, before: None, answer: (token, answer) });
            self.commit(slot);
            return Ok(());
        };
        let number = number + 1;
        let id = id.map(|id| (id, answer.clone()));
        let operation = Operation { number, key: key.clone(), value, id };
        if let Some(holding) = self.holdings.get_mut(slot) {
            holding.apply(&operation);
        }
        let answer = (token, answer);
        writes.push(Pending { number, sent, operation: Some(operation.clone()), before, answer });
        let replicas = self.owned.get(slot).into_iter().flat_map(|owned| owned.replicas.iter());
        let receivers = replicas.filter(|(_, replica)| replica.role.gets_writes());
        let receivers: Vec<Peer> = receivers.map(|(node, _)| node).collect();
        for node in receivers {
            self.send(node, Message::Replicate { epoch, slot, operation: operation.clone() });
        }
        self.seal_writes(slot);
        self.commit(slot);
        self.send_owed();
        Ok(())
    }

    /// Whether this node serves the slot at this moment, and why not.
    fn may_serve(&self, claim: Option<Epoch>, slot: Slot) -> Result<(), Refusal> {
        let owned = self.owned.get(slot).ok_or(Refusal::NotOwner)?;
        let epoch = self.epoch();
        let claims = match self.enabled(Rule::Claim) {
            true => self.up && claim == Some(epoch),
            false => self.up,
        };
        if !claims {
            return Err(Refusal::NoClaim);
        }
        if owned.waits_for_copy {
            return Err(Refusal::Lost);
        }
        if owned.serves { Ok(()) } else { Err(Refusal::NotReady) }
    }

    /// The slot is in place, its view is installed, and what it begins from is sealed.
    fn served(&mut self, slot: Slot) {
        let Some(owned) = self.owned.get(slot) else { return };
        self.actions.push_back(Action::Serves(slot));
        let me = self.nodes.me();
        let copies = self.view.as_ref().map(|view| view.copies_of(slot)).unwrap_or_default();
        let lacks = |node: &Peer| *node != me && !owned.replicas.contains(*node);
        let learners: Vec<Peer> = copies.iter().filter(lacks).collect();
        let epoch = self.epoch();
        for node in learners {
            let learns = Replica { role: Role::Learns { streams: false } };
            self.owned.change(slot, Change::Learns(node), |owned| owned.replicas.insert(node, learns));
            self.send(node, Message::Learn { epoch, slot });
        }
        if !self.enabled(Rule::KeepUntilComplete) {
            self.release_leftovers(slot);
        }
        self.release_if_complete(slot);
        self.warm(slot);
    }

    /// Takes a slot that is ready as far towards being served as it can be now. Only while this node may act.
    ///
    /// Before a view shows the content from which it begins, all members know of its last write. Else a copy without it would pass for
    /// complete once those that have it are gone. A loss is reported before that: should this view end now, a copy that came back would
    /// still count.
    pub(super) fn serve_if_sealed(&mut self, slot: Slot) {
        let claims = || self.claim == Some(self.epoch()) || !self.enabled(Rule::Claim);
        if !self.up || !claims() || !self.owned.get(slot).is_some_and(|owned| owned.ready && !owned.serves) {
            return;
        }
        self.report_loss(slot);
        let is_next = |owned: &Owned| owned.informs.is_empty() && !owned.pulls && !owned.has_lagging();
        if !self.owned.get(slot).is_some_and(is_next) {
            return;
        }
        let written = self.holdings.get(slot).map_or(Label::NONE, |holding| holding.stamp.written);
        let seals = self.enabled(Rule::SealStart);
        let mut known = self.seen.get(slot);
        known.start = known.start.max(written);
        let Some(owned) = self.owned.get(slot) else { return };
        if owned.loss == Some(Loss::Gone) {
            // What was there before is over, as after a write.
            known.writes = self.epoch();
        }
        self.seen.set(slot, known);
        if !owned.is_sealing {
            self.owed.seals.push(slot);
        }
        let waits = seals && !owned.unsealed.is_empty();
        self.seals.set(slot, known);
        self.owned.change(slot, Change::Seals(seals), |owned| {
            owned.is_sealing = true;
            if !seals {
                owned.unsealed.clear();
            }
            owned.serves = owned.unsealed.is_empty();
        });
        if !waits {
            self.served(slot);
        }
    }

    fn report_loss(&mut self, slot: Slot) {
        let is_new = |owned: &Owned| owned.loss.is_some() && !owned.is_loss_reported;
        if !self.owned.get(slot).is_some_and(is_new) {
            return;
        }
        let Some(owned) = self.owned.get_mut(slot) else { return };
        owned.is_loss_reported = true;
        self.memory.lost(slot);
        let (loss, is_known) = (owned.loss, owned.is_known);
        let epoch = self.epoch();
        self.actions.push_back(Action::Lost { slot, is_certain: loss == Some(Loss::Gone) });
        if !is_known {
            let others = self.others();
            if let Some(owned) = self.owned.get_mut(slot) {
                owned.informs = others;
            }
            self.learned_seen(slot, epoch);
            self.owed.informs.push(slot);
        }
        if loss == Some(Loss::Gone) {
            if let Some(holding) = self.holdings.get_mut(slot) {
                holding.is_unreported_loss = false;
            }
            self.label_at_once(slot, epoch);
        } else {
            self.keep_what_there_is(slot);
        }
    }

    /// Before the first write of a view is acknowledged, all members know that it writes.
    fn seal_writes(&mut self, slot: Slot) {
        let (epoch, seals) = (self.epoch(), self.enabled(Rule::Seal));
        let seal = self.seals.get(slot);
        if !seals || seal.writes == epoch {
            return;
        }
        let seal = Seen { writes: epoch, ..seal };
        let others = self.others();
        self.owned.change(slot, Change::Writes, |owned| owned.unsealed = others);
        self.seals.set(slot, seal);
        self.seen.set(slot, seal);
        self.owed.seals.push(slot);
    }

    pub(super) fn sealed_by(&mut self, from: Peer, epoch: Epoch, slots: Vec<(Slot, Seen)>) {
        if epoch != self.epoch() {
            return;
        }
        if slots.is_empty() {
            self.paces.answered(from);
        }
        for (slot, seen) in slots {
            let Some(owned) = self.owned.get(slot) else { continue };
            if !seen.covers(self.seals.get(slot)) || !owned.unsealed.contains(from) {
                continue;
            }
            self.owned.change(slot, Change::Sealed(from), |owned| {
                owned.unsealed.remove(from);
            });
            let Some(owned) = self.owned.get(slot).filter(|owned| owned.unsealed.is_empty()) else {
                continue;
            };
            if owned.serves {
                self.commit(slot);
            } else {
                self.serve_if_sealed(slot);
            }
        }
    }

    pub(super) fn replicated(&mut self, from: Peer, epoch: Epoch, slot: Slot, number: u64) {
        if epoch != self.epoch() {
            return;
        }
        let Some(owned) = self.owned.get(slot) else { return };
        let Some(Replica { role }) = owned.replicas.get(from).copied() else { return };
        self.owned.change(slot, Change::Replicated(from), |owned| owned.replicated(from));
        let sent = self.writes.get_mut(slot).and_then(|writes| writes.acknowledge(from, number));
        if let Some(sent) = sent {
            self.paces.acknowledged(from, sent);
        }
        match role {
            Role::Learns { streams: true } => {
                let number = self.committed(slot);
                self.send(from, Message::Count { epoch, slot, number });
            }
            Role::Learns { streams: false } => {}
            Role::Warms { .. } => self.release_planned_if_warm(),
            Role::Joins | Role::Counts | Role::Leaves => self.commit(slot),
        }
    }

    /// Answers the writes that every complete copy has.
    pub(super) fn commit(&mut self, slot: Slot) {
        let epoch = self.epoch();
        if self.is_fenced(epoch) || (self.claim != Some(epoch) && self.enabled(Rule::Claim)) {
            return;
        }
        let waits = self.enabled(Rule::WaitForCopies);
        let (Some(writes), Some(owned)) = (self.writes.get_mut(slot), self.owned.get(slot)) else { return };
        let waited_for = owned.replicas.iter().filter(|(_, replica)| waits && replica.role.is_waited_for());
        let acked = waited_for.map(|(node, _)| writes.acked(node)).min().unwrap_or(u64::MAX);
        let sealed = owned.unsealed.is_empty();
        while let Some(pending) = writes.front() {
            let is_write = pending.operation.is_some();
            if pending.number > writes.committed && (pending.number > acked || (is_write && !sealed)) {
                return;
            }
            let Some(Pending { answer: (token, answer), .. }) = writes.pop() else { return };
            self.actions.push_back(Action::Answer { token, answer: Ok(answer) });
        }
        // In thousands of slots the room for one write is more than a row.
        self.writes.remove(slot);
    }

    /// The number of the last write of the view that every complete copy has.
    pub(super) fn committed(&self, slot: Slot) -> u64 {
        let label = self.holdings.get(slot).map_or(Label::NONE, |holding| holding.stamp.label);
        // Where no write waits for a copy, all of them have it.
        let last = if label.epoch == self.epoch() { label.number } else { 0 };
        self.writes.get(slot).map_or(last, |writes| writes.committed)
    }

    pub(super) fn counted(&mut self, from: Peer, epoch: Epoch, slot: Slot) {
        if epoch != self.epoch() {
            return;
        }
        if self.owned.get(slot).is_some_and(|owned| owned.has_role(from, Role::Joins)) {
            self.owned.change(slot, Change::Counted(from), |owned| owned.set_role(from, Role::Counts));
            self.release_if_complete(slot);
        }
    }

    /// Lets other nodes drop the slot once those that should have it are complete.
    fn release_if_complete(&mut self, slot: Slot) {
        let copies = self.copies_of(slot);
        let Some(owned) = self.owned.get(slot) else { return };
        let me = self.nodes.me();
        let counts = |node: Peer| {
            node == me || owned.replicas.get(node).is_some_and(|replica| replica.role == Role::Counts)
        };
        if copies.iter().all(counts) {
            self.release_leftovers(slot);
        }
    }

    fn release_leftovers(&mut self, slot: Slot) {
        let (epoch, drops) = (self.epoch(), self.enabled(Rule::DropBeforeLess));
        let copies = self.copies_of(slot);
        let Some(owned) = self.owned.get(slot) else { return };
        let is_extra = |(node, replica): &(Peer, &Replica)| {
            matches!(replica.role, Role::Counts | Role::Joins) && !copies.has(*node)
        };
        let extra: NodeSet = owned.replicas.iter().filter(is_extra).map(|(node, _)| node).collect();
        if extra.is_empty() && owned.leftovers.is_empty() {
            return;
        }
        for node in extra.iter() {
            self.owned.change(slot, Change::Leaves(node), |owned| {
                owned.set_role(node, Role::Leaves);
                if !drops {
                    owned.replicas.remove(node);
                }
            });
        }
        let Some(owned) = self.owned.get(slot) else { return };
        let receivers: Vec<Peer> = extra.iter().chain(owned.leftovers.iter()).collect();
        for node in receivers {
            self.send(node, Message::Release { epoch, slot });
        }
    }

    pub(super) fn released(&mut self, from: Peer, epoch: Epoch, slot: Slot) {
        if epoch != self.epoch() {
            return;
        }
        let Some(owned) = self.owned.get(slot) else { return };
        let leaves = owned.has_role(from, Role::Leaves);
        if !leaves && !owned.leftovers.contains(from) {
            return;
        }
        self.owned.change(slot, Change::Released(from), |owned| {
            owned.leftovers.remove(from);
            if owned.has_role(from, Role::Leaves) {
                owned.replicas.remove(from);
            }
        });
        if leaves {
            self.commit(slot);
        }
    }

    /// Lets the nodes of the planned view fetch the slot.
    pub(super) fn warm(&mut self, slot: Slot) {
        let Some(planned) = self.planned.as_ref().filter(|_| self.up) else { return };
        let Some(owned) = self.owned.get(slot).filter(|owned| owned.serves) else { return };
        let (me, linked) = (self.nodes.me(), self.nodes.linked());
        let lacks = |node: &Peer| *node != me && linked.contains(*node) && !owned.replicas.contains(*node);
        let learners: Vec<Peer> = planned.copies_of(slot).iter().filter(lacks).collect();
        let epoch = self.epoch();
        for node in learners {
            let warms = Replica { role: Role::Warms { streams: false, done: false } };
            self.owned.change(slot, Change::Warms(node), |owned| owned.replicas.insert(node, warms));
            self.send(node, Message::Learn { epoch, slot });
        }
    }

    /// The planned view will not come: what was fetched for it is dropped.
    pub(super) fn stop_warming(&mut self) {
        let is_warm = |replica: &Replica| matches!(replica.role, Role::Warms { .. });
        self.owned.change_all(
            |owned| owned.replicas.values().any(is_warm),
            Change::StopsWarming,
            |owned| {
                let warms = owned.replicas.iter().filter(|(_, replica)| is_warm(replica));
                let warms: Vec<Peer> = warms.map(|(node, _)| node).collect();
                for node in warms {
                    owned.replicas.remove(node);
                    owned.leftovers.insert(node);
                }
            },
        );
        for slot in self.owned.slots().collect::<Vec<_>>() {
            self.release_if_complete(slot);
        }
    }

    pub(super) fn release_planned_if_warm(&mut self) {
        if !self.holds_planned {
            return;
        }
        let cold = |replica: &Replica| matches!(replica.role, Role::Warms { done: false, .. });
        let is_cold = |owned: &Owned| owned.replicas.values().any(cold);
        self.cold = self.owned.find_from(self.cold, is_cold);
        if self.cold.is_none() {
            self.holds_planned = false;
            self.actions.push_back(Action::ReleasePlanned);
        }
    }

    /// This node owns nothing any more: what was not answered is uncertain.
    pub(super) fn end_ownership(&mut self) {
        self.round = None;
        self.end_all_pulls();
        (self.owed, self.unsettled, self.cold) = (Owed::default(), None, None);
        self.paces.clear();
        self.holdings.retain(|holding| !holding.is_unreported_loss);
        self.owned.clear();
        self.seals.clear();
        for writes in self.writes.take() {
            let answers = writes.iter().map(|pending| pending.answer.0);
            self.actions.extend(answers.map(|token| Action::Answer { token, answer: Err(Uncertain) }));
        }
    }
}
