//! Which nodes this node reaches, and the candidate members of the next view.

use std::sync::Arc;
use std::time::Duration;

use super::state::{MemberState, Node, Reachability};
use crate::candidate::{CandidateMembers, Observation, candidate_members, hash_nodes};
use crate::name::NodeId;
use crate::peer::Peer;
use crate::rule::Rule;
use crate::view::View;

/// The processor time of a candidate for each pair of nodes, many times over. While a cluster assembles, all reports differ and come one by
/// one, and there are more nodes than processors.
const CANDIDATE_COST: Duration = Duration::from_micros(5);

/// The maximal time that a report waits for the next computation.
const MAX_CANDIDATE_INTERVAL: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn refresh_reachability(&mut self) {
        if !self.deadlines.take_reachability_changed(self.now) {
            return;
        }
        let (now, repair) = (self.now, self.settings.timing.reconnect_grace());
        let reachable =
            self.peers.values().filter(|peer| peer.is_reachable(now, repair)).map(|peer| &peer.member.id);
        let same = self.reachability.nodes.iter().filter(|node| **node != self.me).eq(reachable.clone());
        if same {
            return;
        }
        let mut nodes: Vec<NodeId> = reachable.cloned().chain([self.me.clone()]).collect();
        nodes.sort();
        self.reachability = Reachability {
            hash: hash_nodes(&nodes),
            nodes: nodes.into(),
            version: self.reachability.version + 1,
        };
        self.candidate.stale = true;
    }

    pub(super) fn refresh_candidate(&mut self) {
        if !self.candidate.stale || self.now < self.candidate.not_before {
            return;
        }
        let CandidateMembers { nodes, is_incomplete } = if self.settings.enabled(Rule::CommonCandidate) {
            let mine = Observation {
                node: &self.me,
                reachable: &self.reachability.nodes,
                hash: self.reachability.hash,
            };
            let rows: Vec<Observation<'_>> = self.observations().chain([mine]).collect();
            let leaving = self.peers.values().filter(|peer| peer.is_leaving()).map(|peer| &peer.member.id);
            let leaving: Vec<&NodeId> = leaving.collect();
            candidate_members(&rows, |node| leaving.binary_search(&node).is_ok())
        } else {
            let leaves = |node: &&NodeId| self.peers.get(*node).is_some_and(Peer::is_leaving);
            let nodes = self.reachability.nodes.iter().filter(|node| !leaves(node)).cloned().collect();
            CandidateMembers { nodes, is_incomplete: false }
        };
        let nodes = self.without_objectors(nodes);
        self.candidate.stale = false;
        self.candidate.is_incomplete = is_incomplete;
        self.candidate.not_before = self.now + self.candidate_interval();
        if nodes != self.candidate.nodes {
            self.candidate.includes_self = nodes.binary_search(&self.me).is_ok();
            self.candidate.nodes = nodes;
            self.candidate.changed_at = self.now;
            self.candidate.unsettled_since.get_or_insert(self.now);
        }
        self.refresh_objection();
    }

    /// The minimal time between two computations of the candidate.
    pub(super) fn candidate_interval(&self) -> Duration {
        let nodes = u32::try_from(self.reachability.nodes.len()).unwrap_or(u32::MAX);
        CANDIDATE_COST.saturating_mul(nodes.saturating_mul(nodes)).min(MAX_CANDIDATE_INTERVAL)
    }

    /// Which nodes each reachable peer reports as reachable.
    pub(super) fn observations(&self) -> impl Iterator<Item = Observation<'_>> {
        let reachable = self.reachability.nodes.iter().filter_map(|node| self.peers.get(node));
        reachable.filter(|peer| !peer.reachable.is_empty()).map(|peer| Observation {
            node: &peer.member.id,
            reachable: &peer.reachable,
            hash: peer.reachable_hash,
        })
    }

    /// The views that the candidate members come from, as far as this node knows.
    pub(super) fn base_views(&self) -> impl Iterator<Item = &View> {
        self.installed.iter().chain(&self.maybe_installed).map(Arc::as_ref)
    }

    pub(super) fn check_left_out(&mut self) {
        let out = match self.member_state {
            MemberState::Installed(_) => !self.candidate.includes_self,
            MemberState::Promised(_) => {
                !self.candidate.includes_self || !self.is_viable(&self.candidate.nodes)
            }
            MemberState::Assembling | MemberState::Leaving { .. } | MemberState::Left => false,
        };
        if !out {
            self.candidate.left_out_since = None;
            return;
        }
        let since = *self.candidate.left_out_since.get_or_insert(self.now);
        if self.now >= since + self.settings.timing.left_out_after() {
            self.step_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::name::Incarnation;
    use crate::settings::Settings;
    use crate::time::Time;
    use crate::view::Member;

    #[test]
    fn a_candidate_is_computed_less_often_the_more_it_costs_and_at_least_ten_times_a_second() {
        let id = |n: u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n);
        let settings = Settings::new(Member::without_tags(id(0)), NonZeroUsize::MIN, 1);
        let mut node = Node::new(settings, Time::from_nanos(1));
        let mut pause = |reached: u64| {
            node.reachability.nodes = (0..reached).map(id).collect();
            node.candidate_interval().as_micros()
        };
        assert_eq!([1, 2, 10, 1_000].map(&mut pause), [5, 20, 500, 100_000]);
    }

    #[test]
    fn a_candidate_contains_a_view_if_it_contains_each_member() {
        let ids = |ns: &[u64]| -> Vec<NodeId> {
            let id = |n: &u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(*n), *n);
            ns.iter().map(id).collect()
        };
        let settings = Settings::new(Member::without_tags(ids(&[1]).remove(0)), NonZeroUsize::MIN, 1);
        let mut target = Node::new(settings, Time::from_nanos(1)).candidate;
        target.nodes = ids(&[1, 3, 5]);
        for (view, has_all) in
            [(&[][..], true), (&[1, 5], true), (&[3], true), (&[1, 2], false), (&[6], false)]
        {
            assert_eq!(target.contains_all(ids(view).iter()), has_all, "{view:?}");
        }
    }
}
