//! The candidate members of the next view: a greedy clique of nodes that all reach each other. It is the first step of the leader
//! election: the leader (sentry) of a view is its oldest member.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::name::{NodeId, NodeName};

/// Which nodes one node reports as reachable, itself included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) node: &'a NodeId,
    pub(crate) reachable: &'a [NodeId],
    /// A hash of `reachable`.
    pub(crate) hash: u64,
}

/// The nodes that the next view should consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CandidateMembers {
    /// In order of age.
    pub(crate) nodes: Vec<NodeId>,
    /// Whether a reachable or reported node is left out.
    pub(crate) is_incomplete: bool,
}

/// The largest clique that a greedy search finds: while two nodes lack an edge, the node that lacks the most edges is dropped,
/// the youngest of several.
///
/// The observations are those of this node and of its live peers. A node that is only reported is a vertex without an observation of its
/// own. Of two incarnations of one name one is a vertex. That is a live one before a reported one, the older of two live ones (the other
/// must end), the newer of two reported ones.
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
    let is_incomplete = !left.iter().all(|stays| *stays);
    let left = vertices.into_iter().zip(left).filter(|(_, stays)| *stays);
    CandidateMembers { nodes: left.map(|(node, _)| node.clone()).collect(), is_incomplete }
}

/// The common case: all observations are equal, and their nodes are those that have one.
fn unanimous(rows: &[Observation<'_>], is_out: &impl Fn(&NodeId) -> bool) -> Option<Vec<NodeId>> {
    let (first, rest) = rows.split_first()?;
    let same = first.reachable.len() == rows.len()
        && rest.iter().all(|row| row.hash == first.hash)
        && rows.iter().all(|row| first.reachable.binary_search(row.node).is_ok())
        && first.reachable.iter().map(NodeId::name).collect::<BTreeSet<_>>().len() == rows.len()
        && !first.reachable.iter().any(is_out);
    same.then(|| first.reachable.to_vec())
}

/// A hash of these nodes.
pub(crate) fn hash_nodes(nodes: &[NodeId]) -> u64 {
    nodes
        .iter()
        .fold(nodes.len() as u64, |hash, node| xxh3_64_with_seed(&node.incarnation().0.to_le_bytes(), hash))
}

/// The set of those `vertices` that are in `nodes`; both are sorted.
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
    let mut live: Vec<&NodeId> = rows.iter().map(|row| row.node).collect();
    live.sort();
    let distinct: BTreeMap<u64, &'a [NodeId]> = rows.iter().map(|row| (row.hash, row.reachable)).collect();
    let mut all = live.clone();
    for reported in distinct.into_values() {
        merge(&mut all, reported);
    }
    all.retain(|node| !is_out(node));
    let mut by_name: BTreeMap<&NodeName, &NodeId> = BTreeMap::new();
    // The nodes come in order of age, so the one in place is the older.
    for node in all {
        by_name
            .entry(node.name())
            .and_modify(|kept| {
                if live.binary_search(kept).is_err() {
                    *kept = node;
                }
            })
            .or_insert(node);
    }
    let mut vertices: Vec<&NodeId> = by_name.into_values().collect();
    vertices.sort();
    vertices
}

/// Adds the nodes of `reported` that are not in `all`; both are sorted. Most nodes are reported by most peers, so mostly one
/// pass finds that none is missing.
fn merge<'a>(all: &mut Vec<&'a NodeId>, reported: &'a [NodeId]) {
    let known = all.len();
    let mut at = 0;
    for node in reported {
        while at < known && all[at] < node {
            at += 1;
        }
        if at == known || all[at] != node {
            all.push(node);
        }
    }
    if all.len() > known {
        all.sort();
    }
}

/// Which vertices reach each other, as one row of bits for each.
struct Graph {
    edges: Vec<Vec<u64>>,
}

impl Graph {
    /// Two vertices have an edge if at least one of them has an observation and no observation denies it.
    fn new(vertices: &[&NodeId], rows: &[Observation<'_>]) -> Self {
        let words = vertices.len().div_ceil(64);
        let mut reachable: Vec<Option<Rc<[u64]>>> = vec![None; vertices.len()];
        // Most nodes report the same nodes.
        let mut known: BTreeMap<u64, Rc<[u64]>> = BTreeMap::new();
        for row in rows {
            let Ok(at) = vertices.binary_search(&row.node) else { continue };
            let bits = known.entry(row.hash).or_insert_with(|| bitset(vertices, row.reachable, words));
            reachable[at] = Some(Rc::clone(bits));
        }
        let mut edges = vec![vec![0_u64; words]; vertices.len()];
        let says = |a: usize, b: usize| reachable[a].as_ref().map(|bits| bits[b / 64] >> (b % 64) & 1 == 1);
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

    /// Takes time in the square of the vertices: a peer may report thousands of nodes that no other node reaches.
    fn greedy_clique(&self) -> Vec<bool> {
        let mut stays = vec![true; self.edges.len()];
        // How many edges each vertex has to the remaining ones.
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
        incarnation(n, n, n)
    }

    fn incarnation(n: u64, incarnation: u64, started: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(incarnation), started)
    }

    fn row<'a>(node: &'a NodeId, reachable: &'a [NodeId]) -> Observation<'a> {
        Observation { node, reachable, hash: hash_nodes(reachable) }
    }

    fn clique(rows: &[(NodeId, Vec<NodeId>)]) -> Vec<NodeId> {
        let rows: Vec<Observation<'_>> = rows.iter().map(|(node, reachable)| row(node, reachable)).collect();
        candidate_members(&rows, |_| false).nodes
    }

    fn rows(edges: &[(u64, &[u64])]) -> Vec<(NodeId, Vec<NodeId>)> {
        edges.iter().map(|(n, reachable)| (node(*n), reachable.iter().map(|h| node(*h)).collect())).collect()
    }

    #[test]
    fn all_nodes_that_reach_each_other_are_candidate_members() {
        let mesh = rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 2, 3])]);
        assert_eq!(clique(&mesh), [node(1), node(2), node(3)]);
    }

    #[test]
    fn one_cut_pair_costs_the_younger_of_the_two() {
        let cut = rows(&[(1, &[1, 2, 3]), (2, &[1, 2]), (3, &[1, 3])]);
        assert_eq!(clique(&cut), [node(1), node(2)]);
    }

    #[test]
    fn a_reachable_or_reported_node_that_is_left_out_makes_the_candidate_incomplete() {
        let lacks = |rows: &[(NodeId, Vec<NodeId>)]| {
            let rows: Vec<Observation<'_>> =
                rows.iter().map(|(node, reachable)| row(node, reachable)).collect();
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
        assert_eq!(clique(&cut), [node(1), node(2)]);
    }

    #[test]
    fn the_node_that_lacks_most_edges_is_dropped_even_if_it_is_the_oldest() {
        let cut = rows(&[(1, &[1, 2]), (2, &[1, 2, 3, 4]), (3, &[2, 3, 4]), (4, &[2, 3, 4])]);
        assert_eq!(clique(&cut), [node(2), node(3), node(4)]);
    }

    #[test]
    fn a_node_that_is_only_reported_is_no_candidate_member() {
        let heard_of = rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3, 4]), (3, &[1, 2, 3])]);
        assert_eq!(clique(&heard_of), [node(1), node(2), node(3)]);
    }

    #[test]
    fn of_two_incarnations_of_one_name_the_live_one_is_a_candidate_member() {
        let (old, new) = (incarnation(3, 30, 3), incarnation(3, 31, 9));
        let rows = vec![
            (node(1), vec![node(1), node(2), new.clone()]),
            (node(2), vec![node(1), node(2), old.clone(), new.clone()]),
            (new.clone(), vec![node(1), node(2), new.clone()]),
        ];
        assert_eq!(clique(&rows), [node(1), node(2), new]);
    }

    #[test]
    fn a_leaving_node_is_no_candidate_member() {
        let mesh = rows(&[(1, &[1, 2]), (2, &[1, 2])]);
        let rows: Vec<Observation<'_>> = mesh.iter().map(|(node, reachable)| row(node, reachable)).collect();
        assert_eq!(
            candidate_members(&rows, |n| *n == node(1)),
            CandidateMembers { nodes: vec![node(2)], is_incomplete: false }
        );
    }

    /// The same rule without bit sets: while two nodes lack an edge, the one that lacks the most goes, the youngest of several.
    fn plainly(rows: &[(NodeId, Vec<NodeId>)]) -> Vec<NodeId> {
        let word = |node: &NodeId| rows.iter().find(|(of, _)| of == node).map(|(_, reachable)| reachable);
        let mut left: Vec<NodeId> =
            rows.iter().flat_map(|(node, reachable)| reachable.iter().chain([node])).cloned().collect();
        left.sort();
        left.dedup();
        loop {
            let edge = |a: &NodeId, b: &NodeId| {
                let words = [(word(a), b), (word(b), a)];
                let has_word = words.iter().any(|(word, _)| word.is_some());
                has_word
                    && words
                        .iter()
                        .all(|(word, other)| word.is_none_or(|reachable| reachable.contains(other)))
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
    fn for_random_observations_the_clique_is_what_the_plain_rule_finds() {
        let mut random = crate::backoff::Xorshift::new(5);
        let mut next = |max: u64| (random.next_u64() >> 33) % max;
        for turn in 0..200 {
            // Sometimes more vertices than a word has bits.
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
            assert_eq!(clique(&reports), plainly, "turn {turn}: {reports:?}");
        }
    }

    #[test]
    fn merged_nodes_are_each_there_once_in_order_of_age() {
        let cases: [(&[u64], &[u64]); 7] = [
            (&[2, 4], &[]),
            (&[], &[1, 2]),
            (&[2, 4], &[2, 4]),
            (&[2, 4], &[1, 2, 3]),
            (&[2, 4], &[3, 4, 5]),
            (&[1, 3, 5, 7], &[5, 7]),
            (&[1, 3], &[4, 5]),
        ];
        for (known, reported) in cases {
            let [known, reported] = [known, reported].map(|nodes| nodes.iter().map(|n| node(*n)).collect());
            let (known, reported): (Vec<NodeId>, Vec<NodeId>) = (known, reported);
            let union: BTreeSet<&NodeId> = known.iter().chain(&reported).collect();
            let mut all: Vec<&NodeId> = known.iter().collect();
            merge(&mut all, &reported);
            assert!(all.iter().eq(&union), "{known:?} and {reported:?} become {all:?}");
        }
    }

    #[test]
    fn of_two_incarnations_of_one_name_that_are_only_reported_the_newer_is_a_vertex() {
        let (old, new) = (incarnation(3, 30, 3), incarnation(3, 31, 9));
        // No node reaches both incarnations, so neither displaces another node.
        let rows = [
            (node(1), vec![node(1), node(2), old.clone(), new.clone()]),
            (node(2), vec![node(1), node(2), new.clone()]),
        ];
        let reports: Vec<Observation<'_>> =
            rows.iter().map(|(node, reachable)| row(node, reachable)).collect();
        assert_eq!(vertices(&reports, |_| false), [&node(1), &node(2), &new]);
        let both_live = [row(&old, &rows[0].1), row(&new, &rows[0].1)];
        assert_eq!(vertices(&both_live, |_| false), [&node(1), &node(2), &old]);
    }

    #[test]
    fn equal_observations_are_the_clique_only_if_each_node_has_an_observation_and_a_name_of_its_own() {
        let (old, new) = (incarnation(3, 30, 3), incarnation(3, 31, 9));
        let in_two_incarnations = vec![old.clone(), new.clone()];
        let rows = [(old.clone(), in_two_incarnations.clone()), (new, in_two_incarnations)];
        assert_eq!(clique(&rows), [old]);
        // Both report a third node, which has no observation.
        let third = self::rows(&[(1, &[1, 2, 3]), (2, &[1, 2, 3])]);
        assert_eq!(clique(&third), plainly(&third));
        // Two observations of equally many but different nodes.
        let other = self::rows(&[(1, &[1, 2]), (2, &[2, 3])]);
        assert_eq!(clique(&other), plainly(&other));
    }
}
