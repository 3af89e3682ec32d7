//! Which slots are fetched, and when they are asked for: a few at a time from each node, and again what does not come.

use cloister_proto::Slot;

use super::Table;
use super::nodes::Peer;
use super::progress::{Fetches, FromNode, Progress};
use super::transfer::Pull;
use crate::message::Message;

/// How many slots are fetched from one node at a time. Each has a chunk on its way.
const MAX_FETCHED: usize = 8;

/// After how many requests in vain, half a minute, a fetch begins anew.
const MAX_IN_VAIN: u32 = 12;

impl Table {
    /// Fetches a slot as soon as it is its turn.
    pub(super) fn begin_pull(&mut self, slot: Slot, pull: Pull) {
        self.end_pull(slot);
        let from = pull.source();
        self.pulls.insert(slot, pull);
        if self.fetches.0.get(from).is_none() {
            self.fetches.0.insert(from, FromNode::default());
        }
        if let Some(its) = self.fetches.0.get_mut(from) {
            its.waiting.push_back(slot);
        }
        self.ask_next(from);
    }

    /// A slot is fetched no more. Another one is.
    pub(super) fn end_pull(&mut self, slot: Slot) -> Option<Pull> {
        let mut pull = self.pulls.remove(slot)?;
        if std::mem::replace(&mut pull.progress.is_asked, false) {
            if let Some(its) = self.fetches.0.get_mut(pull.source()) {
                its.asked = its.asked.saturating_sub(1);
            }
            self.ask_next(pull.source());
        }
        Some(pull)
    }

    /// Nothing comes from this node any more; returns what was fetched from it.
    pub(super) fn end_pulls_from(&mut self, gone: Peer) -> Vec<(Slot, Pull)> {
        self.fetches.0.remove(gone);
        let from_it = self.pulls.iter().filter(|(_, pull)| pull.source() == gone).map(|(slot, _)| slot);
        let from_it: Vec<Slot> = from_it.collect();
        let end = |slot| {
            let mut pull = self.pulls.remove(slot)?;
            pull.progress.is_asked = false;
            Some((slot, pull))
        };
        from_it.into_iter().filter_map(end).collect()
    }

    pub(super) fn end_all_pulls(&mut self) {
        self.pulls.clear();
        self.fetches = Fetches::default();
    }

    fn ask_next(&mut self, from: Peer) {
        while let Some(its) = self.fetches.0.get_mut(from).filter(|its| its.asked < MAX_FETCHED) {
            let Some(slot) = its.waiting.pop_front() else { return };
            let waits = |pull: &&mut Pull| pull.source() == from && !pull.progress.is_asked;
            if let Some(pull) = self.pulls.get_mut(slot).filter(waits) {
                pull.progress.is_asked = true;
                its.asked += 1;
                self.fetch(slot);
            }
        }
    }

    /// Asks for what comes after that which has come.
    pub(super) fn fetch(&mut self, slot: Slot) {
        let Some(pull) = self.pulls.get(slot) else { return };
        let (from, epoch, attempt, cursor) = (pull.source(), pull.epoch, pull.attempt, pull.cursor.clone());
        let label = self.holdings.get(slot).map(|holding| holding.stamp.label);
        let have = label.filter(|_| cursor.is_none());
        self.send(from, Message::Fetch { epoch, slot, attempt, have, cursor });
    }

    /// At a tick, what has not come is asked for again, from another node if one has it.
    pub(super) fn fetch_what_stands(&mut self) {
        let slots: Vec<Slot> = self.pulls.slots().collect();
        for slot in slots {
            let Some(pull) = self.pulls.get_mut(slot) else { continue };
            if !pull.progress.is_due() {
                continue;
            }
            if pull.progress.in_vain > MAX_IN_VAIN {
                self.pull_again(slot);
            } else if pull.has_other_source(self.nodes.linked()) {
                if let Some(mut pull) = self.end_pull(slot) {
                    pull.turn_to_other_source(self.nodes.linked());
                    self.begin_pull(slot, pull);
                }
            } else {
                self.fetch(slot);
            }
        }
    }

    /// A node is linked again: what is fetched from it is asked for at once.
    pub(super) fn fetch_from(&mut self, peer: Peer) {
        let is_meant =
            |(slot, pull): (Slot, &Pull)| (pull.source() == peer && pull.progress.is_asked).then_some(slot);
        for slot in self.pulls.iter().filter_map(is_meant).collect::<Vec<_>>() {
            if let Some(pull) = self.pulls.get_mut(slot) {
                pull.progress = Progress::asked();
            }
            self.fetch(slot);
        }
    }
}
