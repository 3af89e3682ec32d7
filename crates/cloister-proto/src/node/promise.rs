//! A member's side of a round: when it may promise a view, when it is prepared, and how it installs.

use std::sync::Arc;
use std::time::Duration;

use super::state::{Installed, MemberState, Node, PendingProposal, PersistState, Promise, Rejection};
use crate::change::DownReason;
use crate::lease::Grants;
use crate::majority::Succession;
use crate::message::{Message, ProposalReply};
use crate::name::NodeId;
use crate::peer::{Link, Peer};
use crate::rule::Rule;
use crate::settings::guard_of;
use crate::time::Time;
use crate::view::{Epoch, View};

/// Whether a proposal may be promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    /// Not now. If time alone can change that, [`Node::wait_until`] has been told.
    NotYet,
    No(ProposalReply),
}

impl Node {
    pub(super) fn on_propose(&mut self, from: &NodeId, view: View) {
        if view.sentry() != Some(from) || !view.contains(&self.me) {
            return self.reject(Rejection::ForeignProposal);
        }
        let epoch = view.epoch();
        if !self.is_plausible_proposal(epoch) {
            return self.reject(Rejection::EpochAhead);
        }
        self.accept_epoch(epoch);
        if let MemberState::Promised(promise) = &self.member_state
            && promise.view.epoch() == epoch
            && promise.proposer == *from
        {
            let answer = if promise.prepared { ProposalReply::Ack } else { ProposalReply::Promise };
            return self.reply(from, epoch, answer);
        }
        if matches!(self.member_state, MemberState::Installed(_)) && self.installed_epoch() == epoch {
            return self.reply(from, epoch, ProposalReply::Ack);
        }
        if self.pending.as_ref().is_none_or(|pending| pending.view.epoch() < epoch) {
            self.pending =
                Some(PendingProposal { view: Arc::new(view), proposer: from.clone(), since: self.now });
        } else {
            self.reject(Rejection::OldProposal);
        }
    }

    /// Promises the pending proposal as soon as that is allowed; lets it go when its proposer has given it up.
    pub(super) fn try_promise(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let proposer_is_there = self.peers.get(&pending.proposer).is_some_and(|peer| peer.open().is_some());
        if !proposer_is_there || self.now >= pending.since + self.settings.timing.promise_timeout() {
            return;
        }
        match self.may_promise(&pending.view) {
            Verdict::Yes => self.promise(pending.view, pending.proposer),
            Verdict::NotYet => self.pending = Some(pending),
            Verdict::No(answer) => self.reply(&pending.proposer, pending.view.epoch(), answer),
        }
    }

    /// Whether this node may promise `view`, as its proposer or as another member.
    pub(super) fn may_promise(&mut self, view: &View) -> Verdict {
        if matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left) {
            return Verdict::No(ProposalReply::Leaving);
        }
        if self.persist_error().is_some() {
            // It could not acknowledge it.
            return Verdict::NotYet;
        }
        let overtaken = self.promised.max(self.released_epoch).max(self.installed_epoch());
        if view.epoch() <= overtaken {
            return Verdict::No(ProposalReply::StaleEpoch(overtaken.max(self.max_epoch_seen)));
        }
        let others = view.ids().filter(|id| **id != self.me);
        let all_live = others
            .clone()
            .all(|id| self.peers.get(id).is_some_and(|peer| peer.is_live() && !peer.is_leaving()));
        let part: Vec<NodeId> = view.ids().cloned().collect();
        let Ok(succession) = self.succession(&part) else { return Verdict::NotYet };
        let may = all_live
            && self.meets_required_size(view, succession)
            && self.leases_outside_have_expired(view)
            && self.leavers_grants_have_expired(view)
            && self.no_promise_forgotten(view, succession);
        if may { Verdict::Yes } else { Verdict::NotYet }
    }

    /// Whether every member of the installed view that `view` leaves out has lost its lease for sure.
    fn leases_outside_have_expired(&mut self, view: &View) -> bool {
        let Some(installed) = self.installed.clone() else { return true };
        let until = installed
            .ids()
            .filter(|id| !view.contains(id) && **id != self.me)
            .filter_map(|id| self.may_hold_lease_until(id, installed.epoch()))
            .max();
        if let Some(until) = until {
            self.wait_until(until);
        }
        until.is_none()
    }

    /// Until when a member of the installed view may still hold its lease; `None` when it surely does not.
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

    /// For how long at most a peer acts by the word of this node.
    fn grant_duration(&self, peer: &Peer) -> Duration {
        let (mine, its) = (self.settings.timing.lease, peer.terms.lease);
        if peer.terms.caps_lease && self.settings.enabled(Rule::ShorterLease) {
            mine.min(its)
        } else {
            mine.max(its)
        }
    }

    /// Whether no member of `view` may have forgotten what it promised in an earlier life.
    ///
    /// Under `majority` a view that follows another needs more than half of its *lives*: what a process at the same address
    /// may have forgotten is not counted on.
    fn no_promise_forgotten(&mut self, view: &View, succession: Succession) -> bool {
        let follows = self.follows_majority() && succession != Succession::Begins;
        if follows || !self.settings.enabled(Rule::Forgotten) {
            return true;
        }
        let fresh_until = view.ids().filter_map(|id| self.may_have_forgotten_until(id)).max();
        let Some(until) = fresh_until else { return true };
        if self.is_first_assembly(view) || self.joins_living_cluster(view) {
            return true;
        }
        self.wait_until(until);
        false
    }

    /// Until when a process is so young that an earlier life of it may still be counted on.
    fn may_have_forgotten_until(&self, id: &NodeId) -> Option<Time> {
        // What an earlier life granted lasted for its own lease at most.
        let mine = self.settings.timing.lease;
        let (age, lease) = match self.peers.get(id) {
            Some(peer) if self.settings.enabled(Rule::ShorterLease) => (peer.age(self.now), peer.terms.lease),
            Some(peer) => (peer.age(self.now), mine),
            None => (self.now.since(self.started_at), mine),
        };
        let guard = guard_of(lease);
        (age < guard).then(|| self.now + (guard - age))
    }

    /// Nobody ever installed a view, and no address that discovery names can hide somebody who did. That includes
    /// nodes outside of the view: one that is linked and has not spoken may hang, and hold a lease.
    fn is_first_assembly(&self, view: &View) -> bool {
        let never = |peer: &Peer| {
            peer.open().is_none()
                || (peer.heartbeat_seen && peer.report.is_some_and(|report| report.installed == Epoch::ZERO))
        };
        let looked_at =
            |peer: &&Peer| self.settings.enabled(Rule::ChecksEveryLink) || view.contains(&peer.member.id);
        self.installed.is_none()
            && self.peers.values().filter(looked_at).all(never)
            && self.discovery.complete
            && self.unverified_addresses().next().is_none()
    }

    /// Enough members have installed one and the same view and kept it: what the newcomers may have forgotten, these
    /// remember.
    fn joins_living_cluster(&self, view: &View) -> bool {
        let mut bound: Vec<(Epoch, NodeId)> = view
            .ids()
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
            let part: Vec<NodeId> = same.iter().map(|(_, id)| id.clone()).collect();
            part.len() >= self.settings.consensus.get() && self.is_viable(&part)
        })
    }

    fn retains_view(&self) -> bool {
        matches!(self.member_state, MemberState::Installed(_) | MemberState::Promised(_))
            && self.released_epoch < self.installed_epoch()
    }

    /// Takes part in no earlier view any more, and tells listeners, who may hold it.
    pub(super) fn promise(&mut self, view: Arc<View>, proposer: NodeId) {
        let epoch = view.epoch();
        if self.round.as_ref().is_some_and(|round| round.view.epoch() < epoch) {
            self.abort_round_with_backoff();
        }
        self.promised = epoch;
        self.accept_epoch(epoch);
        if proposer != self.me {
            self.reply(&proposer, epoch, ProposalReply::Promise);
        }
        self.member_state = MemberState::Promised(Promise {
            view,
            proposer,
            since: self.now,
            prepared: false,
            persist_state: PersistState::NotNeeded,
        });
        self.notify(Some(epoch));
    }

    pub(super) fn on_hold_released(&mut self, epoch: Epoch) {
        if matches!(&self.member_state, MemberState::Promised(promise) if promise.view.epoch() == epoch) {
            self.prepare();
        }
    }

    /// Waits no longer for listeners than it said it would.
    pub(super) fn check_hold(&mut self) {
        let limit = self.settings.timing.rehash_timeout;
        if matches!(&self.member_state, MemberState::Promised(promise) if !promise.prepared && self.now >= promise.since + limit)
        {
            self.prepare();
        }
    }

    fn prepare(&mut self) {
        let is_kept = self.has_state_file() && self.settings.enabled(Rule::AckOncePersisted);
        let MemberState::Promised(promise) = &mut self.member_state else { return };
        if promise.prepared || promise.persist_state != PersistState::NotNeeded {
            return;
        }
        if is_kept {
            // Whoever restarts now must know of it once it is acknowledged.
            promise.persist_state = PersistState::Required;
        } else {
            self.acknowledge();
        }
    }

    /// Acknowledges the promised view: from now on another node may install it.
    pub(super) fn acknowledge(&mut self) {
        let MemberState::Promised(promise) = &mut self.member_state else { return };
        if std::mem::replace(&mut promise.prepared, true) {
            return;
        }
        let (epoch, proposer, view) =
            (promise.view.epoch(), promise.proposer.clone(), Arc::clone(&promise.view));
        // One view for each set of members, the newest: it must be followed whenever an older one must. But what this node
        // proposes itself is forgotten with its round, and must not take the place of another.
        let is_mine = proposer == self.me;
        self.maybe_installed
            .retain(|known| is_mine || known.size() != view.size() || !known.ids().eq(view.ids()));
        self.maybe_installed.push(view);
        if proposer == self.me {
            self.on_own_ack(epoch);
        } else {
            self.reply(&proposer, epoch, ProposalReply::Ack);
        }
    }

    pub(super) fn on_commit(&mut self, from: &NodeId, epoch: Epoch) {
        match &self.member_state {
            MemberState::Promised(promise) if promise.view.epoch() == epoch && promise.proposer == *from => {
                let view = Arc::clone(&promise.view);
                self.install(view);
            }
            _ => self.reject(Rejection::ForeignRound),
        }
    }

    /// The view holds from now on; what it allows is earned by the heartbeats that follow.
    pub(super) fn install(&mut self, view: Arc<View>) {
        if view.epoch() <= self.released_epoch {
            return;
        }
        let mut grants = Grants::default();
        if !self.settings.enabled(Rule::FreshGrants) {
            let until = self.now + self.settings.timing.lease;
            view.ids().filter(|id| **id != self.me).for_each(|id| grants.add(id, until));
        }
        let counts_all = self.settings.enabled(Rule::MajorityOfSize);
        self.installed = Some(if counts_all { view } else { Arc::new(View::clone(&view).with_size(0)) });
        self.maybe_installed.clear();
        self.prune_former();
        self.candidate.left_out_since = None;
        self.member_state = MemberState::Installed(Installed {
            since: self.now,
            grants,
            had_lease: false,
            lease_until: None,
            drain_until: None,
        });
        self.refresh_lease();
        self.check_lease();
    }

    pub(super) fn installed_epoch(&self) -> Epoch {
        self.installed.as_ref().map_or(Epoch::ZERO, |view| view.epoch())
    }

    fn reply(&mut self, to: &NodeId, epoch: Epoch, answer: ProposalReply) {
        if let Some(link) = self.peers.get(to).and_then(Peer::open) {
            self.send(link, Message::Reply { epoch, reply: answer });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::action::Action;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
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

    /// The peer says that it installed the view of one epoch, and gave up all to another.
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

    fn answers(node: &mut Node) -> Vec<ProposalReply> {
        let actions = std::iter::from_fn(|| node.next_action());
        actions
            .filter_map(|action| match action {
                Action::Send { message: Message::Reply { reply: answer, .. }, .. } => Some(answer),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_member_may_hold_its_lease_until_a_guard_after_its_last_heartbeat_unless_it_is_gone_or_gave_it_up() {
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
    fn a_process_is_fresh_until_an_earlier_life_of_it_has_lost_its_lease() {
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
            let all = view(9, &[1, 2, 3, 4, 5]);
            node.joins_living_cluster(&all)
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
        assert!(!node.joins_living_cluster(&view(9, &[1, 2, 5])));
    }

    #[test]
    fn a_node_keeps_its_view_while_it_is_bound_or_has_promised_and_has_not_stepped_down_since() {
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

    #[test]
    fn a_proposal_that_comes_again_is_answered_as_before_and_one_of_another_node_is_not() {
        let mut node = node(2);
        let (since, proposer) = (node.now, id(1));
        let proposed = view(1 << 30, &[1, 2, 5]);
        let epoch = proposed.epoch();
        for (prepared, answer) in [(false, ProposalReply::Promise), (true, ProposalReply::Ack)] {
            let promise = Promise {
                view: Arc::clone(&proposed),
                proposer: proposer.clone(),
                since,
                prepared,
                persist_state: PersistState::NotNeeded,
            };
            node.member_state = MemberState::Promised(promise);
            node.on_propose(&id(1), View::clone(&proposed));
            assert_eq!(answers(&mut node), [answer]);
        }
        node.on_propose(&id(2), View::new(epoch, vec![member(2), member(5)]));
        assert_eq!(answers(&mut node), [], "it has the same epoch and another proposer");

        node.member_state = bound(&node);
        node.installed = Some(Arc::clone(&proposed));
        node.pending = None;
        node.on_propose(&id(1), View::clone(&proposed));
        assert_eq!(answers(&mut node), [ProposalReply::Ack], "it is installed already");
    }

    #[test]
    fn a_proposal_that_may_not_be_promised_yet_is_kept_for_as_long_as_its_proposer_waits() {
        let mut node = node(2);
        peer(&mut node, 2).heartbeat_seen = false;
        let began = node.now;
        let is_kept = |node: &mut Node| {
            node.try_promise();
            node.pending.is_some()
        };
        let epoch = 1 << 30;
        node.on_propose(&id(1), View::clone(&view(epoch, &[1, 2, 5])));
        assert!(is_kept(&mut node), "one member is not heard");
        node.now = began + 500 * MILLI;
        node.on_propose(&id(1), View::clone(&view(epoch, &[1, 2, 5])));
        node.on_propose(&id(1), View::clone(&view(epoch - 1, &[1, 2, 5])));
        assert_eq!(node.rejections()[&Rejection::OldProposal], 2);
        node.now = began + 999 * MILLI;
        assert!(is_kept(&mut node));
        node.now = began + 1_000 * MILLI;
        assert!(!is_kept(&mut node), "since the first time that it came");

        node.on_propose(&id(1), View::clone(&view(epoch + 1, &[1, 2, 5])));
        node.on_unlinked(LinkId(1), node.now);
        assert!(!is_kept(&mut node), "its proposer is not there");
    }

    #[test]
    fn a_proposer_is_told_of_the_promise_at_once_and_when_no_listener_holds_it() {
        let mut node = node(2);
        let proposed = view(1 << 30, &[1, 5]);
        node.promise(Arc::clone(&proposed), id(1));
        assert_eq!(answers(&mut node), [ProposalReply::Promise]);
        node.on_hold_released(Epoch::from_u64(1 << 29));
        assert_eq!(answers(&mut node), [], "that is another view");
        node.on_hold_released(proposed.epoch());
        node.on_hold_released(proposed.epoch());
        assert_eq!(answers(&mut node), [ProposalReply::Ack]);
    }

    #[test]
    fn of_views_with_the_same_members_and_size_that_may_have_been_installed_the_newest_counts() {
        let prepared = |views: &[(u64, &[u64], usize)]| -> Vec<u64> {
            let mut node = node(2);
            for (epoch, members, size) in views {
                let view = Arc::new(View::clone(&view(*epoch, members)).with_size(*size));
                let proposer = view.sentry().expect("it has members").clone();
                if proposer == node.me {
                    node.propose(Arc::clone(&view));
                } else {
                    node.promise(Arc::clone(&view), proposer);
                }
                node.on_hold_released(view.epoch());
            }
            node.maybe_installed.iter().map(|view| view.epoch().as_u64()).collect()
        };
        let first: (u64, &[u64], usize) = (1, &[1, 5], 0);
        assert_eq!(prepared(&[first, (2, &[1, 5], 0)]), [2]);
        assert_eq!(prepared(&[first, (2, &[1, 5], 3)]), [1, 2], "of another size");
        assert_eq!(prepared(&[first, (2, &[1, 2, 5], 3)]), [1, 2], "of other members");
        assert_eq!(
            prepared(&[(1, &[1, 5], 3), (2, &[1, 2, 5], 3)]),
            [1, 2],
            "of other members and the same size"
        );
        let own: &[u64] = &[5, 6];
        assert_eq!(prepared(&[(1, own, 2), (3, own, 2)]), [1, 3], "what this node proposes takes no place");
    }

    #[test]
    fn who_promises_a_later_view_of_another_node_gives_up_its_own_round() {
        let mut node = node(2);
        node.propose(view(3, &[5, 6]));
        assert!(node.round.is_some(), "its own promise does not end it");
        node.promise(view(4, &[1, 5]), id(1));
        assert!(node.round.is_none() && node.retry_at > node.now);
    }
}
