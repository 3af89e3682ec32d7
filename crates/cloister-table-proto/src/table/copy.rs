//! A copy of a slot: what its owner asks it for.

use cloister_proto::{Epoch, Slot};

use super::holding::{Change, Discarded, Holding};
use super::nodes::Peer;
use super::{Action, Table};
use crate::label::{Seen, Stamp};
use crate::message::{Message, Relabel};
use crate::operation::Operation;
use crate::rule::Rule;

impl Table {
    pub(super) fn relabel(&mut self, from: Peer, epoch: Epoch, slots: Vec<Relabel>) {
        self.fence = self.fence.max(epoch);
        let mut done = Vec::new();
        for Relabel { slot, reported, label, written, missing } in slots {
            let stamp = self.holdings.get(slot).map_or(Stamp::NONE, |holding| holding.stamp);
            let is_there = stamp.candidate == epoch || stamp.label.epoch == epoch;
            if !is_there && stamp != reported {
                continue;
            }
            match missing {
                Some(missing) if !is_there => {
                    self.end_pull(slot);
                    if !missing.is_empty()
                        && let Some(holding) = self.holdings.get_mut(slot)
                    {
                        missing.into_iter().for_each(|operation| holding.catch_up(operation));
                    }
                    self.adopt(slot, (label, written), epoch);
                    done.push(slot);
                }
                None if !is_there => self.pull_equal(from, epoch, slot, (label, written)),
                _ => done.push(slot),
            }
        }
        self.send(from, Message::Relabelled { epoch, slots: done });
    }

    pub(super) fn inform(&mut self, from: Peer, epoch: Epoch, follows: Epoch, slots: Vec<(Slot, Seen)>) {
        self.fence = self.fence.max(epoch);
        self.hear_of_view_before(epoch, follows);
        for (slot, seen) in &slots {
            self.has_seen(*slot, *seen);
            self.learned_seen(*slot, epoch);
        }
        let slots = slots.into_iter().map(|(slot, _)| slot).collect();
        self.send(from, Message::Informed { epoch, slots });
    }

    /// This node has heard that the view of `predecessor`, which was installed, comes before the present one.
    pub(super) fn hear_of_view_before(&mut self, epoch: Epoch, predecessor: Epoch) {
        if epoch != self.epoch() || predecessor <= self.follows || predecessor >= epoch {
            return;
        }
        self.follows = predecessor;
        self.memory.follows(epoch, predecessor);
        if self.enabled(Rule::HeardOf) {
            self.actions.push_back(Action::Follows { epoch, predecessor });
        }
    }

    pub(super) fn replicate(&mut self, from: Peer, epoch: Epoch, slot: Slot, operation: &Operation) {
        self.fence = self.fence.max(epoch);
        self.prove(epoch);
        if let Some((id, _)) = &operation.id {
            self.learn_settled(*id);
        }
        if self.take_staged(from, epoch, slot, operation) {
            return;
        }
        let Some(holding) = self.holdings.get(slot) else { return };
        let label = holding.stamp.label;
        if label.epoch != epoch || operation.number > label.number + 1 {
            return;
        }
        let number = operation.number.max(label.number);
        if number > label.number
            && let Some(holding) = self.holdings.get_mut(slot)
        {
            holding.apply(operation);
        }
        self.send(from, Message::Replicated { epoch, slot, number });
    }

    pub(super) fn count(&mut self, from: Peer, epoch: Epoch, slot: Slot, number: u64) {
        self.fence = self.fence.max(epoch);
        self.prove(epoch);
        if self.pulls.contains(slot) {
            return;
        }
        let has = |holding: &Holding| {
            let label = holding.stamp.label;
            label.epoch == epoch && label.number >= number
        };
        if self.holdings.get(slot).is_some_and(has) {
            self.holdings.change(slot, Change::Counts, |holding| holding.stamp.learning = false);
            self.send(from, Message::Counted { epoch, slot });
        } else {
            // Writes were lost with a link.
            self.learn_from(from, epoch, slot);
        }
    }

    pub(super) fn seal(&mut self, from: Peer, epoch: Epoch, slots: Vec<(Slot, Seen)>) {
        self.fence = self.fence.max(epoch);
        self.prove(epoch);
        slots.iter().for_each(|(slot, seen)| self.has_seen(*slot, *seen));
        self.send(from, Message::Sealed { epoch, slots });
    }

    fn has_seen(&mut self, slot: Slot, seen: Seen) {
        let known = self.seen.get(slot);
        self.seen.set(slot, known.and(seen));
    }

    pub(super) fn release(&mut self, from: Peer, epoch: Epoch, slot: Slot) {
        self.fence = self.fence.max(epoch);
        self.prove(epoch);
        self.end_pull(slot);
        self.discard(slot);
        self.send(from, Message::Released { epoch, slot });
        self.release_leave_if_empty();
    }

    /// Holds nothing of a slot any more.
    pub(super) fn discard(&mut self, slot: Slot) {
        let holding = self.holdings.remove(slot).filter(|holding| !holding.is_plain());
        self.actions.extend(holding.map(Discarded).map(Action::Discard));
    }

    pub(super) fn release_leave_if_empty(&mut self) {
        if self.holds_leave && self.holdings.values().all(|holding| holding.stamp == Stamp::NONE) {
            self.holds_leave = false;
            self.actions.push_back(Action::ReleaseLeave);
        }
    }
}

impl Holding {
    /// The next write of the view in which the content is.
    pub(super) fn apply(&mut self, operation: &Operation) {
        self.content.apply(operation);
        self.stamp.label.number = operation.number;
        self.stamp.written = self.stamp.label;
        self.log.push(operation.clone(), self.stamp.label, (self.content.len(), self.content.bytes()));
    }

    /// A write of the view in which the content is, which its owner had made and this node had not.
    pub(super) fn catch_up(&mut self, operation: Operation) {
        self.content.apply(&operation);
        self.stamp.label.number = operation.number;
        self.log.push(operation, self.stamp.label, (self.content.len(), self.content.bytes()));
    }
}
