//! Which views a proposed view follows, or whether it may begin a cluster: the facts for the split policy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::state::{MemberState, Node};
use crate::change::DownReason;
use crate::majority::{self, MemberCounts, Shortfall, Succession};
use crate::name::{Address, NodeId};
use crate::obstacle::{AbsentAddress, Obstacle};
use crate::peer::{Peer, Report};
use crate::rule::Rule;
use crate::split::{SplitPolicy, partition_survives};
use crate::time::Time;
use crate::view::{Epoch, View};

/// After how long without a link a discovered address does not count any more as a node that may be elsewhere. A cluster that
/// begins survives no longer cut.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(60);

impl Node {
    /// Whether `partition`, in order of age, may be a cluster.
    pub(super) fn is_viable(&self, partition: &[NodeId]) -> bool {
        self.succession(partition).is_ok()
    }

    /// How a view of `partition`, in order of age, relates to the views before it.
    pub(super) fn succession(&self, partition: &[NodeId]) -> Result<Succession, Shortfall> {
        let consensus = self.settings.consensus.get();
        if self.settings.split != SplitPolicy::Majority {
            let leaves = matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left);
            let has_left = |id: &NodeId| self.is_leaving(id) || (leaves && *id == self.me);
            return match partition_survives(
                self.settings.split,
                consensus,
                self.base_views(),
                partition,
                has_left,
            ) {
                true => Ok(Succession::Joins),
                false if partition.len() < consensus => Err(Shortfall::BelowConsensus { needed: consensus }),
                false => Err(Shortfall::TooFewMembers { base: 0 }),
            };
        }
        let newest = self.newest_installed(partition);
        let base_views = self.binding_views(newest);
        let counts: Vec<MemberCounts> =
            base_views.iter().map(|base| self.count_members(base, partition)).collect();
        let is_enabled = |rule| self.settings.enabled(rule);
        let rivals = || self.rivals(partition);
        majority::decide_succession(
            consensus,
            partition.len(),
            &counts,
            newest > Epoch::ZERO,
            rivals,
            is_enabled,
        )
    }

    /// The greatest epoch that a member of `view` reports as the one of its newest installed view; `None` if none has installed any.
    #[must_use]
    pub fn predecessor(&self, view: &View) -> Option<Epoch> {
        let members: Vec<NodeId> = view.ids().cloned().collect();
        Some(self.newest_installed(&members)).filter(|epoch| *epoch > Epoch::ZERO)
    }

    /// The newest view that a node of `partition` reports as installed.
    pub(super) fn newest_installed(&self, partition: &[NodeId]) -> Epoch {
        let installed = |id: &NodeId| match self.peers.get(id) {
            Some(peer) => peer.report.map_or(Epoch::ZERO, |report| report.installed),
            None if *id == self.me => self.installed_epoch(),
            None => Epoch::ZERO,
        };
        partition.iter().map(installed).max().unwrap_or(Epoch::ZERO)
    }

    /// The views that this node must follow: its own ones not older than `newest`, and those of the leavers that it discounts.
    ///
    /// A node without a view takes those of all leavers that it knows, if no member has a view.
    pub(super) fn binding_views(&self, newest: Epoch) -> Vec<&View> {
        let counts = |view: &View| view.epoch() >= newest || !self.settings.enabled(Rule::NewerSupersedes);
        let mut found: BTreeMap<Epoch, &View> = BTreeMap::new();
        let mut new: VecDeque<&View> = self.base_views().filter(|view| counts(view)).collect();
        if new.is_empty() && newest == Epoch::ZERO {
            let recent = self.goodbyes.all().filter(|learned| self.now < learned.at + FORGET_AFTER);
            new.extend(recent.flat_map(|learned| &learned.base_views).map(Arc::as_ref));
        }
        while let Some(base) = new.pop_front() {
            if found.insert(base.epoch(), base).is_some() {
                continue;
            }
            let left = base.ids().filter(|incarnation| self.has_left(incarnation));
            let handed = left
                .filter_map(|incarnation| self.goodbyes.get(incarnation))
                .flat_map(|learned| &learned.base_views);
            new.extend(handed.map(Arc::as_ref).filter(|view| counts(view)));
        }
        found.into_values().collect()
    }

    /// Why the nodes of `partition` may not be a cluster, with all details.
    pub(super) fn obstacle(&self, partition: &[NodeId], shortfall: Shortfall) -> Obstacle {
        let present = partition.to_vec();
        match shortfall {
            Shortfall::BelowConsensus { needed } => Obstacle::TooFew { present, needed },
            Shortfall::TooFewMembers { .. } if !self.follows_majority() => Obstacle::NotViable { present },
            Shortfall::TooFewMembers { base } => {
                let base_views = self.binding_views(self.newest_installed(partition));
                if let Some(obstacle) =
                    base_views.iter().find_map(|base| self.remembered_obstacle(base, partition))
                {
                    return obstacle;
                }
                let Some(base) = base_views.get(base) else { return Obstacle::NotViable { present } };
                let (here, away): (Vec<&NodeId>, Vec<&NodeId>) =
                    base.ids().partition(|id| partition.binary_search(id).is_ok());
                let missing = away.into_iter().filter(|id| !self.has_left(id));
                let missing: Vec<(NodeId, DownReason)> =
                    missing.map(|id| (id.clone(), self.down_reason_of(id))).collect();
                let of = here.len() + missing.len();
                let mut leavers = base.ids().filter(|_| !base.contains(&self.me));
                let left_from = leavers.find(|id| self.has_left(id)).cloned();
                let here = here.into_iter().cloned().collect();
                Obstacle::TooFewMembers {
                    here,
                    needed: of / 2 + 1,
                    of,
                    missing,
                    left_from,
                    has_state_file: self.has_state_file(),
                }
            }
            Shortfall::BelowSize { size, needed } => {
                let ids = self.installed.iter().flat_map(|view| view.ids());
                let gone = ids.filter(|id| partition.binary_search(id).is_err() && !self.has_left(id));
                Obstacle::TooSmall { here: partition.len(), size, needed, gone: gone.cloned().collect() }
            }
            Shortfall::Rivals { .. } => {
                let absent = self.absent().map(|(address, since)| AbsentAddress {
                    address: address.clone(),
                    refuses: self.discovery.refusing.contains(address),
                    counts_for: (since + FORGET_AFTER).since(self.now),
                });
                let outside = self.outside(partition).map(|peer| peer.member.id.clone());
                let (here, consensus) = (partition.len(), self.settings.consensus.get());
                Obstacle::Rivals { here, consensus, absent: absent.collect(), outside: outside.collect() }
            }
        }
    }

    /// Which members of a remembered view these nodes have to wait for, if any.
    fn remembered_obstacle(&self, base: &View, partition: &[NodeId]) -> Option<Obstacle> {
        let former = self.former().iter().find(|incarnation| base.contains(incarnation))?;
        let may_run =
            |id: &&NodeId| partition.binary_search(id).is_err() && !self.has_left(id) && !self.has_exited(id);
        let waits_for: Vec<(NodeId, DownReason)> =
            base.ids().filter(may_run).map(|id| (id.clone(), self.down_reason_of(id))).collect();
        let left_at = self.goodbyes.get(former).map(|learned| learned.at);
        let forgotten_in = left_at.map(|at| (at + FORGET_AFTER).since(self.now));
        let of = base.ids().cloned().collect();
        (!waits_for.is_empty()).then_some(Obstacle::Remembers { of, waits_for, forgotten_in })
    }

    fn down_reason_of(&self, id: &NodeId) -> DownReason {
        let known = self.peers.get(id).and_then(Peer::down_reason);
        known.unwrap_or(if self.has_exited(id) { DownReason::Crashed } else { DownReason::Unreachable })
    }

    fn count_members(&self, base: &View, partition: &[NodeId]) -> MemberCounts {
        let mut counts =
            MemberCounts { size: base.size(), members: base.members().len(), ..MemberCounts::default() };
        let by_incarnation = self.settings.enabled(Rule::IncarnationsNotNames);
        for incarnation in base.ids() {
            let same_name = || partition.iter().any(|id| id.name() == incarnation.name());
            if partition.binary_search(incarnation).is_ok() || (!by_incarnation && same_name()) {
                counts.present += 1;
            } else if self.has_left(incarnation) {
                counts.left += 1;
            } else if self.has_exited(incarnation) {
                counts.exited += 1;
            }
        }
        counts
    }

    /// How many nodes may be a cluster elsewhere: discovered addresses that are not linked, and linked nodes outside of `partition`.
    fn rivals(&self, partition: &[NodeId]) -> usize {
        self.absent().count() + self.outside(partition).count()
    }

    /// The discovered addresses that are not linked, each with since when, as long as they count.
    fn absent(&self) -> impl Iterator<Item = (&Address, Time)> {
        let open = self.peers.values().filter(|peer| peer.open().is_some());
        let linked: BTreeSet<&Address> = open.filter_map(|peer| peer.member.id.name().address()).collect();
        let counts = move |(address, since): &(&Address, Time)| {
            self.now < *since + FORGET_AFTER && !linked.contains(address)
        };
        self.absent.iter().map(|(address, since)| (address, *since)).filter(counts)
    }

    /// The linked nodes that are not in `partition` or have sent no heartbeat, and have not left.
    fn outside(&self, partition: &[NodeId]) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(move |peer| {
            let id = &peer.member.id;
            let is_in = partition.binary_search(id).is_ok() && peer.is_live();
            peer.open().is_some() && !is_in && !self.has_left(id)
        })
    }

    /// Takes in the discovered addresses; those that are not linked count from now on.
    pub(super) fn update_absent(&mut self, named: BTreeSet<Address>) {
        self.absent.retain(|address, _| named.contains(address));
        for address in named {
            self.absent.entry(address).or_insert(self.now);
        }
    }

    /// Updates whether this node objects: it can neither follow nor begin with the candidate members, or can acknowledge no view.
    pub(super) fn refresh_objection(&mut self) {
        let candidate = &self.candidate.nodes;
        let is_settled = match (&self.member_state, &self.installed) {
            (MemberState::Installed(_), Some(view)) => view.ids().eq(candidate),
            (MemberState::Leaving { .. } | MemberState::Left, _) => true,
            _ => false,
        };
        self.objects = self.follows_majority()
            && !is_settled
            && candidate.len() > 1
            && candidate.binary_search(&self.me).is_ok()
            && (self.persist_error().is_some() || !self.is_viable(candidate));
    }

    /// The candidate members without those that object, if the rest can follow. Never in order to begin: a node that remembers a
    /// view may veto a beginning.
    pub(super) fn without_objectors(&self, nodes: Vec<NodeId>) -> Vec<NodeId> {
        if !self.settings.enabled(Rule::Objections) {
            return nodes;
        }
        let objects = |id: &NodeId| self.peers.get(id).is_some_and(Peer::objects);
        let rest: Vec<NodeId> = nodes.iter().filter(|id| !objects(id)).cloned().collect();
        if rest.len() == nodes.len() || rest.is_empty() {
            return nodes;
        }
        match self.succession(&rest) {
            Ok(Succession::Follows { .. } | Succession::Joins) => rest,
            Ok(Succession::Begins) | Err(_) => nodes,
        }
    }

    /// The members of a foreign view that go on without this node, which can neither follow nor begin with them.
    pub(super) fn left_out_by(&self) -> Vec<NodeId> {
        if !self.objects {
            return Vec::new();
        }
        let goes_on = |id: &&NodeId| {
            let report = self.peers.get(*id).and_then(|peer| peer.report).filter(Report::is_participating);
            report.is_some_and(|report| self.base_views().all(|base| base.epoch() != report.installed))
        };
        self.candidate.nodes.iter().filter(goes_on).cloned().collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::message::Heartbeat;
    use crate::name::Incarnation;
    use crate::peer::Report;
    use crate::settings::Settings;
    use crate::view::Member;

    fn member(n: u64) -> Member {
        Member::without_tags(NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n))
    }

    pub(in super::super) fn ids(ns: &[u64]) -> Vec<NodeId> {
        ns.iter().map(|n| member(*n).id).collect()
    }

    pub(in super::super) fn view(epoch: u64, members: &[u64]) -> Arc<View> {
        Arc::new(View::new(Epoch::from_u64(epoch), members.iter().map(|n| member(*n)).collect()))
    }

    /// Node `me`, for which views need two members.
    pub(in super::super) fn node(me: u64, split: SplitPolicy) -> Node {
        let mut settings = Settings::new(member(me), NonZeroUsize::MIN.saturating_add(1), 1);
        settings.split = split;
        Node::new(settings, Time::from_nanos(1_000_000_000))
    }

    pub(in super::super) fn link(node: &mut Node, n: u64) {
        node.on_linked(LinkId(n), member(n), PeerTerms::new(Duration::from_secs(2)));
        node.peers.get_mut(&member(n).id).expect("it is linked").heartbeat_seen = true;
    }

    #[test]
    fn without_its_oldest_member_a_view_goes_on_under_keep_oldest_only_if_that_one_leaves() {
        let mut oldest = node(1, SplitPolicy::KeepOldest);
        oldest.installed = Some(view(7, &[1, 2, 3]));
        assert_eq!(oldest.succession(&ids(&[1, 2])), Ok(Succession::Joins));
        assert_eq!(oldest.succession(&ids(&[2, 3])), Err(Shortfall::TooFewMembers { base: 0 }));
        assert_eq!(oldest.succession(&ids(&[2])), Err(Shortfall::BelowConsensus { needed: 2 }));
        oldest.member_state = MemberState::Leaving { since: oldest.now, held: false, kept_lease: None };
        assert_eq!(oldest.succession(&ids(&[2, 3])), Ok(Succession::Joins), "this node is on its way out");

        let mut second = node(2, SplitPolicy::KeepOldest);
        second.installed = Some(view(7, &[1, 2, 3]));
        second.member_state = MemberState::Leaving { since: second.now, held: false, kept_lease: None };
        assert_eq!(
            second.succession(&ids(&[3, 4])),
            Err(Shortfall::TooFewMembers { base: 0 }),
            "the oldest does not leave"
        );
    }

    #[test]
    fn of_a_node_that_is_not_known_no_view_is_known() {
        let mut node = node(1, SplitPolicy::Majority);
        node.installed = Some(view(7, &[1, 2]));
        assert_eq!(node.newest_installed(&ids(&[1, 2])), Epoch::from_u64(7));
        assert_eq!(node.newest_installed(&ids(&[2])), Epoch::ZERO);
        assert_eq!(node.predecessor(&view(8, &[1, 2])), Some(Epoch::from_u64(7)));
        assert_eq!(node.predecessor(&view(8, &[2, 3])), None);
    }

    #[test]
    fn a_node_without_a_view_counts_what_leavers_handed_over_for_a_minute() {
        let mut node = node(1, SplitPolicy::Majority);
        node.goodbyes.learn(member(2).id, vec![view(7, &[2, 3])], node.now);
        let counted = |node: &Node, newest: u64| {
            let base_views = node.binding_views(Epoch::from_u64(newest));
            base_views.into_iter().map(|view| view.epoch().as_u64()).collect::<Vec<_>>()
        };
        let learned = node.now;
        node.now = learned + FORGET_AFTER - Duration::from_nanos(1);
        assert_eq!((counted(&node, 0), counted(&node, 1)), (vec![7], vec![]), "only if no member has a view");
        node.now = learned + FORGET_AFTER;
        assert_eq!(counted(&node, 0), []);
        node.installed = Some(view(6, &[1, 2]));
        assert_eq!(counted(&node, 0), [6, 7], "a member of its view left, and handed the other over");
    }

    #[test]
    fn a_named_address_and_a_linked_node_outside_count_as_rivals_while_they_may_be_elsewhere() {
        let mut node = node(1, SplitPolicy::Majority);
        let address = |n: u64| member(n).id.name().address().expect("it has one").clone();
        node.update_absent([2, 3, 4].map(address).into());
        link(&mut node, 2);
        link(&mut node, 5);
        assert_eq!(node.rivals(&ids(&[1, 2])), 3, "3 and 4 are named, 5 is linked");
        assert_eq!(node.rivals(&ids(&[1, 2, 5])), 2);
        node.peers.get_mut(&member(2).id).expect("it is linked").heartbeat_seen = false;
        assert_eq!(node.rivals(&ids(&[1, 2, 5])), 3, "2 has not spoken");
        node.update_absent([3].map(address).into());
        assert_eq!(node.rivals(&ids(&[1, 2, 5])), 2, "4 is named no more");
        let named = node.now;
        node.now = named + FORGET_AFTER - Duration::from_nanos(1);
        assert_eq!(node.absent().count(), 1);
        node.now = named + FORGET_AFTER;
        assert_eq!(node.absent().count(), 0);
        node.goodbyes.learn(member(5).id, Vec::new(), node.now);
        assert_eq!(
            node.outside(&ids(&[1])).count(),
            2,
            "5 is heard and does not leave, whatever was passed on"
        );
        says(&mut node, 5, Heartbeat { leaving: true, ..Heartbeat::first() });
        assert_eq!(node.outside(&ids(&[1])).count(), 1, "now it does");
        says(&mut node, 5, Heartbeat::first());
        node.on_unlinked(LinkId(5), node.now);
        assert_eq!(node.outside(&ids(&[1])).count(), 1);
    }

    pub(in super::super) fn says(node: &mut Node, n: u64, heartbeat: Heartbeat) {
        let report = Report::new(&heartbeat, node.now);
        node.peers.get_mut(&member(n).id).expect("it is linked").report = Some(report);
    }

    #[test]
    fn a_node_objects_to_candidate_members_with_which_it_can_neither_follow_its_view_nor_begin() {
        let objects = |split: SplitPolicy, candidate: &[u64], leaves: bool| {
            let mut node = node(1, split);
            node.installed = Some(view(7, &[1, 2, 3, 4, 5]));
            if leaves {
                node.member_state = MemberState::Leaving { since: node.now, held: false, kept_lease: None };
            }
            node.candidate.nodes = ids(candidate);
            node.refresh_objection();
            node.objects
        };
        use SplitPolicy::{Consensus, Majority};
        assert!(objects(Majority, &[1, 2], false) && !objects(Majority, &[1, 2, 3], false));
        assert!(!objects(Majority, &[1], false), "there is none to object to");
        assert!(!objects(Majority, &[2, 3], false), "it is left out anyway");
        assert!(!objects(Majority, &[1, 2], true), "it leaves");
        assert!(!objects(Consensus, &[1, 2], false));
    }
}
