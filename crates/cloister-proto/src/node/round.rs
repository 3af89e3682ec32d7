//! The proposer's side of a round: propose, collect replies, commit, or abort. A round that commits ends the leader election: the oldest
//! member of the new view is the leader (sentry).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::promise_conditions::PromiseCheck;
use super::state::{MemberState, Node, Rejection, Round};
use crate::message::{Message, ProposalReply};
use crate::name::NodeId;
use crate::peer::{Peer, Report, in_order};
use crate::rule::Rule;
use crate::view::{Epoch, Member, View};

/// How many periods of `settle` a round is delayed at most while new nodes keep coming.
const MAX_SETTLE_PERIODS: u32 = 10;

/// How many periods a round is delayed at most while the candidate is incomplete and keeps changing.
const MAX_INCOMPLETE_PERIODS: u32 = 5;

impl Node {
    /// Begins, continues or aborts the round of this node.
    pub(super) fn drive_round(&mut self) {
        if matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left) {
            return self.abort_round();
        }
        if let Some(round) = &self.round {
            if !self.candidate.contains_all(round.view.ids()) {
                self.abort_round();
            } else if self.has_failed(round) {
                self.abort_round_with_backoff();
            } else {
                // New nodes wait for the present round, so that listeners that move data need not begin again.
                return;
            }
        }
        if self.candidate.nodes.first() != Some(&self.me) {
            return self.release_aborted();
        }
        if !self.needs_round() {
            self.candidate.unsettled_since = None;
            return;
        }
        if self.now < self.retry_at {
            return self.wait_until(self.retry_at);
        }
        if !self.is_viable(&self.candidate.nodes) {
            // The delay for new nodes begins when there are enough, not with the first one.
            self.candidate.unsettled_since = None;
            return self.release_aborted();
        }
        if !self.has_settled() || self.awaits_warm_up() || self.awaits_size_reports() {
            return;
        }
        let Some(view) = self.build_view() else { return };
        if self.may_promise(&view) == PromiseCheck::Yes {
            self.propose(view);
        } else {
            self.release_aborted();
        }
    }

    fn has_failed(&self, round: &Round) -> bool {
        let timing = &self.settings.timing;
        let slow = self.now >= round.started_at + timing.promise_timeout()
            && !round.is_answered_by_all(&round.promised);
        slow || self.now >= round.ends(timing)
    }

    /// Whether the view differs from the candidate, or a member does not participate in it.
    fn needs_round(&mut self) -> bool {
        let (MemberState::Installed(bound), Some(view)) = (&self.member_state, &self.installed) else {
            return true;
        };
        if !view.ids().eq(&self.candidate.nodes) {
            return true;
        }
        let (since, epoch) = (bound.since, view.epoch());
        let judged_at = since + self.settings.timing.promise_timeout();
        let by_time = self.now >= judged_at;
        let missing = in_order(&self.peers, view.ids()).any(|(_, peer)| {
            let Some(peer) = peer else { return false };
            let has_seen_it = peer.report.is_some_and(|report| report.echo >= since.as_nanos())
                || !self.settings.enabled(Rule::JudgeByEcho);
            (has_seen_it || by_time) && !peer.participates_in(epoch)
        });
        if !by_time {
            self.wait_until(judged_at);
        }
        missing
    }

    /// Whether new nodes have had time to come. A loss is not delayed.
    fn has_settled(&mut self) -> bool {
        let loses_member = match (&self.member_state, self.own_view()) {
            (MemberState::Installed(_) | MemberState::Promised(_), Some(view)) => {
                !self.candidate.contains_all(view.ids())
            }
            _ => false,
        };
        let none_expected = self.candidate.nodes.len() == 1
            && self.discovery.complete
            && self.discovery.unverified.is_empty();
        if loses_member || none_expected {
            return true;
        }
        let (settle, max) = self.settle();
        let latest = self.candidate.unsettled_since.unwrap_or(self.now) + max;
        let settled_at = (self.candidate.changed_at + settle).min(latest);
        if self.now < settled_at {
            self.wait_until(settled_at);
        }
        self.now >= settled_at
    }

    /// How long the candidate must be unchanged before a round, and the maximal delay while it changes.
    ///
    /// While the candidate is incomplete, a late report may complete it: many nodes that start together are busy. A node that is not
    /// the oldest that it reaches gets reports by broadcast only, and leaves the round to the oldest if possible.
    fn settle(&self) -> (Duration, Duration) {
        let settle = self.settings.timing.settle;
        if !self.candidate.is_incomplete {
            return (settle, MAX_SETTLE_PERIODS * settle);
        }
        let is_oldest = self.reachability.nodes.first() == Some(&self.me);
        let period = if is_oldest { self.broadcast_interval() } else { 2 * self.broadcast_interval() };
        (settle.max(period), (MAX_SETTLE_PERIODS * settle).max(MAX_INCOMPLETE_PERIODS * period))
    }

    fn build_view(&self) -> Option<Arc<View>> {
        let member = |id: &NodeId| -> Option<Member> {
            if *id == self.me {
                return Some(self.settings.me.clone());
            }
            self.peers.get(id).map(|peer| peer.member.clone())
        };
        let members = self.candidate.nodes.iter().map(member).collect::<Option<Vec<_>>>()?;
        let unix_ms = match self.settings.enabled(Rule::EpochFromClock) {
            true => self.proposal_ms(),
            false => 0,
        };
        let known = self.max_epoch_seen.max(self.promised);
        let view = View::new(known.next(unix_ms, self.me.incarnation()), members);
        let size = match self.follows_majority() {
            true => self.size_for_view(&self.candidate.nodes, self.succession(&self.candidate.nodes).ok()?),
            false => self.candidate.nodes.len(),
        };
        Some(Arc::new(view.with_size(size)))
    }

    pub(super) fn propose(&mut self, view: Arc<View>) {
        for id in view.ids() {
            self.propose_to(id, &view);
        }
        self.candidate.unsettled_since = None;
        self.round = Some(Round {
            view: Arc::clone(&view),
            started_at: self.now,
            promised: BTreeSet::from([self.me.clone()]),
            acked: BTreeSet::new(),
        });
        self.promise(view, self.me.clone());
    }

    /// A member has a new link, and the proposal may have been lost with the old one.
    pub(super) fn propose_again(&mut self, to: &NodeId) {
        let Some(round) = &self.round else { return };
        if !round.view.contains(to) || round.acked.contains(to) {
            return;
        }
        let view = Arc::clone(&round.view);
        self.propose_to(to, &view);
    }

    pub(super) fn on_reply(&mut self, from: &NodeId, epoch: Epoch, answer: ProposalReply) {
        if let ProposalReply::StaleEpoch(by) = answer {
            self.observe_epoch(by);
        }
        let ours = |round: &&mut Round| round.view.epoch() == epoch && round.view.contains(from);
        let Some(round) = self.round.as_mut().filter(ours) else {
            return self.reject(Rejection::ForeignRound);
        };
        match answer {
            ProposalReply::Promise => {
                round.promised.insert(from.clone());
            }
            ProposalReply::Ack => {
                round.promised.insert(from.clone());
                round.acked.insert(from.clone());
                self.commit_if_all_acked();
            }
            ProposalReply::StaleEpoch(_) | ProposalReply::Leaving => self.abort_round_with_backoff(),
        }
    }

    /// This node has prepared its own proposal.
    pub(super) fn on_own_ack(&mut self, epoch: Epoch) {
        let me = self.me.clone();
        self.on_reply(&me, epoch, ProposalReply::Ack);
    }

    /// Takes a reply to the round from a member's heartbeat.
    pub(super) fn observe_round(&mut self, from: &NodeId, report: &Report) {
        let Some(round) = &self.round else { return };
        if !round.view.contains(from) {
            return;
        }
        let epoch = round.view.epoch();
        if report.promised > epoch || report.released_epoch >= epoch {
            self.abort_round_with_backoff();
        } else if report.promised == epoch {
            self.on_reply(
                from,
                epoch,
                if report.prepared { ProposalReply::Ack } else { ProposalReply::Promise },
            );
        }
    }

    fn commit_if_all_acked(&mut self) {
        let Some(round) = self.round.take_if(|round| round.is_answered_by_all(&round.acked)) else { return };
        let still_mine = matches!(&self.member_state, MemberState::Promised(promise) if promise.view.epoch() == round.view.epoch());
        // What was released would not be installed here.
        if !still_mine || round.view.epoch() <= self.released_epoch {
            return;
        }
        for id in round.view.ids() {
            if let Some(link) = self.peers.get(id).and_then(Peer::open) {
                self.send(link, Message::Commit { epoch: round.view.epoch() });
            }
        }
        self.backoff.reset();
        self.install(round.view);
    }

    /// Aborts the round and backs off before the next.
    pub(super) fn abort_round_with_backoff(&mut self) {
        self.abort_round();
        self.retry_at = self.now + self.backoff.next_wait();
    }

    /// Aborts the round. No node installs a view that its proposer has not committed.
    pub(super) fn abort_round(&mut self) {
        if let Some(round) = self.round.take() {
            let binds = |view: &View| view.epoch() != round.view.epoch();
            self.maybe_installed.retain(|view| binds(view));
            if self.settings.enabled(Rule::AbortedReleased) {
                self.goodbyes.retain_views(binds);
            }
            // It may follow without that view.
            self.refresh_objection();
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
    use crate::settings::Settings;
    use crate::time::Time;

    const MILLI: Duration = Duration::from_millis(1);

    fn member(n: u64) -> Member {
        Member::without_tags(NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n))
    }

    /// Node `me` of the nodes 0 to 100, linked to all others.
    fn linked(me: u64) -> Node {
        let settings = Settings::new(member(me), NonZeroUsize::MIN, 1);
        let mut node = Node::new(settings, Time::from_nanos(1_000_000_000));
        for n in (0..=100).filter(|n| *n != me) {
            node.on_linked(LinkId(n), member(n), PeerTerms::new(Duration::from_secs(2)));
        }
        node.reachability.nodes = (0..=100).map(|n| member(n).id).collect();
        node
    }

    #[test]
    fn an_incomplete_candidate_delays_a_round_by_the_broadcast_interval_and_twice_that_at_a_node_that_is_not_the_oldest()
     {
        let (mut oldest, mut second) = (linked(0), linked(1));
        assert_eq!(
            (oldest.settle(), second.settle()),
            ((20 * MILLI, 200 * MILLI), (20 * MILLI, 200 * MILLI))
        );
        for node in [&mut oldest, &mut second] {
            node.candidate.is_incomplete = true;
        }
        assert_eq!(oldest.broadcast_interval(), 250 * MILLI);
        assert_eq!(
            (oldest.settle(), second.settle()),
            ((250 * MILLI, 1_250 * MILLI), (500 * MILLI, 2_500 * MILLI))
        );
        // Among few, news is faster than newcomers.
        oldest.links.retain(|link, _| link.0 <= 10);
        assert_eq!(oldest.settle(), (20 * MILLI, 200 * MILLI));
    }

    #[test]
    fn a_round_fails_when_promises_are_missing_after_a_second_or_when_no_listener_can_hold_it_any_more() {
        let mut node = linked(0);
        let view = Arc::new(View::new(Epoch::from_u64(7), vec![member(0), member(1)]));
        let began = node.now;
        let mut round = Round {
            view,
            started_at: began,
            promised: BTreeSet::from([member(0).id]),
            acked: BTreeSet::new(),
        };
        let mut fails = |round: &Round, after: Duration| {
            node.now = began + after;
            node.has_failed(round)
        };
        assert!(!fails(&round, 999 * MILLI) && fails(&round, 1_000 * MILLI));
        assert_eq!(round.waits_for(), [member(0).id, member(1).id]);
        round.promised.insert(member(1).id);
        round.acked.insert(member(1).id);
        assert!(!fails(&round, 11_499 * MILLI) && fails(&round, 11_500 * MILLI));
        assert_eq!(round.waits_for(), [member(0).id]);
    }

    /// By which links this node proposes something now.
    fn proposes(node: &mut Node) -> Vec<u64> {
        let actions = std::iter::from_fn(|| node.next_action());
        actions
            .filter_map(|action| match action {
                Action::Send { link, message: Message::Propose(_) } => Some(link.0),
                _ => None,
            })
            .collect()
    }

    /// Node 0 has just proposed a view of the nodes 0 to 2.
    fn proposing() -> (Node, Epoch) {
        let mut node = linked(0);
        let view = Arc::new(View::new(Epoch::from_u64(7), vec![member(0), member(1), member(2)]));
        node.propose(Arc::clone(&view));
        assert_eq!(proposes(&mut node), [1, 2]);
        (node, view.epoch())
    }

    #[test]
    fn a_member_with_a_new_link_is_sent_the_proposal_again_until_it_is_prepared() {
        let (mut node, epoch) = proposing();
        node.propose_again(&member(1).id);
        node.propose_again(&member(3).id);
        assert_eq!(proposes(&mut node), [1], "the other is no member");
        node.on_reply(&member(1).id, epoch, ProposalReply::Promise);
        node.propose_again(&member(1).id);
        assert_eq!(proposes(&mut node), [1]);
        node.on_reply(&member(1).id, epoch, ProposalReply::Ack);
        node.propose_again(&member(1).id);
        assert_eq!(proposes(&mut node), []);
    }

    #[test]
    fn an_answer_counts_if_it_is_of_a_member_and_to_the_round_under_way() {
        let (mut node, epoch) = proposing();
        let missing = |node: &Node| node.round.as_ref().expect("it is under way").waits_for().len();
        assert_eq!(missing(&node), 3);
        node.on_reply(&member(3).id, epoch, ProposalReply::Ack);
        node.on_reply(&member(1).id, Epoch::from_u64(6), ProposalReply::Ack);
        assert_eq!((missing(&node), node.rejections()[&Rejection::ForeignRound]), (3, 2));
        node.on_reply(&member(1).id, epoch, ProposalReply::Ack);
        assert_eq!((missing(&node), node.rejections()[&Rejection::ForeignRound]), (2, 2));
    }

    #[test]
    fn a_heartbeat_of_a_member_says_what_its_answers_say_and_whether_it_has_gone_on() {
        let says = |from: u64, promised: u64, prepared: bool, retired: u64| {
            let (mut node, _) = proposing();
            let heartbeat = Heartbeat {
                promised: Epoch::from_u64(promised),
                prepared,
                released_epoch: Epoch::from_u64(retired),
                ..Heartbeat::first()
            };
            node.observe_round(&member(from).id, &Report::new(&heartbeat, node.now));
            node.round.map(|round| (round.promised.len(), round.acked.len()))
        };
        assert_eq!(says(1, 6, false, 6), Some((1, 0)), "it has not heard of the proposal yet");
        assert_eq!([says(1, 7, false, 6), says(1, 7, true, 6)], [Some((2, 0)), Some((2, 1))]);
        assert_eq!(
            [says(1, 8, false, 6), says(1, 7, true, 7)],
            [None, None],
            "it will not install this view"
        );
        assert_eq!([says(3, 8, false, 6), says(3, 7, true, 6)], [Some((1, 0)); 2], "it is no member");
    }
}
