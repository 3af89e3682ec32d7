//! Which member owns a key: 16 384 slots, given to members by rendezvous hashing with a load bound.
//!
//! A ring is a pure function of its members. Every member ranks all slots in an order of its own, which follows from its name. Each slot
//! goes to the member that ranks it highest (rendezvous hashing: Thaler and Ravishankar, 1998). Ranks take the place of independent hashes:
//! so every member has as many high claims as any other, which halves the variance of their shares. The strongest claims are served first.
//! The share of a member is at most the mean and 6 % more. If it is full, the slot goes to its next choice (bounded loads: Mirrokni, Thorup
//! and Zadimoghaddam, 2018). So no member owns more than 1.06 times the mean. Rebalancing is cheap: when one member comes or goes, about
//! one share of the slots moves.

mod replicas;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::iter;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::name::NodeId;

pub use replicas::Replicas;

/// The algorithm of this build; nodes with different ones refuse each other.
pub const RING_ALGORITHM: u32 = 2;

/// How many slots a ring has.
///
/// [`Slot`] has an example.
pub const SLOTS: usize = 16_384;

/// One of the [`SLOTS`] parts of the key space.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{SLOTS, Slot};
///
/// let slot = Slot::of(b"user:42");
/// assert!(usize::from(slot.number()) < SLOTS);
/// assert_eq!(Slot::new(slot.number()), Some(slot));
/// assert_eq!(Slot::all().count(), SLOTS);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key: `xxh3_64(key) mod 16384`.
    #[must_use]
    pub fn of(key: &[u8]) -> Slot {
        Slot((xxh3_64(key) % SLOTS as u64) as u16)
    }

    /// The slot with this number, if there is one.
    #[must_use]
    pub fn new(number: u16) -> Option<Slot> {
        (usize::from(number) < SLOTS).then_some(Slot(number))
    }

    /// The number of this slot, below [`SLOTS`].
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// All slots, in order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS as u16).map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Slots that change hands between two rings.
///
/// [`Ring`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotTransfer {
    /// The previous owner; `None` if there was none.
    pub from: Option<NodeId>,
    /// The new owner; `None` if there is none.
    pub to: Option<NodeId>,
    /// The slots, in order.
    pub slots: Vec<Slot>,
}

/// Which member owns which slot.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{Incarnation, NodeId, Ring, SLOTS, Slot};
///
/// let node = |n: u64| NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let two = Ring::new(&[node(1), node(2)]);
/// let owner = two.owner_of(b"user:42").unwrap();
/// assert_eq!(two.owner(Slot::of(b"user:42")), Some(owner));
/// assert_eq!(two.owners(b"user:42", 2)[0], owner);
/// assert_eq!(two.slot_counts().iter().map(|(_, slots)| slots).sum::<usize>(), SLOTS);
///
/// // A third node takes slots from both.
/// let three = Ring::new(&[node(1), node(2), node(3)]);
/// let gained = two.transfers_of(&node(3), &three);
/// assert!(gained.iter().all(|transfer| transfer.to == Some(node(3))));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    members: Vec<NodeId>,
    owners: Arc<[u16]>,
}

impl Ring {
    /// The ring over these members, in whatever order they come. Costs O(slots × members).
    ///
    /// Members beyond the first 65 535 in order of age own nothing.
    pub fn new<'a>(members: impl IntoIterator<Item = &'a NodeId>) -> Self {
        let mut members: Vec<NodeId> = members.into_iter().cloned().collect();
        members.sort();
        members.dedup();
        members.truncate(usize::from(u16::MAX));
        let owners = assign_slots(&members);
        Self { members, owners }
    }

    /// The same ring with ids of its own; see [`NodeId::detached`]. The table of owners is shared.
    #[must_use]
    pub fn detached(&self) -> Self {
        let members = self.members.iter().map(NodeId::detached).collect();
        Self { members, owners: Arc::clone(&self.owners) }
    }

    /// The members, the oldest first.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The owner of a slot; `None` only for a ring without members. One table look-up.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&NodeId> {
        self.members.get(usize::from(*self.owners.get(usize::from(slot.0))?))
    }

    /// The owner of a key: one hash and one table look-up.
    #[must_use]
    pub fn owner_of(&self, key: &[u8]) -> Option<&NodeId> {
        self.owner(Slot::of(key))
    }

    /// The owner of a key and the members that would come next, `n` at most: where replicas belong.
    ///
    /// Costs O(members).
    #[must_use]
    pub fn owners(&self, key: &[u8], n: usize) -> Vec<&NodeId> {
        self.owners_of(Slot::of(key), n)
    }

    /// The owner of a slot and the members that would come next, `n` at most. For many slots [`Ring::replicas`] is cheaper.
    ///
    /// Costs O(members).
    #[must_use]
    pub fn owners_of(&self, slot: Slot, n: usize) -> Vec<&NodeId> {
        let Some(first) = self.owner(slot) else { return Vec::new() };
        let mut rest: Vec<(u64, &NodeId)> = self
            .members
            .iter()
            .filter(|m| *m != first)
            .map(|m| (Preference::of(m).strength(slot), m))
            .collect();
        rest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        std::iter::once(first).chain(rest.into_iter().map(|(_, m)| m)).take(n).collect()
    }

    /// How many slots a member owns.
    #[must_use]
    pub fn slot_count(&self, member: &NodeId) -> usize {
        let number = self.number(member);
        self.owners.iter().filter(|owner| Some(**owner) == number).count()
    }

    /// How many slots each member owns, the oldest member first. One pass over all slots.
    pub fn slot_counts(&self) -> Vec<(&NodeId, usize)> {
        let mut counts: Vec<(&NodeId, usize)> = self.members.iter().map(|member| (member, 0)).collect();
        for owner in self.owners.iter() {
            if let Some((_, count)) = counts.get_mut(usize::from(*owner)) {
                *count += 1;
            }
        }
        counts
    }

    /// The slots whose owners differ between this ring and the next, grouped by the old and the new owner.
    #[must_use]
    pub fn transfers_to(&self, next: &Ring) -> Vec<SlotTransfer> {
        self.grouped(next, Slot::all().filter(|slot| self.owner(*slot) != next.owner(*slot)))
    }

    /// The transfers to the next ring that involve `member`, cheaper than all of them.
    #[must_use]
    pub fn transfers_of(&self, member: &NodeId, next: &Ring) -> Vec<SlotTransfer> {
        let (gives, takes) = (self.number(member), next.number(member));
        self.grouped(next, Slot::all().filter(|slot| self.is_of(gives, *slot) != next.is_of(takes, *slot)))
    }

    /// Groups by the places of the owners in the lists of members. These are in order of age, so the groups are too.
    fn grouped(&self, next: &Ring, slots: impl Iterator<Item = Slot>) -> Vec<SlotTransfer> {
        let place = |ring: &Ring, slot: Slot| ring.owners.get(usize::from(slot.0)).copied();
        let mut moves = BTreeMap::<_, Vec<Slot>>::new();
        for slot in slots {
            moves.entry((place(self, slot), place(next, slot))).or_default().push(slot);
        }
        let member = |ring: &Ring, place: Option<u16>| ring.members.get(usize::from(place?)).cloned();
        moves
            .into_iter()
            .map(|((from, to), slots)| SlotTransfer { from: member(self, from), to: member(next, to), slots })
            .collect()
    }

    /// The index of the member in the table of owners.
    fn number(&self, member: &NodeId) -> Option<u16> {
        self.members.binary_search(member).ok().and_then(|at| u16::try_from(at).ok())
    }

    fn is_of(&self, member: Option<u16>, slot: Slot) -> bool {
        member.is_some() && self.owners.get(usize::from(slot.0)).copied() == member
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("members", &self.members).finish_non_exhaustive()
    }
}

/// The order in which a member ranks the slots.
#[derive(Clone, Copy)]
struct Preference {
    order: u64,
    ties: u64,
}

impl Preference {
    /// The incarnation is left out: a process that restarts at the same name gets its slots back.
    fn of(member: &NodeId) -> Self {
        let name = member.name().to_string();
        Self { order: xxh3_64(name.as_bytes()), ties: xxh3_64_with_seed(name.as_bytes(), 1) }
    }

    /// The strength of the member's bid on a slot: the rank in the high bits, then the tie-break between members that give a slot
    /// the same rank.
    fn strength(self, slot: Slot) -> u64 {
        u64::from(RankPermutation::of(self).rank(slot.0)) << RANK_SHIFT | self.tie(slot)
    }

    /// The tie-break between two members that give a slot the same rank.
    fn tie(self, slot: Slot) -> u64 {
        // Two odd constants without structure: the golden ratio, and the first factor of the finalizer of SplitMix64.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        const MIX: u64 = 0xbf58_476d_1ce4_e5b9;
        let slot = u64::from(slot.0);
        (self.ties ^ slot.wrapping_mul(SPREAD)).wrapping_mul(MIX) >> SLOT_BITS
    }
}

/// The steps of the permutation by which a member ranks the slots. A rank has 14 bits, and no step looks above them.
/// So the ranks that several members give to one slot are computed side by side, in 16 bits each.
#[derive(Clone, Copy)]
struct RankPermutation {
    start: u16,
    factors: [u16; 3],
    last: u16,
    offset: u16,
}

impl RankPermutation {
    fn of(preference: Preference) -> Self {
        let Preference { order, ties } = preference;
        let factor = |shift: u32| (order >> shift) as u16 | 1;
        Self {
            start: (order >> RANK_SHIFT) as u16,
            factors: [factor(0), factor(SLOT_BITS), factor(2 * SLOT_BITS)],
            last: ties as u16 | 1,
            offset: (ties >> RANK_SHIFT) as u16,
        }
    }

    /// A permutation of the numbers below [`SLOTS`]: each step (add, multiply by an odd number, xor with the upper half)
    /// can be undone.
    #[inline]
    fn rank(self, slot: u16) -> u16 {
        const LAST: u16 = SLOTS as u16 - 1;
        const HALF: u32 = SLOT_BITS / 2;
        let mut rank = slot ^ self.start;
        for factor in self.factors {
            rank = rank.wrapping_mul(factor) & LAST;
            rank ^= rank >> HALF;
        }
        rank.wrapping_mul(self.last).wrapping_add(self.offset) & LAST
    }
}

/// The preferences of all members, laid out so that the ranks of one slot are computed side by side.
struct Preferences {
    preferences: Vec<Preference>,
    starts: Vec<u16>,
    factors: [Vec<u16>; 3],
    lasts: Vec<u16>,
    offsets: Vec<u16>,
}

impl Preferences {
    fn of(members: &[NodeId]) -> Self {
        let preferences: Vec<Preference> = members.iter().map(Preference::of).collect();
        let steps: Vec<RankPermutation> = preferences.iter().copied().map(RankPermutation::of).collect();
        let column = |of: fn(&RankPermutation) -> u16| steps.iter().map(of).collect::<Vec<u16>>();
        Self {
            preferences,
            starts: column(|steps| steps.start),
            factors: [
                column(|steps| steps.factors[0]),
                column(|steps| steps.factors[1]),
                column(|steps| steps.factors[2]),
            ],
            lasts: column(|steps| steps.last),
            offsets: column(|steps| steps.offset),
        }
    }

    /// The rank that each member gives to a slot.
    fn rank(&self, slot: Slot, ranks: &mut [u16]) {
        let [first, second, third] = &self.factors;
        let factors = first.iter().zip(second).zip(third);
        let steps = self.starts.iter().zip(factors).zip(self.lasts.iter().zip(&self.offsets));
        for (rank, ((start, ((first, second), third)), (last, offset))) in ranks.iter_mut().zip(steps) {
            let factors = [*first, *second, *third];
            *rank = RankPermutation { start: *start, factors, last: *last, offset: *offset }.rank(slot.0);
        }
    }
}

/// `SLOTS` is two to this power.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();

/// Where in a strength the rank begins.
const RANK_SHIFT: u32 = u64::BITS - SLOT_BITS;

/// The maximal number of slots of one member: the mean and 6 %, but enough for all slots.
fn max_slots(members: usize) -> usize {
    let members = members.max(1);
    (SLOTS * 106 / (members * 100)).max(SLOTS.div_ceil(members))
}

/// Gives each slot to the strongest bidder that has room: every slot asks its members in order of strength, and a full member
/// releases its weakest bid. The outcome is the unique stable matching, in whatever order slots ask (deferred acceptance: Gale
/// and Shapley, 1962).
fn assign_slots(members: &[NodeId]) -> Arc<[u16]> {
    if members.is_empty() {
        return Arc::default();
    }
    let bound = max_slots(members.len());
    // First what is kept: what only the computation needs is freed behind it, and leaves no hole in the memory of a node that does little else.
    let mut owners: Arc<[u16]> = iter::repeat_n(0, SLOTS).collect();
    let owner_of = Arc::make_mut(&mut owners);
    let mut matcher = Matcher::of(members);
    let mut held = vec![Vec::with_capacity(bound + bound / 8); members.len()];
    matcher.first_choices(|bid| {
        owner_of[usize::from(bid.slot.0)] = bid.member;
        held[usize::from(bid.member)].push(Reverse((bid.rank, bid.slot)));
    });
    let mut held: Vec<BinaryHeap<Reverse<(u16, Slot)>>> = held.into_iter().map(BinaryHeap::from).collect();
    let mut refused = Vec::new();
    let refuse_weakest = |heap: &mut BinaryHeap<_>, member, refused: &mut Vec<Bid>| {
        let weakest = heap.pop();
        refused.extend(weakest.map(|Reverse((rank, slot))| Bid { rank, slot, member }));
    };
    for (heap, member) in held.iter_mut().zip(0_u16..) {
        while heap.len() > bound {
            refuse_weakest(heap, member, &mut refused);
        }
    }
    while let Some(lost) = refused.pop() {
        let Some(Bid { rank, slot, member }) = matcher.next(lost) else { continue };
        owner_of[usize::from(slot.0)] = member;
        let heap = &mut held[usize::from(member)];
        heap.push(Reverse((rank, slot)));
        if heap.len() > bound {
            refuse_weakest(heap, member, &mut refused);
        }
    }
    owners
}

/// A bid of a member on a slot. Of the bids of one member the stronger is the greater: no two have the same rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bid {
    rank: u16,
    slot: Slot,
    member: u16,
}

/// Computes which bid a slot accepts first and next.
struct Matcher {
    preferences: Preferences,
    /// Scratch space: the ranks of the slot that chooses.
    ranks: Vec<u16>,
}

impl Matcher {
    fn of(members: &[NodeId]) -> Self {
        Self { preferences: Preferences::of(members), ranks: vec![0; members.len()] }
    }

    /// Hands out the strongest bid on each slot, in order; none without members.
    ///
    /// Member by member over a block of slots, so that the compiler vectorises it over eight slots. The few slots that two members
    /// rank alike are compared one by one.
    fn first_choices(&mut self, mut take: impl FnMut(Bid)) {
        if self.ranks.is_empty() {
            return;
        }
        for first in (0..SLOTS as u16).step_by(SLOT_BLOCK) {
            let slots: [u16; SLOT_BLOCK] = std::array::from_fn(|at| first + at as u16);
            // A rank has 14 bits: signed numbers are compared in fewer instructions.
            let (mut best, mut owners, mut tied) =
                ([-1_i16; SLOT_BLOCK], [0_u16; SLOT_BLOCK], [0_u16; SLOT_BLOCK]);
            for (member, preference) in (0_u16..).zip(&self.preferences.preferences) {
                let steps = RankPermutation::of(*preference);
                let slots = slots.iter().zip(&mut best).zip(owners.iter_mut().zip(&mut tied));
                for ((slot, best), (owner, tied)) in slots {
                    let rank = steps.rank(*slot) as i16;
                    let (wins, ties) = (rank > *best, rank == *best);
                    *tied = if wins { 0 } else { *tied | u16::from(ties) };
                    *owner = if wins { member } else { *owner };
                    *best = rank.max(*best);
                }
            }
            for ((slot, rank), (member, tied)) in (first..).zip(best).zip(owners.into_iter().zip(tied)) {
                let (slot, rank) = (Slot(slot), rank as u16);
                let alone = Bid { rank, slot, member };
                take(if tied == 0 { alone } else { self.first_of_tied(alone) });
            }
        }
    }

    /// The strongest of the bids that have the same rank as this one.
    fn first_of_tied(&mut self, bid: Bid) -> Bid {
        self.preferences.rank(bid.slot, &mut self.ranks);
        self.strongest_of(bid.rank, bid.slot, None).unwrap_or(bid)
    }

    /// The strongest bid on the slot that is weaker than the lost one.
    ///
    /// Passes that the compiler vectorises over eight members. The few members of the very same rank are compared one by one.
    fn next(&mut self, lost: Bid) -> Option<Bid> {
        let Bid { rank, slot, .. } = lost;
        self.preferences.rank(slot, &mut self.ranks);
        // A bid of the same rank and a weaker tie-break comes before all lower ranks.
        self.strongest_of(rank, slot, Some(lost)).or_else(|| {
            // A rank is shifted by one, so that zero can stand for "none".
            let below = self.ranks.iter().map(|&its| if its < rank { its + 1 } else { 0 });
            let next = below.max()?.checked_sub(1)?;
            self.strongest_of(next, slot, None)
        })
    }

    /// The strongest bid of this rank that is weaker than the lost one.
    fn strongest_of(&self, rank: u16, slot: Slot, lost: Option<Bid>) -> Option<Bid> {
        let tie = |member: u16| (self.preferences.preferences[usize::from(member)].tie(slot), member);
        let lost = lost.map(|lost| tie(lost.member));
        let mut strongest = None;
        for (ranks, first) in self.ranks.chunks(MEMBER_BLOCK).zip((0..).step_by(MEMBER_BLOCK)) {
            // Without an early exit, so that this is vectorised, too.
            if !ranks.iter().fold(false, |found, its| found | (*its == rank)) {
                continue;
            }
            for (_, member) in ranks.iter().zip(first..).filter(|(its, _)| **its == rank) {
                let tie = tie(member);
                if lost.is_none_or(|lost| tie < lost) {
                    strongest = strongest.max(Some(tie));
                }
            }
        }
        strongest.map(|(_, member)| Bid { rank, slot, member })
    }
}

/// How many slots are evaluated for one member before the next.
const SLOT_BLOCK: usize = 1024;

/// How many members are skipped at once when none of them has the rank.
const MEMBER_BLOCK: usize = 32;

#[cfg(test)]
mod tests;
