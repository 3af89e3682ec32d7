//! Which members have the copies of each slot, for all slots at once.

use std::fmt;
use std::sync::Arc;

use super::{MEMBER_BLOCK, Preferences, RANK_SHIFT, Ring, SLOTS, Slot};
use crate::name::NodeId;

/// The first members of every slot: the owner, then those where copies belong.
///
/// Made by [`Ring::replicas`]. For each slot it has the members that [`Ring::owners_of`] gives, and costs one table look-up.
/// The table has two bytes for each slot and copy.
///
/// ```
/// use cloister_proto::{Incarnation, NodeId, Ring, Slot};
///
/// let member = |n: u64| NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let ring = Ring::new(&[1, 2, 3, 4].map(member));
/// let replicas = ring.replicas(2);
/// let slot = Slot::of(b"user:42");
/// let copies: Vec<&NodeId> = replicas.of(slot).collect();
/// assert_eq!(copies, ring.owners_of(slot, 2));
/// assert_eq!(copies[0], ring.owner(slot).unwrap());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Replicas {
    members: Vec<NodeId>,
    copies: usize,
    /// The places in `members`, `copies` of them for each slot.
    table: Arc<[u16]>,
}

impl Ring {
    /// The first `n` members of every slot: its owner, and those where its copies belong. `n` is at most the number of members.
    ///
    /// Costs O(slots × members), as [`Ring::new`] does.
    #[must_use]
    pub fn replicas(&self, n: usize) -> Replicas {
        let copies = n.min(self.members.len());
        let mut table = Vec::with_capacity(SLOTS * copies);
        let preferences = Preferences::of(&self.members);
        let mut strongest = Strongest { max: copies.saturating_sub(1), bids: Vec::with_capacity(copies) };
        let mut ranks = vec![0; self.members.len()];
        for (slot, owner) in Slot::all().zip(self.owners.iter()).filter(|_| copies > 0) {
            table.push(*owner);
            if strongest.max > 0 {
                preferences.rank(slot, &mut ranks);
                strongest.find(&ranks, *owner, |member| {
                    preferences.preferences.get(usize::from(member)).map_or(0, |its| its.tie(slot))
                });
                table.extend(strongest.bids.iter().map(|(_, member)| *member));
            }
        }
        Replicas { members: self.members.clone(), copies, table: table.into() }
    }
}

impl Replicas {
    /// How many members each slot has: what was asked for, or all members if they are fewer.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// The members of this slot, the owner first.
    pub fn of(&self, slot: Slot) -> impl ExactSizeIterator<Item = &NodeId> + Clone {
        self.places(slot).iter().map(|place| &self.members[usize::from(*place)])
    }

    /// Whether `member` is the owner of this slot or has a copy.
    #[must_use]
    pub fn has(&self, slot: Slot, member: &NodeId) -> bool {
        self.of(slot).any(|its| its == member)
    }

    /// All members, in order of age.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The members of this slot by their places in [`members`](Self::members), the owner first.
    #[must_use]
    pub fn places(&self, slot: Slot) -> &[u16] {
        let first = usize::from(slot.number()) * self.copies;
        self.table.get(first..first + self.copies).unwrap_or_default()
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas")
            .field("members", &self.members)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}

/// The strongest bids on one slot but for that of its owner.
struct Strongest {
    max: usize,
    /// Strength and member, the strongest first; of equal ones the older.
    bids: Vec<(u64, u16)>,
}

impl Strongest {
    /// Finds them among these ranks. Members are compared in blocks that the compiler vectorises; only a block with a bid that may
    /// count is looked at one by one.
    fn find(&mut self, ranks: &[u16], owner: u16, tie: impl Fn(u16) -> u64) {
        self.bids.clear();
        let mut floor = 0;
        for (ranks, first) in ranks.chunks(MEMBER_BLOCK).zip((0..).step_by(MEMBER_BLOCK)) {
            // Without an early exit, so that this is vectorised.
            if !ranks.iter().fold(false, |found, its| found | (*its >= floor)) {
                continue;
            }
            for (rank, member) in ranks.iter().zip(first..) {
                if *rank < floor || member == owner {
                    continue;
                }
                let bid = (u64::from(*rank) << RANK_SHIFT | tie(member), member);
                let place = self.bids.partition_point(|its| its.0 >= bid.0);
                if place < self.max {
                    self.bids.truncate(self.max - 1);
                    self.bids.insert(place, bid);
                }
                if self.bids.len() == self.max {
                    floor = self.bids.last().map_or(0, |its| (its.0 >> RANK_SHIFT) as u16);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    fn ring(n: u16) -> Ring {
        let member = |number: u16| {
            let name = format!("app@10.0.{}.{}:4370", number / 250, number % 250 + 1).parse().unwrap();
            NodeId::new(name, Incarnation(7), u64::from(number))
        };
        Ring::new(&(0..n).map(member).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_has_for_every_slot_what_is_found_for_that_slot_alone() {
        for (members, copies) in [(1, 1), (2, 2), (3, 2), (3, 5), (5, 3), (33, 4), (64, 1), (200, 3)] {
            let ring = ring(members);
            let replicas = ring.replicas(copies);
            assert_eq!(replicas.copies(), copies.min(usize::from(members)));
            for slot in Slot::all().filter(|slot| members < 200 || slot.number() % 5 == 0) {
                let its: Vec<&NodeId> = replicas.of(slot).collect();
                assert_eq!(
                    its,
                    ring.owners_of(slot, copies),
                    "{members} members, {copies} copies, slot {slot}"
                );
                assert!(its.iter().all(|member| replicas.has(slot, member)));
                let by_place =
                    replicas.places(slot).iter().map(|place| &replicas.members()[usize::from(*place)]);
                assert!(by_place.eq(its));
            }
        }
    }

    #[test]
    fn without_members_or_copies_no_slot_has_any() {
        let slot = Slot::of(b"user:42");
        assert_eq!(Ring::new([]).replicas(2).of(slot).len(), 0);
        assert_eq!((ring(3).replicas(0).of(slot).len(), ring(3).replicas(0).copies()), (0, 0));
        assert!(!ring(3).replicas(1).has(slot, &NodeId::new("a@h:1".parse().unwrap(), Incarnation(1), 1)));
    }

    /// The first copy of a slot takes over when its owner goes: nothing has to be copied first.
    #[test]
    fn the_next_owner_of_a_slot_is_nearly_always_its_first_copy() {
        let before = ring(20);
        let replicas = before.replicas(2);
        let gone = before.members()[7].clone();
        let after = Ring::new(before.members().iter().filter(|member| **member != gone));
        let (mut lost, mut had_copy) = (0, 0);
        for slot in Slot::all().filter(|slot| before.owner(*slot) == Some(&gone)) {
            lost += 1;
            had_copy += usize::from(after.owner(slot).is_some_and(|next| replicas.has(slot, next)));
        }
        assert!(had_copy * 100 >= lost * 99, "{had_copy} of {lost}");
    }
}
