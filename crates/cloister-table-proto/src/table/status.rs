//! What a table says of its slots.

use std::collections::BTreeSet;

use cloister_proto::{Epoch, NodeId, Slot};

use super::nodes::Peer;
use super::owned::Role;
use super::view::View;
use super::writes::Writes;
use super::{Pull, Table};
use crate::content::Content;
use crate::label::Stamp;
use crate::operation::OperationId;
use crate::rule::Rule;

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

/// What a promised view waits for at this table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewWait {
    /// Nodes that have not said what they have: members, and others that are linked.
    pub reports: BTreeSet<NodeId>,
    /// Nodes that slots are fetched from.
    pub sources: BTreeSet<NodeId>,
    /// Members that have not confirmed what was seen before.
    pub informs: BTreeSet<NodeId>,
    /// How many slots are not in place.
    pub slots: usize,
}

impl ViewWait {
    /// That of another part of the table too.
    pub fn add(&mut self, other: Self) {
        self.reports.extend(other.reports);
        self.sources.extend(other.sources);
        self.informs.extend(other.informs);
        self.slots += other.slots;
    }
}

impl Table {
    /// What the view that this node promised waits for here; `None` if it waits for nothing. Costs a pass over the slots.
    #[must_use]
    pub fn view_wait(&self) -> Option<ViewWait> {
        if !self.holds_view {
            return None;
        }
        let id = |peer: Peer| self.nodes.id_of(peer).clone();
        let unready = || self.owned.values().filter(|owned| !owned.ready && !owned.waits_for_copy);
        let asked = self.round.iter().flat_map(|round| round.members.iter().chain(round.visitors.iter()));
        Some(ViewWait {
            reports: asked.map(id).collect(),
            sources: self.pulls.values().map(Pull::source).map(id).collect(),
            informs: unready().flat_map(|owned| owned.informs.iter()).map(id).collect(),
            slots: unready().count(),
        })
    }

    /// The slots that this node owns in the view that it promised or installed last.
    pub fn owned_slots(&self) -> impl Iterator<Item = Slot> {
        self.owned.slots()
    }

    /// How a slot stands, if this node owns it.
    #[must_use]
    pub fn slot_status(&self, slot: Slot) -> Option<SlotStatus> {
        let owned = self.owned.get(slot)?;
        let copies = self.copies_of(slot);
        let counts = |node: &Peer| owned.replicas.get(*node).is_some_and(|its| its.role == Role::Counts);
        let extra = owned.replicas.iter().filter(|(node, _)| !copies.has(*node)).count();
        Some(SlotStatus {
            serves: owned.serves,
            lost: owned.loss.is_some(),
            complete: usize::from(owned.ready) + copies.iter().filter(counts).count(),
            wanted: copies.len(),
            leftovers: owned.leftovers.len() + extra,
            pending: self.writes.get(slot).map_or(0, Writes::len),
        })
    }

    /// The slots of which this node has content, with what names it.
    pub fn held_slots(&self) -> impl Iterator<Item = (Slot, Stamp, &Content)> {
        self.holdings.iter().map(|(slot, holding)| (slot, holding.stamp, &holding.content))
    }

    /// The content of a slot, if this node has any.
    #[must_use]
    pub fn content(&self, slot: Slot) -> Option<&Content> {
        Some(&self.holdings.get(slot)?.content)
    }

    /// Whether an operation was applied before, as far as this node knows: a [`write`](Table::write) under its name is answered as it
    /// was then.
    #[must_use]
    pub fn has_answered(&self, slot: Slot, id: OperationId) -> bool {
        self.content(slot).is_some_and(|content| content.answer(id).is_some())
    }

    /// Whether this node remembers which operations of a slot were done since the view of `epoch`: it has owned the slot in every view
    /// since, and nothing was lost. An operation that was accepted in that view, and is not remembered, may have been answered meanwhile.
    #[must_use]
    pub fn remembers(&self, slot: Slot, epoch: Epoch) -> bool {
        self.memory.reaches(slot, epoch) || !self.enabled(Rule::Remembered)
    }

    /// How many slots are being fetched.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.pulls.len()
    }

    /// How many copies each slot can have in the view that this node promised or installed last. It is the lesser of the copies that
    /// were asked for and the members.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.view.as_ref().map_or(0, View::copies)
    }

    /// The view that this node promised or installed last, and whether it is up in it.
    #[must_use]
    pub fn view(&self) -> Option<(Epoch, bool)> {
        self.view.as_ref().map(|view| (view.epoch(), self.up))
    }
}
