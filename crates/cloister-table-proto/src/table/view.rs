//! A view with its members by number.

use std::collections::BTreeSet;

use cloister_proto::{Epoch, Slot};

use super::nodes::{NodeSet, Nodes, Peer};
use crate::content::Content;
use crate::placement::Placement;

/// A placement whose members have numbers.
#[derive(Debug)]
pub(super) struct View {
    placement: Placement,
    /// The numbers of those that copies may be at, in the order of the placement.
    numbers: Vec<Peer>,
    members: NodeSet,
    /// The members but for this node.
    others: NodeSet,
    /// The incarnations of the members.
    clients: BTreeSet<u64>,
}

/// The nodes that have the copies of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copies<'a> {
    numbers: &'a [Peer],
    places: &'a [u16],
}

impl Copies<'_> {
    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    pub(super) fn has(self, node: Peer) -> bool {
        self.iter().any(|its| its == node)
    }
}

impl<'a> Copies<'a> {
    /// The owner first.
    pub(super) fn iter(self) -> impl Iterator<Item = Peer> + use<'a> {
        self.places.iter().filter_map(move |place| self.numbers.get(usize::from(*place)).copied())
    }

    pub(super) fn owner(self) -> Option<Peer> {
        self.iter().next()
    }
}

impl View {
    pub(super) fn new(placement: Placement, nodes: &mut Nodes) -> Self {
        let numbers = placement.ranked_members().iter().map(|id| nodes.number_of(id)).collect();
        let members: NodeSet = placement.members().iter().map(|id| nodes.number_of(id)).collect();
        let mut others = members.clone();
        others.remove(nodes.me());
        let clients = placement.members().iter().map(|member| member.incarnation().0).collect();
        Self { placement, numbers, members, others, clients }
    }

    /// How many copies each slot has.
    pub(super) fn copies(&self) -> usize {
        self.placement.copies()
    }

    pub(super) fn into_placement(self) -> Placement {
        self.placement
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.placement.epoch()
    }

    /// The greatest epoch of a view that a member had installed before.
    pub(super) fn predecessor(&self) -> Epoch {
        self.placement.predecessor()
    }

    pub(super) fn members(&self) -> &NodeSet {
        &self.members
    }

    /// The members but for this node.
    pub(super) fn others(&self) -> &NodeSet {
        &self.others
    }

    /// The nodes that have the copies of a slot in this view.
    pub(super) fn copies_of(&self, slot: Slot) -> Copies<'_> {
        Copies { numbers: &self.numbers, places: self.placement.places_of(slot) }
    }

    /// Whether the node of this incarnation is a member.
    pub(super) fn has_client(&self, client: u64) -> bool {
        self.clients.contains(&client)
    }

    /// Clients that are no members repeat nothing any more.
    pub(super) fn forget_clients(&self, content: &mut Content) {
        content.retain_clients(|client| self.has_client(client));
    }
}
