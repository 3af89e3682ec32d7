//! Reports for people: what a node knows of its peers, and why it is not up.

use std::sync::Arc;
use std::time::Duration;

use super::leavers_grants::LeaversGrants;
use super::state::{MemberState, Node};
use crate::event::LinkId;
use crate::majority::{Shortfall, Succession};
use crate::name::NodeId;
use crate::obstacle::Obstacle;
use crate::time::Time;
use crate::view::Member;

/// What a node knows of a peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerReport {
    /// The peer.
    pub member: Member,
    /// The open link to it, if there is one.
    pub link: Option<LinkId>,
    /// When the last byte came in.
    pub last_heard: Time,
    /// The nodes that it reports as reachable.
    pub reach: Arc<[NodeId]>,
}

impl Node {
    /// What this node knows of every peer it is or was linked to, in order of age.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerReport> {
        self.peers
            .values()
            .map(|peer| PeerReport {
                member: peer.member.clone(),
                link: peer.open(),
                last_heard: peer.last_received,
                reach: Arc::clone(&peer.reachable),
            })
            .collect()
    }

    /// Why this node is not `Up` at `now`; empty when it is.
    pub fn obstacles(&self, now: Time) -> Vec<Obstacle> {
        match &self.member_state {
            MemberState::Leaving { .. } | MemberState::Left => vec![Obstacle::Leaving],
            MemberState::Installed(bound) if bound.lease_until.is_some_and(|until| now < until) => Vec::new(),
            MemberState::Installed(_) => vec![Obstacle::WaitsForLease { epoch: self.installed_epoch() }],
            MemberState::Promised(promise) => {
                let waits_for = self.round.as_ref().map_or_else(Vec::new, |round| round.waits_for());
                let mut obstacles = self.clocks_apart();
                obstacles.push(Obstacle::Round { epoch: promise.view.epoch(), waits_for });
                // If the round is aborted, the next one waits for this.
                obstacles.extend(self.waits_for_grants(now));
                obstacles
            }
            MemberState::Assembling => self.obstacles_to_a_round(now),
        }
    }

    fn waits_for_grants(&self, now: Time) -> Option<Obstacle> {
        let LeaversGrants { leaver, holders, until } = self.leavers_grants(&self.candidate.nodes)?;
        (now < until).then(|| Obstacle::LeaversGrants { leaver, holders, remaining: until.since(now) })
    }

    fn obstacle_to_succession(&self, candidate: &[NodeId], shortfall: Shortfall) -> Obstacle {
        let by = self.left_out_by();
        match self.obstacle(candidate, shortfall) {
            Obstacle::TooFewMembers { missing, has_state_file, .. } if !by.is_empty() => {
                let missing = missing.into_iter().map(|(id, _)| id).collect();
                Obstacle::LeftBehind { by, missing, has_state_file }
            }
            Obstacle::TooSmall { gone, .. } if !by.is_empty() => {
                Obstacle::LeftBehind { by, missing: gone, has_state_file: self.has_state_file() }
            }
            obstacle => obstacle,
        }
    }

    /// What keeps enough nodes from a round although only time has to pass.
    fn waits_for_time(&self, candidate: &[NodeId], succession: Succession, now: Time) -> Vec<Obstacle> {
        let outside = still_counting(self.leases_outside(candidate), now);
        let recent = still_counting(self.forgetful_members(candidate, succession), now);
        let waits: Vec<Obstacle> = outside
            .map(|(holders, remaining)| Obstacle::LeasesOutside { holders, remaining })
            .into_iter()
            .chain(self.waits_for_grants(now))
            .chain(recent.map(|(nodes, remaining)| Obstacle::RecentStarts { nodes, remaining }))
            .collect();
        match candidate.first() {
            Some(proposer) if waits.is_empty() => {
                vec![Obstacle::WaitsForRound { proposer: proposer.clone() }]
            }
            _ => waits,
        }
    }

    fn obstacles_to_a_round(&self, now: Time) -> Vec<Obstacle> {
        let candidate = &self.candidate.nodes;
        let mut obstacles = self.clocks_apart();
        if let Some(cause) = self.persist_error() {
            obstacles.push(Obstacle::NotPersisted { cause: cause.to_owned() });
        }
        if !candidate.contains(&self.me) {
            obstacles.push(Obstacle::LeftOut { candidate: candidate.clone() });
        } else {
            match self.succession(candidate) {
                Err(shortfall) => obstacles.push(self.obstacle_to_succession(candidate, shortfall)),
                Ok(succession) => obstacles.extend(self.waits_for_time(candidate, succession, now)),
            }
        }
        if !self.discovery.complete {
            obstacles.push(Obstacle::NotDiscovered);
        }
        obstacles.extend(self.discovery.unverified.iter().cloned().map(Obstacle::Unverified));
        obstacles.extend(self.inconclusive_addresses().cloned().map(Obstacle::RefusalInconclusive));
        obstacles
    }
}

/// The nodes whose time is not over at `now`, and the longest remaining time.
fn still_counting(nodes: Vec<(NodeId, Time)>, now: Time) -> Option<(Vec<NodeId>, Duration)> {
    let counting: Vec<(NodeId, Time)> = nodes.into_iter().filter(|(_, until)| now < *until).collect();
    let last = counting.iter().map(|(_, until)| *until).max()?;
    Some((counting.into_iter().map(|(id, _)| id).collect(), last.since(now)))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::state::Installed;
    use super::*;
    use crate::hello::PeerTerms;
    use crate::lease::Grants;
    use crate::name::Incarnation;
    use crate::settings::Settings;
    use crate::split::SplitPolicy;
    use crate::view::Epoch;
    use crate::view::View;

    fn node(host: &str) -> NodeId {
        NodeId::new(format!("app@{host}:1").parse().unwrap(), Incarnation(1), 1)
    }

    #[test]
    fn a_node_reports_what_it_knows_of_each_peer_and_whether_it_may_act_now() {
        let start = Time::from_nanos(1_000_000_000);
        let settings = Settings::new(Member::without_tags(node("a")), NonZeroUsize::MIN, 1);
        let mut known = Node::new(settings, start);
        for (link, letter) in [(2, "c"), (1, "b")] {
            let terms = PeerTerms::new(Duration::from_secs(2));
            known.on_linked(LinkId(link), Member::without_tags(node(letter)), terms);
        }
        known.on_unlinked(LinkId(2), start);
        let peers: Vec<(NodeId, Option<LinkId>, Time)> =
            known.peers().into_iter().map(|peer| (peer.member.id, peer.link, peer.last_heard)).collect();
        assert_eq!(peers, [(node("b"), Some(LinkId(1)), start), (node("c"), None, start)]);

        let until = start + Duration::from_secs(1);
        let grants = Grants::default();
        known.member_state = MemberState::Installed(Installed {
            since: start,
            grants,
            had_lease: true,
            lease_until: Some(until),
            drain_until: None,
        });
        assert_eq!(known.obstacles(until - Duration::from_nanos(1)), []);
        assert_eq!(known.obstacles(until), [Obstacle::WaitsForLease { epoch: Epoch::ZERO }]);
    }

    #[test]
    fn leases_and_recent_starts_that_are_waited_for_are_reported_until_their_time_is_over() {
        let start = Time::from_nanos(1_000_000_000);
        let mut settings = Settings::new(Member::without_tags(node("a")), NonZeroUsize::MIN, 1);
        settings.split = SplitPolicy::Consensus;
        let mut waiting = Node::new(settings, start);
        let terms = PeerTerms::new(Duration::from_secs(2));
        waiting.on_linked(LinkId(1), Member::without_tags(node("c")), terms);
        waiting.on_unlinked(LinkId(1), start);
        let members = vec![Member::without_tags(node("a")), Member::without_tags(node("c"))];
        waiting.installed = Some(Arc::new(View::new(Epoch::from_u64(7), members)));
        waiting.candidate.nodes = vec![node("a")];
        waiting.discovery.complete = true;

        let guard = Duration::from_millis(2_100);
        let lease = |remaining| Obstacle::LeasesOutside { holders: vec![node("c")], remaining };
        let recent = |remaining| Obstacle::RecentStarts { nodes: vec![node("a")], remaining };
        assert_eq!(waiting.obstacles(start), [lease(guard), recent(guard)]);
        let last = Duration::from_nanos(1);
        assert_eq!(waiting.obstacles(start + guard - last), [lease(last), recent(last)]);
        assert_eq!(waiting.obstacles(start + guard), [Obstacle::WaitsForRound { proposer: node("a") }]);
    }
}
