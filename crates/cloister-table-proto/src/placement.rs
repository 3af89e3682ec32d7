//! Where the copies of each slot belong in a view.

use std::sync::Arc;

use cloister_proto::{Epoch, NodeId, Replicas, Slot};

/// The members of a view, and which of them have the copies of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    epoch: Epoch,
    predecessor: Epoch,
    members: Arc<[NodeId]>,
    replicas: Arc<Replicas>,
}

impl Placement {
    /// The placement in the view of this epoch. `predecessor` is the greatest epoch of a view that one of its members had
    /// installed before; zero if none had any.
    #[must_use]
    pub fn new(epoch: Epoch, predecessor: Epoch, members: Arc<[NodeId]>, replicas: Arc<Replicas>) -> Self {
        Self { epoch, predecessor, members, replicas }
    }

    /// The greatest epoch of a view that a member had installed before; zero if none had any.
    #[must_use]
    pub fn predecessor(&self) -> Epoch {
        self.predecessor
    }

    /// The epoch of the view; zero for one that is only planned.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members of the view.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The nodes that have the copies of this slot, its owner first.
    pub fn copies_of(&self, slot: Slot) -> impl ExactSizeIterator<Item = &NodeId> + Clone {
        self.replicas.of(slot)
    }

    /// The owner of this slot.
    #[must_use]
    pub fn owner_of(&self, slot: Slot) -> Option<&NodeId> {
        self.copies_of(slot).next()
    }

    /// All of which copies may be, in order of age.
    pub(crate) fn ranked_members(&self) -> &[NodeId] {
        self.replicas.members()
    }

    /// The nodes that have the copies of this slot by their places among [`Self::ranked_members`], its owner first.
    pub(crate) fn places_of(&self, slot: Slot) -> &[u16] {
        self.replicas.places(slot)
    }

    /// How many copies each slot has: what was asked for, or the number of members if they are fewer.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.replicas.copies()
    }
}
