//! Whom the cluster should consist of: the nodes that all hear each other, from what is reported to all.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::name::{NodeId, NodeName};

/// One node's own word on whom it hears, itself included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) node: &'a NodeId,
    pub(crate) reachable: &'a [NodeId],
    /// The same for the same nodes.
    pub(crate) hash: u64,
}

/// Whom the cluster should consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CandidateMembers {
    /// In order of age.
    pub(crate) nodes: Vec<NodeId>,
    /// Whether somebody is heard, or heard of, who is not in it.
    pub(crate) is_incomplete: bool,
}

/// The largest part found greedily in which all hear each other: while two nodes lack an edge, the one that lacks
/// most edges is dropped, the youngest of several.
///
/// The rows are this node's and those of its live peers; a node that is only heard of counts as a vertex without
/// a word of its own. Two lives of one name cannot both be members: a live one is kept before one only heard of,
/// of two live ones the older (the other will be told to end), of two heard of the newer.
pub(crate) fn candidate_members(
    rows: &[Observation<'_>],
    is_out: impl Fn(&NodeId) -> bool,
) -> CandidateMembers {
    if let Some(nodes) = unanimous(rows, &is_out) {
        return CandidateMembers { nodes, is_incomplete: false };
    }
    let vertices = vertices(rows, is_out);
    let graph = Graph::new(&vertices, rows);
    let left = graph.greedy_clique();
    let lacks_somebody = !left.iter().all(|stays| *stays);
    let left = vertices.into_iter().zip(left).filter(|(_, stays)| *stays);
    CandidateMembers { nodes: left.map(|(node, _)| node.clone()).collect(), is_incomplete: lacks_somebody }
}

/// The common case: every row says the same, and its nodes are those that have a row.
fn unanimous(rows: &[Observation<'_>], is_out: &impl Fn(&NodeId) -> bool) -> Option<Vec<NodeId>> {
    let (first, rest) = rows.split_first()?;
    let same = first.reachable.len() == rows.len()
        && rest.iter().all(|row| row.hash == first.hash)
        && rows.iter().all(|row| first.reachable.binary_search(row.node).is_ok())
        && first.reachable.iter().map(NodeId::name).collect::<BTreeSet<_>>().len() == rows.len()
        && !first.reachable.iter().any(is_out);
    same.then(|| first.reachable.to_vec())
}

/// A number that is the same for the same nodes.
pub(crate) fn hash_nodes(nodes: &[NodeId]) -> u64 {
    nodes
        .iter()
        .fold(nodes.len() as u64, |hash, node| xxh3_64_with_seed(&node.incarnation().0.to_le_bytes(), hash))
}

/// Which of `vertices` are in `nodes`, both in order.
fn bitset(vertices: &[&NodeId], nodes: &[NodeId], words: usize) -> Rc<[u64]> {
    let mut bits = vec![0; words];
    let mut rest = nodes;
    for (at, vertex) in vertices.iter().enumerate() {
        rest = &rest[rest.iter().take_while(|node| node < vertex).count()..];
        if rest.first() == Some(*vertex) {
            bits[at / 64] |= 1 << (at % 64);
        }
    }
    bits.into()
}

fn vertices<'a>(rows: &[Observation<'a>], is_out: impl Fn(&NodeId) -> bool) -> Vec<&'a NodeId> {
    let live: BTreeSet<&NodeId> = rows.iter().map(|row| row.node).collect();
    let distinct: BTreeMap<u64, &'a [NodeId]> = rows.iter().map(|row| (row.hash, row.reachable)).collect();
    let heard_of = distinct.into_values().flatten();
    // Most are named by most: a set compares each with few.
    let mut all: BTreeSet<&NodeId> = live.iter().copied().chain(heard_of).collect();
    all.retain(|node| !is_out(node));
    let mut by_name: BTreeMap<&NodeName, &NodeId> = BTreeMap::new();
    // In order of age, so the one in place is the older.
    for node in all {
        by_name
            .entry(node.name())
            .and_modify(|kept| {
                if !live.contains(*kept) {
                    *kept = node;
                }
            })
            .or_insert(node);
    }
    let mut vertices: Vec<&NodeId> = by_name.into_values().collect();
    vertices.sort();
    vertices
}

/// Which vertices hear each other, as one row of bits for each.
struct Graph {
    edges: Vec<Vec<u64>>,
}

impl Graph {
    /// An edge is there when nobody who has a word denies it.
    fn new(vertices: &[&NodeId], rows: &[Observation<'_>]) -> Self {
        let words = vertices.len().div_ceil(64);
        let mut hears: Vec<Option<Rc<[u64]>>> = vec![None; vertices.len()];
        // Most nodes hear the same ones.
        let mut known: BTreeMap<u64, Rc<[u64]>> = BTreeMap::new();
        for row in rows {
            let Ok(at) = vertices.binary_search(&row.node) else { continue };
            let bits = known.entry(row.hash).or_insert_with(|| bitset(vertices, row.reachable, words));
            hears[at] = Some(Rc::clone(bits));
        }
        let mut edges = vec![vec![0_u64; words]; vertices.len()];
        let says = |a: usize, b: usize| hears[a].as_ref().map(|bits| bits[b / 64] >> (b % 64) & 1 == 1);
        for a in 0..vertices.len() {
            for b in 0..a {
                let edge = match (says(a, b), says(b, a)) {
                    (None, None) => false,
                    (a, b) => a.unwrap_or(true) && b.unwrap_or(true),
                };
                if edge {
                    edges[a][b / 64] |= 1 << (b % 64);
                    edges[b][a / 64] |= 1 << (a % 64);
                }
            }
        }
        Self { edges }
    }

    /// Takes a time that grows with the square of the vertices: a peer may name thousands that nobody hears.
    fn greedy_clique(&self) -> Vec<bool> {
        let mut stays = vec![true; self.edges.len()];
        // How many edges each has to those that stay.
        let mut has: Vec<u32> =
            self.edges.iter().map(|row| row.iter().map(|word| word.count_ones()).sum()).collect();
        let mut count = stays.len();
        while count > 0 {
            let lacks = |at: usize| count - 1 - has[at] as usize;
            let worst = (0..stays.len()).filter(|at| stays[*at]).max_by_key(|at| (lacks(*at), *at));
            match worst {
                Some(at) if lacks(at) > 0 => {
                    stays[at] = false;
                    count -= 1;
                    for (other, has) in has.iter_mut().enumerate() {
                        *has -= u32::from(self.edges[at][other / 64] >> (other % 64) & 1 == 1);
                    }
                }
                _ => break,
            }
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    fn node(n: u64) -> NodeId {
        life(n, n, n)
    }

    fn life(n: u64, incarnation: u64, started: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(incarnation), started)
    }

    fn row<'a>(node: &'a NodeId, hears: &'a [NodeId]) -> Observation<'a> {
        Observation { node, reachable: hears, hash: hash_nodes(hears) }
    }

    fn targeted(rows: &[(NodeId, Vec<NodeId>)]) -> Vec<NodeId> {
        let rows: Vec<Observation<'_>> = rows.iter().map(|(node, hears)| row(node, hears)).collect();
        candidate_members(&rows, |_| false).nodes
    }

    fn rows(edges: &[(u64, &[u64])]) -> Vec<(NodeId, Vec<NodeId>)> {
        edges.iter().map(|(n, hears)| (node(*n), hears.iter().map(|h| node(*h)).collect())).collect()
    }

    #[test]
    fn all_who_hear_each_other_are_in() {
        let mesh = rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 2, 3])]);
        assert_eq!(targeted(&mesh), [node(1), node(2), node(3)]);
    }

    #[test]
    fn one_cut_pair_costs_the_younger_of_the_two() {
        let cut = rows(&[(1, &[1, 2, 3]), (2, &[1, 2]), (3, &[1, 3])]);
        assert_eq!(targeted(&cut), [node(1), node(2)]);
    }

    #[test]
    fn who_is_heard_or_heard_of_and_not_in_is_lacked() {
        let lacks = |rows: &[(NodeId, Vec<NodeId>)]| {
            let rows: Vec<Observation<'_>> = rows.iter().map(|(node, hears)| row(node, hears)).collect();
            candidate_members(&rows, |n| *n == node(9)).is_incomplete
        };
        assert!(!lacks(&rows(&[(1, &[1, 2]), (2, &[1, 2])])));
        assert!(!lacks(&rows(&[(1, &[1, 2]), (2, &[1, 2, 9])])));
        assert!(lacks(&rows(&[(1, &[1, 2]), (2, &[1, 2, 3])])));
        assert!(lacks(&rows(&[(1, &[1, 2, 3]), (2, &[1, 2]), (3, &[1, 3])])));
    }

    #[test]
    fn a_one_way_cut_is_a_cut() {
        let cut = rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 3])]);
        assert_eq!(targeted(&cut), [node(1), node(2)]);
    }

    #[test]
    fn who_lacks_most_edges_goes_though_it_is_the_oldest() {
        let cut = rows(&[(1, &[1, 2]), (2, &[1, 2, 3, 4]), (3, &[2, 3, 4]), (4, &[2, 3, 4])]);
        assert_eq!(targeted(&cut), [node(2), node(3), node(4)]);
    }

    #[test]
    fn a_node_only_heard_of_is_not_in_without_this_node_hearing_it() {
        let heard_of = rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3, 4]), (3, &[1, 2, 3])]);
        assert_eq!(targeted(&heard_of), [node(1), node(2), node(3)]);
    }

    #[test]
    fn of_two_lives_of_one_name_the_live_one_is_in() {
        let (old, new) = (life(3, 30, 3), life(3, 31, 9));
        let rows = vec![
            (node(1), vec![node(1), node(2), new.clone()]),
            (node(2), vec![node(1), node(2), old.clone(), new.clone()]),
            (new.clone(), vec![node(1), node(2), new.clone()]),
        ];
        assert_eq!(targeted(&rows), [node(1), node(2), new]);
    }

    #[test]
    fn who_leaves_is_out() {
        let mesh = rows(&[(1, &[1, 2]), (2, &[1, 2])]);
        let rows: Vec<Observation<'_>> = mesh.iter().map(|(node, hears)| row(node, hears)).collect();
        assert_eq!(
            candidate_members(&rows, |n| *n == node(1)),
            CandidateMembers { nodes: vec![node(2)], is_incomplete: false }
        );
    }

    /// The same by the words of the rule: while two nodes lack an edge, the one that lacks most goes, the youngest of several.
    fn plainly(rows: &[(NodeId, Vec<NodeId>)]) -> Vec<NodeId> {
        let word = |node: &NodeId| rows.iter().find(|(of, _)| of == node).map(|(_, hears)| hears);
        let mut left: Vec<NodeId> =
            rows.iter().flat_map(|(node, hears)| hears.iter().chain([node])).cloned().collect();
        left.sort();
        left.dedup();
        loop {
            let edge = |a: &NodeId, b: &NodeId| {
                let words = [(word(a), b), (word(b), a)];
                let has_word = words.iter().any(|(word, _)| word.is_some());
                has_word && words.iter().all(|(word, other)| word.is_none_or(|hears| hears.contains(other)))
            };
            let lacks = |a: &NodeId| left.iter().filter(|b| *b != a && !edge(a, b)).count();
            let worst = left.iter().max_by_key(|node| (lacks(node), *node)).cloned();
            match worst {
                Some(worst) if lacks(&worst) > 0 => left.retain(|node| *node != worst),
                _ => return left,
            }
        }
    }

    #[test]
    fn whoever_hears_whom_the_target_is_what_the_rule_says() {
        let mut random = 5_u64;
        let mut next = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        for turn in 0..200 {
            // Now and then more than the bits of a word.
            let all = if turn % 20 == 0 { 60 + next(12) } else { 1 + next(7) };
            let hearing = next(6);
            let reports: Vec<(NodeId, Vec<NodeId>)> = (0..all)
                .filter(|n| *n == 0 || next(8) > 0)
                .collect::<Vec<_>>()
                .into_iter()
                .map(|n| {
                    (node(n), (0..all).filter(|m| *m == n || next(all + 6) > hearing).map(node).collect())
                })
                .collect();
            let plainly = plainly(&reports);
            assert_eq!(targeted(&reports), plainly, "turn {turn}: {reports:?}");
        }
    }

    #[test]
    fn of_two_lives_of_one_name_that_are_only_heard_of_the_newer_is_a_vertex() {
        let (old, new) = (life(3, 30, 3), life(3, 31, 9));
        // Nobody hears both lives: the one that counts costs nobody its place.
        let rows = [
            (node(1), vec![node(1), node(2), old.clone(), new.clone()]),
            (node(2), vec![node(1), node(2), new.clone()]),
        ];
        let reports: Vec<Observation<'_>> = rows.iter().map(|(node, hears)| row(node, hears)).collect();
        assert_eq!(vertices(&reports, |_| false), [&node(1), &node(2), &new]);
        let both_live = [row(&old, &rows[0].1), row(&new, &rows[0].1)];
        assert_eq!(vertices(&both_live, |_| false), [&node(1), &node(2), &old]);
    }

    #[test]
    fn what_all_say_alike_is_the_target_only_if_each_node_has_a_word_and_a_name_of_its_own() {
        let (old, new) = (life(3, 30, 3), life(3, 31, 9));
        let in_two_lives = vec![old.clone(), new.clone()];
        let rows = [(old.clone(), in_two_lives.clone()), (new, in_two_lives)];
        assert_eq!(targeted(&rows), [old]);
        // Both name a third node, which says nothing.
        let third = self::rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])]);
        assert_eq!(targeted(&third), plainly(&third));
        // Two words on the same number of nodes, which are not the same nodes.
        let other = self::rows(&[(1, &[1, 2]), (2, &[2, 3])]);
        assert_eq!(targeted(&other), plainly(&other));
    }
}
