//! Nodes by number: what is kept of nodes for each slot neither clones nor compares their ids.

use std::collections::BTreeMap;

use cloister_proto::NodeId;

/// The number of a node at this table. It is valid until nodes are numbered anew, at the beginning of the next view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer(u32);

impl Peer {
    pub(super) fn number(self) -> u32 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The nodes that this table knows, by number.
#[derive(Debug)]
pub(super) struct Nodes {
    ids: Vec<NodeId>,
    numbers: BTreeMap<NodeId, Peer>,
    linked: NodeSet,
    me: Peer,
}

impl Nodes {
    pub(super) fn new(me: &NodeId) -> Self {
        let mut nodes =
            Self { ids: Vec::new(), numbers: BTreeMap::new(), linked: NodeSet::default(), me: Peer(0) };
        nodes.me = nodes.number_of(me);
        nodes
    }

    /// Numbers this node, those that are linked, and these anew, in order of age.
    pub(super) fn renumber<'a>(&mut self, others: impl Iterator<Item = &'a NodeId>) {
        let (me, linked) = (self.id_of(self.me).clone(), std::mem::take(&mut self.linked));
        let linked: Vec<NodeId> = linked.iter().map(|peer| self.id_of(peer).clone()).collect();
        self.ids = others.cloned().chain(linked.iter().cloned()).chain([me.clone()]).collect();
        self.ids.sort();
        self.ids.dedup();
        self.numbers = self.ids.iter().cloned().zip((0..).map(Peer)).collect();
        self.me = self.number_of(&me);
        self.linked = linked.iter().map(|id| self.number_of(id)).collect();
    }

    /// The number of a node, which gets one if it has none.
    pub(super) fn number_of(&mut self, id: &NodeId) -> Peer {
        if let Some(peer) = self.numbers.get(id) {
            return *peer;
        }
        // There are never that many nodes.
        let peer = Peer(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        self.ids.push(id.clone());
        self.numbers.insert(id.clone(), peer);
        peer
    }

    pub(super) fn id_of(&self, peer: Peer) -> &NodeId {
        &self.ids[peer.index()]
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All nodes, in order of their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..).map(Peer).take(self.len())
    }

    /// This node.
    pub(super) fn me(&self) -> Peer {
        self.me
    }

    /// The nodes that this one has a link to.
    pub(super) fn linked(&self) -> &NodeSet {
        &self.linked
    }

    pub(super) fn linked_mut(&mut self) -> &mut NodeSet {
        &mut self.linked
    }
}

/// A set of nodes: a bit for each, the first 64 without an allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeSet {
    first: u64,
    rest: Vec<u64>,
}

impl NodeSet {
    /// Inserts a node; returns whether it was not there.
    pub(super) fn insert(&mut self, peer: Peer) -> bool {
        let (at, bit) = Self::place_of(peer);
        if at > self.rest.len() {
            self.rest.resize(at, 0);
        }
        let Some(word) = self.word_mut(at) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Removes a node; returns whether it was there.
    pub(super) fn remove(&mut self, peer: Peer) -> bool {
        let (at, bit) = Self::place_of(peer);
        let Some(word) = self.word_mut(at) else { return false };
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    pub(super) fn contains(&self, peer: Peer) -> bool {
        let (at, bit) = Self::place_of(peer);
        self.words().nth(at).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    pub(super) fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The nodes, in order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = Peer> {
        self.words().zip((0..).step_by(64)).flat_map(|(word, first)| {
            let rest = std::iter::successors(Some(word), |word| Some(word & word.saturating_sub(1)));
            rest.take_while(|word| *word != 0).map(move |word| Peer(first + word.trailing_zeros()))
        })
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    fn word_mut(&mut self, at: usize) -> Option<&mut u64> {
        match at.checked_sub(1) {
            None => Some(&mut self.first),
            Some(at) => self.rest.get_mut(at),
        }
    }

    fn place_of(peer: Peer) -> (usize, u64) {
        (peer.index() / 64, 1 << (peer.0 % 64))
    }
}

impl PartialEq for NodeSet {
    fn eq(&self, other: &Self) -> bool {
        // Comparing two empty lists costs hundreds of cycles with AVX-512: they have no address, and the masked load of nothing from there
        // is suppressed by microcode.
        let is_short = self.rest.is_empty() && other.rest.is_empty();
        self.first == other.first && (is_short || self.iter().eq(other.iter()))
    }
}

impl FromIterator<Peer> for NodeSet {
    fn from_iter<I: IntoIterator<Item = Peer>>(peers: I) -> Self {
        let mut set = Self::default();
        for peer in peers {
            set.insert(peer);
        }
        set
    }
}

/// A map from a few nodes, in order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeMap<T>(Vec<(Peer, T)>);

impl<T> Default for NodeMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> NodeMap<T> {
    pub(super) fn get(&self, peer: Peer) -> Option<&T> {
        self.iter().find(|(its, _)| *its == peer).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, peer: Peer) -> Option<&mut T> {
        self.iter_mut().find(|(its, _)| *its == peer).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, peer: Peer) -> bool {
        self.get(peer).is_some()
    }

    /// Sets the value of a node.
    pub(super) fn insert(&mut self, peer: Peer, value: T) {
        match self.0.binary_search_by_key(&peer, |(its, _)| *its) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                // There are thousands of them, with one or two nodes each.
                self.0.reserve_exact(1);
                self.0.insert(at, (peer, value));
            }
        }
    }

    /// The value of a node, made if there is none.
    pub(super) fn get_or_insert_with(&mut self, peer: Peer, make: impl FnOnce() -> T) -> &mut T {
        let at = self.0.binary_search_by_key(&peer, |(its, _)| *its).unwrap_or_else(|at| {
            self.0.reserve_exact(1);
            self.0.insert(at, (peer, make()));
            at
        });
        &mut self.0[at].1
    }

    pub(super) fn remove(&mut self, peer: Peer) -> Option<T> {
        let at = self.0.iter().position(|(its, _)| *its == peer)?;
        let (_, value) = self.0.remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Peer, &T)> {
        self.0.iter().map(|(peer, value)| (*peer, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Peer, &mut T)> {
        self.0.iter_mut().map(|(peer, value)| (*peer, value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<T> FromIterator<(Peer, T)> for NodeMap<T> {
    fn from_iter<I: IntoIterator<Item = (Peer, T)>>(values: I) -> Self {
        let mut map = Self::default();
        for (peer, value) in values {
            map.insert(peer, value);
        }
        map
    }
}

#[cfg(test)]
pub(super) fn peer(number: u32) -> Peer {
    Peer(number)
}

#[cfg(test)]
mod tests {
    use cloister_proto::Incarnation;

    use super::*;

    #[test]
    fn a_set_has_what_was_inserted_among_hundreds_of_nodes() {
        let numbers = [0, 5, 63, 64, 200, 320];
        let mut set: NodeSet = numbers.map(Peer).into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), numbers.map(Peer));
        assert_eq!((set.len(), set.insert(Peer(64)), set.insert(Peer(65))), (6, false, true));
        assert!(set.contains(Peer(65)) && !set.contains(Peer(66)) && !set.contains(Peer(10_000)));
        assert!(!set.remove(Peer(10_000)) && !set.remove(Peer(1)));
        for number in [65, 0, 5, 63, 64, 200, 320] {
            assert!(!set.is_empty() && set.remove(Peer(number)));
        }
        assert!(set.is_empty() && set.iter().next().is_none());
    }

    #[test]
    fn a_map_keeps_the_order_of_numbers() {
        let mut map: NodeMap<char> = [(Peer(3), 'c'), (Peer(1), 'x'), (Peer(1), 'a')].into_iter().collect();
        assert_eq!(map.iter().collect::<Vec<_>>(), [(Peer(1), &'a'), (Peer(3), &'c')]);
        assert_eq!(
            (map.remove(Peer(2)), map.remove(Peer(1)), map.contains(Peer(1))),
            (None, Some('a'), false)
        );
    }

    #[test]
    fn nodes_that_are_numbered_anew_stay_linked() {
        let id = |n: u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n);
        let mut nodes = Nodes::new(&id(5));
        let late = nodes.number_of(&id(9));
        let early = nodes.number_of(&id(1));
        nodes.linked_mut().insert(early);
        assert_eq!((nodes.me(), late, early), (Peer(0), Peer(1), Peer(2)));
        nodes.renumber([id(7), id(5)].iter());
        assert_eq!(nodes.linked().iter().map(|peer| nodes.id_of(peer).clone()).collect::<Vec<_>>(), [id(1)]);
        let seven = nodes.number_of(&id(7));
        assert_eq!((nodes.me(), seven, nodes.len()), (Peer(1), Peer(2), 3));
    }
}
