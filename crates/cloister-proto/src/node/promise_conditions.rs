//! Whether a proposal may be promised: what must be certain before a node takes part in another view.

use std::time::Duration;

use super::state::{MemberState, Node};
use crate::change::DownReason;
use crate::majority::Succession;
use crate::message::ProposalReply;
use crate::name::NodeId;
use crate::peer::{Link, Peer};
use crate::rule::Rule;
use crate::settings::guard_of;
use crate::time::Time;
use crate::view::{Epoch, View};

/// Whether a proposal may be promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromiseCheck {
    Yes,
    /// Not now. If time alone can change that, [`Node::wait_until`] was called.
    NotYet,
    No(ProposalReply),
}

impl Node {
    /// Whether this node may promise `view`, as its proposer or as another member.
    pub(super) fn may_promise(&mut self, view: &View) -> PromiseCheck {
        if matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left) {
            return PromiseCheck::No(ProposalReply::Leaving);
        }
        if self.persist_error().is_some() {
            // It could not acknowledge the view.
            return PromiseCheck::NotYet;
        }
        let overtaken = self.promised.max(self.released_epoch).max(self.installed_epoch());
        if view.epoch() <= overtaken {
            return PromiseCheck::No(ProposalReply::StaleEpoch(overtaken.max(self.max_epoch_seen)));
        }
        let others = view.ids().filter(|id| **id != self.me);
        let all_live = others
            .clone()
            .all(|id| self.peers.get(id).is_some_and(|peer| peer.is_live() && !peer.is_leaving()));
        let members: Vec<NodeId> = view.ids().cloned().collect();
        let Ok(succession) = self.succession(&members) else { return PromiseCheck::NotYet };
        let may = all_live
            && self.meets_required_size(view, succession)
            && self.leases_outside_have_expired(&members)
            && self.leavers_grants_have_expired(view)
            && self.no_promise_forgotten(&members, succession);
        if may { PromiseCheck::Yes } else { PromiseCheck::NotYet }
    }

    /// Whether every member of the installed view that a view of `members` excludes has certainly lost its lease.
    fn leases_outside_have_expired(&mut self, members: &[NodeId]) -> bool {
        let until = self.leases_outside(members).into_iter().map(|(_, until)| until).max();
        if let Some(until) = until {
            self.wait_until(until);
        }
        until.is_none()
    }

    /// The members of the installed view outside of `members` that may still hold a lease, each with until when.
    pub(super) fn leases_outside(&self, members: &[NodeId]) -> Vec<(NodeId, Time)> {
        let Some(installed) = &self.installed else { return Vec::new() };
        installed
            .ids()
            .filter(|id| !members.contains(id) && **id != self.me)
            .filter_map(|id| Some((id.clone(), self.may_hold_lease_until(id, installed.epoch())?)))
            .collect()
    }

    /// Until when a member of the installed view may hold its lease; `None` when it certainly does not.
    fn may_hold_lease_until(&self, id: &NodeId, installed: Epoch) -> Option<Time> {
        let peer = self.peers.get(id).filter(|_| self.settings.enabled(Rule::Guard))?;
        let said_so = peer.report.is_some_and(|report| {
            report.released_epoch >= installed
                || (report.released_epoch > Epoch::ZERO && !self.settings.enabled(Rule::ReleasedUpTo))
        });
        let is_gone = match peer.link {
            Link::Gone(DownReason::Crashed | DownReason::Replaced) => true,
            Link::Closed(_) | Link::Gone(_) => !self.settings.enabled(Rule::ClosedIsNotExpired),
            Link::Open(_) => false,
        };
        let until = peer.last_processed + guard_of(self.grant_duration(peer));
        (!said_so && !is_gone && self.now < until).then_some(until)
    }

    /// The maximal time for which a peer acts by a grant of this node.
    fn grant_duration(&self, peer: &Peer) -> Duration {
        let (mine, its) = (self.settings.timing.lease, peer.terms.lease);
        if peer.terms.caps_lease && self.settings.enabled(Rule::ShorterLease) {
            mine.min(its)
        } else {
            mine.max(its)
        }
    }

    /// Whether no member of a view of `members` can have forgotten a promise of an earlier incarnation.
    fn no_promise_forgotten(&mut self, members: &[NodeId], succession: Succession) -> bool {
        let until = self.forgetful_members(members, succession).into_iter().map(|(_, until)| until).max();
        if let Some(until) = until {
            self.wait_until(until);
        }
        until.is_none()
    }

    /// The members that may have forgotten a promise of an earlier incarnation, each with until when that promise counts.
    ///
    /// Under `majority` a view that follows another needs more than half of its members in the same incarnation, so a restarted
    /// process is not counted on.
    pub(super) fn forgetful_members(
        &self,
        members: &[NodeId],
        succession: Succession,
    ) -> Vec<(NodeId, Time)> {
        let follows = self.follows_majority() && succession != Succession::Begins;
        if follows || !self.settings.enabled(Rule::Forgotten) {
            return Vec::new();
        }
        let fresh: Vec<(NodeId, Time)> =
            members.iter().filter_map(|id| Some((id.clone(), self.may_have_forgotten_until(id)?))).collect();
        if fresh.is_empty() || self.is_first_assembly(members) || self.joins_living_cluster(members) {
            return Vec::new();
        }
        fresh
    }

    /// Until when other nodes may count on an earlier incarnation of this process.
    fn may_have_forgotten_until(&self, id: &NodeId) -> Option<Time> {
        // The grants of an earlier incarnation last for its own lease at most.
        let mine = self.settings.timing.lease;
        let (age, lease) = match self.peers.get(id) {
            Some(peer) if self.settings.enabled(Rule::ShorterLease) => (peer.age(self.now), peer.terms.lease),
            Some(peer) => (peer.age(self.now), mine),
            None => (self.now.since(self.started_at), mine),
        };
        let guard = guard_of(lease);
        (age < guard).then(|| self.now + (guard - age))
    }

    /// Whether no node ever installed a view, and no discovered address can hide one that did. This includes nodes other
    /// than `members`: a linked node without a heartbeat may hang and hold a lease.
    fn is_first_assembly(&self, members: &[NodeId]) -> bool {
        let never = |peer: &Peer| {
            peer.open().is_none()
                || (peer.heartbeat_seen && peer.report.is_some_and(|report| report.installed == Epoch::ZERO))
        };
        let looked_at =
            |peer: &&Peer| self.settings.enabled(Rule::ChecksEveryLink) || members.contains(&peer.member.id);
        self.installed.is_none()
            && self.peers.values().filter(looked_at).all(never)
            && self.discovery.complete
            && self.unverified_addresses().next().is_none()
    }

    /// Whether enough members have installed one and the same view and kept it: they remember what the new ones may have forgotten.
    fn joins_living_cluster(&self, members: &[NodeId]) -> bool {
        let mut bound: Vec<(Epoch, NodeId)> = members
            .iter()
            .filter_map(|id| match self.peers.get(id) {
                Some(peer) => {
                    let report = peer.report.filter(|report| report.retains_view())?;
                    Some((report.installed, id.clone()))
                }
                None => self.retains_view().then(|| (self.installed_epoch(), id.clone())),
            })
            .collect();
        bound.sort();
        bound.chunk_by(|a, b| a.0 == b.0).any(|same| {
            let partition: Vec<NodeId> = same.iter().map(|(_, id)| id.clone()).collect();
            partition.len() >= self.settings.consensus.get() && self.is_viable(&partition)
        })
    }

    fn retains_view(&self) -> bool {
        matches!(self.member_state, MemberState::Installed(_) | MemberState::Promised(_))
            && self.released_epoch < self.installed_epoch()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use super::super::state::{Installed, PersistState, Promise};
    use super::*;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::lease::Grants;
    use crate::message::Heartbeat;
    use crate::name::Incarnation;
    use crate::peer::Report;
    use crate::settings::Settings;
    use crate::split::SplitPolicy;
    use crate::view::Member;

    const MILLI: Duration = Duration::from_millis(1);

    fn member(n: u64) -> Member {
        Member::without_tags(NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n))
    }

    fn id(n: u64) -> NodeId {
        member(n).id
    }

    fn view(epoch: u64, members: &[u64]) -> Arc<View> {
        Arc::new(View::new(Epoch::from_u64(epoch), members.iter().map(|n| member(*n)).collect()))
    }

    /// Node 5, linked to the nodes 1 to 4, which are older and have spoken.
    fn node(consensus: usize) -> Node {
        let consensus = NonZeroUsize::new(consensus).expect("at least one");
        let mut node = Node::new(Settings::new(member(5), consensus, 1), Time::from_nanos(1_000_000_000_000));
        for n in 1..=4 {
            node.on_linked(LinkId(n), member(n), PeerTerms::new(2_000 * MILLI));
            peer(&mut node, n).heartbeat_seen = true;
        }
        while node.next_action().is_some() {}
        node
    }

    fn peer(node: &mut Node, n: u64) -> &mut Peer {
        node.peers.get_mut(&id(n)).expect("it is linked")
    }

    /// The peer reports that it installed the view of one epoch, and gave up all to another.
    fn says(node: &mut Node, n: u64, installed: u64, retired: u64, age: Duration) {
        let epoch = Epoch::from_u64;
        let heartbeat = Heartbeat {
            age,
            installed: epoch(installed),
            promised: epoch(installed),
            released_epoch: epoch(retired),
            ..Heartbeat::first()
        };
        let report = Report::new(&heartbeat, node.now);
        peer(node, n).report = Some(report);
    }

    fn bound(node: &Node) -> MemberState {
        let grants = Grants::default();
        MemberState::Installed(Installed {
            since: node.now,
            grants,
            had_lease: true,
            lease_until: None,
            drain_until: None,
        })
    }

    #[test]
    fn a_member_may_hold_its_lease_until_a_guard_after_its_last_heartbeat_unless_it_has_exited_or_released_it()
     {
        let ends = |change: &dyn Fn(&mut Node)| {
            let mut node = node(2);
            node.settings.split = SplitPolicy::Consensus;
            let handled = node.now;
            says(&mut node, 1, 7, 0, 60_000 * MILLI);
            change(&mut node);
            node.may_hold_lease_until(&id(1), Epoch::from_u64(7)).map(|until| until.since(handled))
        };
        let guard = Some(2_100 * MILLI);
        assert_eq!(ends(&|_| {}), guard);
        let close = |node: &mut Node| node.on_unlinked(LinkId(1), node.now);
        assert_eq!(ends(&close), guard, "a closed link is no lost lease");
        assert_eq!(ends(&|node| says(node, 1, 7, 6, Duration::ZERO)), guard, "what it gave up is older");
        assert_eq!(ends(&|node| says(node, 1, 7, 7, Duration::ZERO)), None);
        assert_eq!(ends(&|node| peer(node, 1).link = Link::Gone(DownReason::Crashed)), None);
        assert_eq!(ends(&|node| peer(node, 1).link = Link::Gone(DownReason::Replaced)), None);
        assert_eq!(ends(&|node| node.now = node.now + 2_099 * MILLI), guard);
        assert_eq!(ends(&|node| node.now = node.now + 2_100 * MILLI), None);
    }

    #[test]
    fn a_peer_acts_by_the_shorter_of_both_leases_if_its_build_caps_it_and_by_the_longer_if_not() {
        let granted = |lease: u64, caps_lease: bool| {
            let mut node = node(2);
            peer(&mut node, 1).terms = PeerTerms { caps_lease, ..PeerTerms::new(lease as u32 * MILLI) };
            node.grant_duration(&node.peers[&id(1)]).as_millis()
        };
        assert_eq!([granted(1_000, true), granted(5_000, true)], [1_000, 2_000]);
        assert_eq!([granted(1_000, false), granted(5_000, false)], [2_000, 5_000]);
    }

    #[test]
    fn a_process_may_have_forgotten_promises_until_the_lease_of_its_earlier_incarnation_has_expired() {
        let fresh = |lease: u64, age: u64| {
            let mut node = node(2);
            peer(&mut node, 1).terms = PeerTerms::new(lease as u32 * MILLI);
            says(&mut node, 1, 0, 0, age as u32 * MILLI);
            node.may_have_forgotten_until(&id(1)).map(|until| until.since(node.now).as_millis())
        };
        assert_eq!(
            [fresh(2_000, 1_000), fresh(2_000, 2_099), fresh(2_000, 2_100)],
            [Some(1_100), Some(1), None]
        );
        assert_eq!([fresh(1_000, 1_000), fresh(1_000, 1_050)], [Some(50), None], "by its own lease");
        let mut node = node(2);
        node.now = node.now + 100 * MILLI;
        assert_eq!(
            node.may_have_forgotten_until(&id(5)),
            Some(node.started_at + 2_100 * MILLI),
            "this node itself"
        );
        node.now = node.started_at + 2_100 * MILLI;
        assert_eq!(node.may_have_forgotten_until(&id(5)), None);
    }

    #[test]
    fn newcomers_join_a_living_cluster_if_enough_members_keep_one_view() {
        let joins = |kept: &[u64], gave_up: &[u64], policy: SplitPolicy| {
            let mut node = node(2);
            node.settings.split = policy;
            node.installed = Some(view(7, &[1, 2, 3]));
            for n in kept {
                says(&mut node, *n, 7, 0, Duration::ZERO);
            }
            for n in gave_up {
                says(&mut node, *n, 7, 7, Duration::ZERO);
            }
            node.joins_living_cluster(&[1, 2, 3, 4, 5].map(id))
        };
        use SplitPolicy::{Consensus, KeepOldest};
        assert!(joins(&[1, 2], &[], Consensus) && joins(&[2, 3], &[1], Consensus));
        assert!(!joins(&[1], &[2, 3], Consensus) && !joins(&[], &[1, 2, 3], Consensus));
        assert!(joins(&[1, 2], &[], KeepOldest));
        assert!(!joins(&[2, 3], &[1], KeepOldest), "they may not go on without the oldest");

        // Two views of one member each are not one of two.
        let mut node = node(2);
        node.settings.split = Consensus;
        says(&mut node, 1, 7, 0, Duration::ZERO);
        says(&mut node, 2, 8, 0, Duration::ZERO);
        assert!(!node.joins_living_cluster(&[1, 2, 5].map(id)));
    }

    #[test]
    fn a_node_retains_its_view_while_it_participates_or_has_promised_and_has_not_stepped_down_since() {
        let mut node = node(2);
        node.installed = Some(view(7, &[1, 5]));
        assert!(!node.retains_view(), "it assembles");
        node.member_state = bound(&node);
        assert!(node.retains_view());
        node.released_epoch = Epoch::from_u64(7);
        assert!(!node.retains_view(), "it has given it up");
        node.released_epoch = Epoch::from_u64(6);
        assert!(node.retains_view());
        let (since, proposer) = (node.now, id(1));
        node.member_state = MemberState::Promised(Promise {
            view: view(8, &[1, 5]),
            proposer,
            since,
            prepared: false,
            persist_state: PersistState::NotNeeded,
        });
        assert!(node.retains_view(), "it remembers what it has promised");
    }
}
