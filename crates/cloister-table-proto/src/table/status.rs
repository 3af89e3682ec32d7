//! What a table says of its slots.

use cloister_proto::{Epoch, NodeId, Slot};

use super::Table;
use super::owned::Role;
use crate::content::Content;
use crate::label::Stamp;

/// How a slot stands at its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Whether it is served.
    pub serves: bool,
    /// Whether all complete copies were gone when its view began.
    pub lost: bool,
    /// How many complete copies there are, with that of the owner.
    pub complete: usize,
    /// How many there should be.
    pub wanted: usize,
    /// Other nodes whose content is still to be dropped.
    pub leftovers: usize,
    /// How many writes wait for a copy.
    pub pending: usize,
}

impl Table {
    /// The slots that this node owns in the view that it promised or installed last.
    pub fn owned_slots(&self) -> impl Iterator<Item = Slot> {
        self.owned.keys().copied()
    }

    /// How a slot stands, if this node owns it.
    #[must_use]
    pub fn slot_status(&self, slot: Slot) -> Option<SlotStatus> {
        let owned = self.owned.get(&slot)?;
        let copies = self.copies_of(slot);
        let counts = |node: &NodeId| owned.replicas.get(node).is_some_and(|its| its.role == Role::Counts);
        let extra = owned.replicas.keys().filter(|node| !copies.contains(node)).count();
        Some(SlotStatus {
            serves: owned.serves,
            lost: owned.loss.is_some(),
            complete: usize::from(owned.ready) + copies.iter().filter(|node| counts(node)).count(),
            wanted: copies.len(),
            leftovers: owned.leftovers.len() + extra,
            pending: owned.pending.len(),
        })
    }

    /// The slots of which this node has content, with what names it.
    pub fn held_slots(&self) -> impl Iterator<Item = (Slot, Stamp, &Content)> {
        self.holdings.iter().map(|(slot, holding)| (*slot, holding.stamp, &holding.content))
    }

    /// How many slots are being fetched.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.pulls.len()
    }

    /// The view that this node promised or installed last, and whether it is up in it.
    #[must_use]
    pub fn view(&self) -> Option<(Epoch, bool)> {
        self.placement.as_ref().map(|placement| (placement.epoch(), self.up))
    }
}
