//! Which member owns a key: 16 384 slots, given to members by rendezvous hashing with a load bound.
//!
//! A ring is a pure function of its members. Every member claims every slot with a weight that is the hash of
//! both (rendezvous hashing: Thaler and Ravishankar, 1998). The strongest claims are served first; a member that has its
//! share — the mean, and 5 % more — gets no more, and the slot goes to its next choice (bounded loads:
//! Mirrokni, Thorup and Zadimoghaddam, 2018). So no member owns more than 1.06 times the mean, and when one
//! member comes or goes about one share of the slots moves.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::name::NodeId;

/// The algorithm of this build; nodes with different ones refuse each other.
pub const RING_ALGORITHM: u32 = 1;

/// How many slots a ring has.
pub const SLOTS: usize = 16_384;

/// One of the [`SLOTS`] parts of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key: `xxh3_64(key) mod 16384`.
    pub fn of(key: &[u8]) -> Slot {
        Slot((xxh3_64(key) % SLOTS as u64) as u16)
    }

    /// The slot with this number, if there is one.
    pub fn new(number: u16) -> Option<Slot> {
        (usize::from(number) < SLOTS).then_some(Slot(number))
    }

    /// The number of this slot, below [`SLOTS`].
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who owned them; `None` if nobody did.
    pub from: Option<NodeId>,
    /// Who owns them now; `None` if nobody does.
    pub to: Option<NodeId>,
    /// Which slots, in order.
    pub slots: Vec<Slot>,
}

/// Which member owns which slot.
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    members: Vec<NodeId>,
    owners: Box<[u16]>,
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
        let owners = place(&members);
        Self { members, owners }
    }

    /// The members, the oldest first.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Who owns a slot; `None` only for a ring without members. One read of a table.
    pub fn owner(&self, slot: Slot) -> Option<&NodeId> {
        self.members.get(usize::from(*self.owners.get(usize::from(slot.0))?))
    }

    /// Who owns a key: one hash and one read of a table.
    pub fn owner_of(&self, key: &[u8]) -> Option<&NodeId> {
        self.owner(Slot::of(key))
    }

    /// The owner of a key and the members that would come next, `n` at most: where replicas belong.
    ///
    /// Costs O(members).
    pub fn owners(&self, key: &[u8], n: usize) -> Vec<&NodeId> {
        let slot = Slot::of(key);
        let Some(first) = self.owner(slot) else { return Vec::new() };
        let mut rest: Vec<(u64, &NodeId)> =
            self.members.iter().filter(|m| *m != first).map(|m| (claim(seed(m), slot), m)).collect();
        rest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        std::iter::once(first).chain(rest.into_iter().map(|(_, m)| m)).take(n).collect()
    }

    /// How many slots a member owns.
    pub fn share(&self, member: &NodeId) -> usize {
        match self.members.binary_search(member) {
            Ok(at) => self.owners.iter().filter(|&&owner| usize::from(owner) == at).count(),
            Err(_) => 0,
        }
    }

    /// The slots whose owners differ between this ring and the next, grouped by who gives and who takes.
    pub fn moves_to(&self, next: &Ring) -> Vec<Move> {
        let mut moves = std::collections::BTreeMap::<_, Vec<Slot>>::new();
        for slot in Slot::all() {
            let (from, to) = (self.owner(slot), next.owner(slot));
            if from != to {
                moves.entry((from, to)).or_default().push(slot);
            }
        }
        moves
            .into_iter()
            .map(|((from, to), slots)| Move { from: from.cloned(), to: to.cloned(), slots })
            .collect()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("members", &self.members).finish_non_exhaustive()
    }
}

/// The hash of a member, from which all its claims follow. It leaves the incarnation out: a process that
/// comes back at the same name gets its slots back.
fn seed(member: &NodeId) -> u64 {
    xxh3_64(member.name().to_string().as_bytes())
}

/// How strongly a member claims a slot.
fn claim(seed: u64, slot: Slot) -> u64 {
    xxh3_64_with_seed(&slot.0.to_le_bytes(), seed)
}

fn place(members: &[NodeId]) -> Box<[u16]> {
    if members.is_empty() {
        return Box::default();
    }
    let seeds: Vec<u64> = members.iter().map(seed).collect();
    // The mean and 5 % more, rounded up: 1.06 times the mean at most while a member has 100 slots or more.
    let bound = (SLOTS * 105).div_ceil(members.len() * 100);
    let mut load = vec![0_usize; members.len()];
    let mut owners = vec![u16::MAX; SLOTS];
    // Every slot claims for its strongest member that is not full; the strongest claims are served first, those
    // that find their member full come again with their next choice.
    let mut waiting: Vec<(u64, Slot, u16)> =
        Slot::all().filter_map(|slot| strongest(&seeds, &load, bound, slot)).collect();
    while !waiting.is_empty() {
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        let mut again = Vec::new();
        for (_, slot, member) in waiting {
            let at = usize::from(member);
            if load[at] < bound {
                load[at] += 1;
                owners[usize::from(slot.0)] = member;
            } else {
                again.push(slot);
            }
        }
        waiting = again.into_iter().filter_map(|slot| strongest(&seeds, &load, bound, slot)).collect();
    }
    owners.into()
}

/// The strongest claim on `slot` among the members with room.
fn strongest(seeds: &[u64], load: &[usize], bound: usize, slot: Slot) -> Option<(u64, Slot, u16)> {
    seeds
        .iter()
        .zip(load)
        .zip(0_u16..)
        .filter(|((_, load), _)| **load < bound)
        .map(|((&seed, _), member)| (claim(seed, slot), slot, member))
        .max()
}
