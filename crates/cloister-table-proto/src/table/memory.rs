//! Since which view an owner remembers the operations of a slot.

use std::collections::VecDeque;
use std::sync::Arc;

use cloister_proto::{Epoch, Slot};

use super::nodes::Peer;
use super::slots::{SlotArray, SlotList};
use super::view::View;

/// Since which view this node remembers all operations of each slot: it has owned the slot in every view since, and nothing was lost.
///
/// The answers of a slot go with its content. So an operation that was accepted before a loss may have been done and answered by another
/// owner meanwhile, and nothing tells it.
#[derive(Debug)]
pub(super) struct Memory {
    list: Arc<SlotList>,
    /// The last views that this node was up in, without a gap. No more than a [`u8`] counts.
    epochs: VecDeque<Epoch>,
    /// In how many of them, up to the last one, the slot was this node's.
    views: SlotArray<u8>,
}

impl Memory {
    pub(super) fn new(list: &Arc<SlotList>) -> Self {
        Self { list: Arc::clone(list), epochs: VecDeque::new(), views: SlotArray::new(list) }
    }

    /// This node is up in this view, which follows the one of `predecessor`.
    pub(super) fn up(&mut self, view: &View, predecessor: Epoch, me: Peer) {
        let last = self.epochs.back().copied().unwrap_or_default();
        if last == view.epoch() {
            return;
        }
        if last != predecessor {
            self.epochs.clear();
            self.views.clear();
        }
        self.epochs.push_back(view.epoch());
        if self.epochs.len() > usize::from(u8::MAX) {
            self.epochs.pop_front();
        }
        for slot in self.list.iter() {
            let is_own = view.copies_of(slot).owner() == Some(me);
            let views = if is_own { self.views.get(slot).saturating_add(1) } else { 0 };
            self.views.set(slot, views);
        }
    }

    /// The view of `epoch` follows a later one than was known when this node was up in it.
    pub(super) fn follows(&mut self, epoch: Epoch, predecessor: Epoch) {
        if self.epochs.back() != Some(&epoch) || self.epochs.iter().rev().nth(1) == Some(&predecessor) {
            return;
        }
        for slot in self.list.iter().filter(|slot| self.views.get(*slot) > 1).collect::<Vec<_>>() {
            self.views.set(slot, 1);
        }
    }

    /// What was known of the operations of a slot before the present view is lost, or may be.
    pub(super) fn lost(&mut self, slot: Slot) {
        self.views.set(slot, 1);
    }

    /// Whether all operations of the slot since the view of `epoch` are remembered.
    pub(super) fn reaches(&self, slot: Slot, epoch: Epoch) -> bool {
        let views = usize::from(self.views.get(slot));
        let first = self.epochs.len().checked_sub(views).and_then(|at| self.epochs.get(at));
        first.is_some_and(|first| *first <= epoch)
    }
}
