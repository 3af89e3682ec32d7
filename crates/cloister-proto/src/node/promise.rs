//! The member's side of a round: promise a view, prepare, acknowledge, install.

use std::sync::Arc;

use super::promise_conditions::PromiseCheck;
use super::state::{Installed, MemberState, Node, PendingProposal, PersistState, Promise, Rejection};
use crate::change::Held;
use crate::lease::Grants;
use crate::message::{Message, ProposalReply};
use crate::name::NodeId;
use crate::peer::Peer;
use crate::rule::Rule;
use crate::view::{Epoch, View};

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

    /// Promises the pending proposal as soon as that is allowed; drops it when its proposer has given it up.
    pub(super) fn try_promise(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let proposer_is_there = self.peers.get(&pending.proposer).is_some_and(|peer| peer.open().is_some());
        if !proposer_is_there || self.now >= pending.since + self.settings.timing.promise_timeout() {
            return;
        }
        match self.may_promise(&pending.view) {
            PromiseCheck::Yes => self.promise(pending.view, pending.proposer),
            PromiseCheck::NotYet => self.pending = Some(pending),
            PromiseCheck::No(answer) => self.reply(&pending.proposer, pending.view.epoch(), answer),
        }
    }

    /// Stops participating in any earlier view, and notifies listeners, which may hold the new one.
    pub(super) fn promise(&mut self, view: Arc<View>, proposer: NodeId) {
        let epoch = view.epoch();
        if self.round.as_ref().is_some_and(|round| round.view.epoch() < epoch) {
            self.abort_round_with_backoff();
        }
        self.promised = epoch;
        self.accept_epoch(epoch);
        if let Some(pending) = self.pending.take_if(|pending| pending.view.epoch() <= epoch) {
            let answer = ProposalReply::StaleEpoch(self.max_epoch_seen);
            self.reply(&pending.proposer, pending.view.epoch(), answer);
        }
        self.intents.supersede();
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
        self.notify(Some(Held::View(epoch)));
    }

    pub(super) fn on_hold_released(&mut self, released: Held) {
        match (&mut self.member_state, released) {
            (MemberState::Promised(promise), Held::View(epoch)) if promise.view.epoch() == epoch => {
                self.prepare()
            }
            (MemberState::Leaving { held, .. }, Held::Leave) => *held = false,
            (_, Held::Intent(number)) => self.on_warmed_up(number),
            _ => {}
        }
    }

    /// Prepares after `rehash_timeout`, even if listeners hold the view.
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
            // After a restart this node must know the view that it acknowledges.
            promise.persist_state = PersistState::Required;
        } else {
            self.acknowledge();
        }
    }

    /// Acknowledges the promised view: another node may install it from now on.
    pub(super) fn acknowledge(&mut self) {
        let MemberState::Promised(promise) = &mut self.member_state else { return };
        if std::mem::replace(&mut promise.prepared, true) {
            return;
        }
        let (epoch, proposer, view) =
            (promise.view.epoch(), promise.proposer.clone(), Arc::clone(&promise.view));
        // It replaces no earlier view, not even one of the same members: its proposer may abort it, and the earlier one may be installed.
        if !self.is_aborted(&view) {
            self.maybe_installed.push(view);
        }
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

    /// Installs the view. The lease is earned by the heartbeats that follow.
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
        self.sizes_asked = None;
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
    use std::time::Duration;

    use super::*;
    use crate::action::Action;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::message::Heartbeat;
    use crate::name::Incarnation;
    use crate::settings::Settings;
    use crate::split::SplitPolicy;
    use crate::time::Time;
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
    fn a_member_replies_when_it_promises_and_again_when_no_listener_holds_the_view() {
        let mut node = node(2);
        let proposed = view(1 << 30, &[1, 5]);
        node.promise(Arc::clone(&proposed), id(1));
        assert_eq!(answers(&mut node), [ProposalReply::Promise]);
        node.on_hold_released(Held::View(Epoch::from_u64(1 << 29)));
        assert_eq!(answers(&mut node), [], "that is another view");
        node.on_hold_released(Held::View(proposed.epoch()));
        node.on_hold_released(Held::View(proposed.epoch()));
        assert_eq!(answers(&mut node), [ProposalReply::Ack]);
    }

    #[test]
    fn a_view_that_was_acknowledged_counts_until_its_proposer_can_not_commit_it_any_more() {
        let acknowledged =
            |node: &Node| node.maybe_installed.iter().map(|view| view.epoch().as_u64()).collect::<Vec<_>>();
        let acknowledge = |node: &mut Node, epoch: u64, members: &[u64]| {
            let view = view(epoch, members);
            let proposer = view.sentry().expect("it has members").clone();
            node.promise(Arc::clone(&view), proposer);
            node.on_hold_released(Held::View(view.epoch()));
        };
        let reports = |node: &mut Node, n: u64, installed: u64, promised: u64, released: u64| {
            let epoch = Epoch::from_u64;
            let before = peer(node, n).report.map_or(0, |report| report.sent);
            let heartbeat = Heartbeat {
                sent: before + 1,
                installed: epoch(installed),
                promised: epoch(promised),
                released_epoch: epoch(released),
                ..Heartbeat::first()
            };
            node.on_message(LinkId(n), Message::Heartbeat(heartbeat));
        };
        // Of the same members and size: the first may be installed, though the proposer aborts the second.
        let mut node = node(2);
        acknowledge(&mut node, 3, &[1, 5]);
        acknowledge(&mut node, 4, &[1, 5]);
        acknowledge(&mut node, 5, &[2, 5]);
        assert_eq!(acknowledged(&node), [3, 4, 5]);
        reports(&mut node, 1, 3, 4, 0);
        assert_eq!(acknowledged(&node), [3, 4, 5], "it may still commit the second");
        reports(&mut node, 1, 3, 4, 4);
        assert_eq!(acknowledged(&node), [3, 5], "it has released the second, and has installed the first");
        reports(&mut node, 2, 5, 6, 6);
        assert_eq!(acknowledged(&node), [3, 5], "it has installed that view");
        reports(&mut node, 3, 0, 9, 9);
        assert_eq!(acknowledged(&node), [3, 5], "it has not proposed it");

        // By a later promise; and it is not acknowledged any more afterwards.
        let mut node = self::node(2);
        acknowledge(&mut node, 3, &[1, 5]);
        reports(&mut node, 1, 0, 4, 0);
        assert_eq!(acknowledged(&node), [] as [u64; 0]);
        acknowledge(&mut node, 3, &[1, 5]);
        assert_eq!(acknowledged(&node), [] as [u64; 0]);

        // What a leaver hands over.
        let mut node = self::node(2);
        node.goodbyes.learn(id(4), vec![view(3, &[1, 4]), view(2, &[2, 4])], node.now);
        reports(&mut node, 1, 0, 4, 0);
        let handed: Vec<u64> =
            node.goodbyes.all().flat_map(|g| &g.base_views).map(|v| v.epoch().as_u64()).collect();
        assert_eq!(handed, [2]);
    }

    #[test]
    fn a_proposer_does_not_follow_a_view_that_it_has_aborted_and_does_not_commit_what_it_has_released() {
        let aborted = |acks_late: bool| {
            let mut node = node(2);
            node.propose(view(3, &[5, 6]));
            if !acks_late {
                node.on_hold_released(Held::View(Epoch::from_u64(3)));
                assert_eq!(node.maybe_installed.len(), 1, "its round is under way");
            }
            node.abort_round();
            node.on_hold_released(Held::View(Epoch::from_u64(3)));
            node.maybe_installed.len()
        };
        assert_eq!([aborted(false), aborted(true)], [0, 0]);

        let mut node = node(2);
        node.propose(view(3, &[5, 6]));
        node.released_epoch = Epoch::from_u64(3);
        node.on_reply(&id(6), Epoch::from_u64(3), ProposalReply::Ack);
        node.on_hold_released(Held::View(Epoch::from_u64(3)));
        assert!(node.round.is_none() && node.installed.is_none());
    }

    #[test]
    fn a_proposer_releases_the_view_of_an_aborted_round_under_majority_only() {
        let released = |split: SplitPolicy, aborts: bool| {
            let mut node = node(2);
            node.settings.split = split;
            node.propose(view(3, &[5, 6]));
            if aborts {
                node.abort_round();
            }
            node.release_aborted();
            node.released_epoch.as_u64()
        };
        use SplitPolicy::{Consensus, Majority};
        assert_eq!(
            [released(Majority, true), released(Majority, false), released(Consensus, true)],
            [3, 0, 0]
        );
        let mut node = node(2);
        node.settings.split = Majority;
        node.promise(view(3, &[1, 5]), id(1));
        node.release_aborted();
        assert_eq!(node.released_epoch, Epoch::ZERO, "it is not its own");
    }

    #[test]
    fn a_node_that_promises_a_later_view_of_another_aborts_its_own_round() {
        let mut node = node(2);
        node.propose(view(3, &[5, 6]));
        assert!(node.round.is_some(), "its own promise does not end it");
        node.promise(view(4, &[1, 5]), id(1));
        assert!(node.round.is_none() && node.retry_at > node.now);
    }
}
