//! The proposer's side of a round: propose, gather, commit, or give up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::promise::Verdict;
use super::{Disbelief, Node, Stage};
use crate::name::NodeId;
use crate::peer::{Peer, Report, in_order};
use crate::rule::Rule;
use crate::settings::Timing;
use crate::time::Time;
use crate::view::{Epoch, Member, View};
use crate::wire::{Answer, Message};

/// How many times `settle` newcomers are waited for at most, while more keep coming.
const SETTLE_MOST: u32 = 10;

/// How many times its patience a node waits at most for a target that lacks somebody and keeps changing.
const PATIENCE_MOST: u32 = 5;

/// A view that this node has proposed.
#[derive(Clone, Debug, Hash)]
pub(super) struct Round {
    pub(super) view: Arc<View>,
    pub(super) began: Time,
    promised: BTreeSet<NodeId>,
    acked: BTreeSet<NodeId>,
}

impl Round {
    pub(super) fn ends(&self, timing: &Timing) -> Time {
        self.began + timing.rehash_timeout + 3 * timing.heartbeat_every
    }

    pub(super) fn waits_for(&self) -> Vec<NodeId> {
        self.view.ids().filter(|id| !self.acked.contains(id)).cloned().collect()
    }

    fn has(&self, answers: &BTreeSet<NodeId>) -> bool {
        answers.len() == self.view.members().len()
    }
}

impl Node {
    /// Begins, goes on with, or gives up the round that is this node's to run.
    pub(super) fn drive_round(&mut self) {
        if matches!(self.stage, Stage::Leaving { .. } | Stage::Left) {
            return self.abandon_round();
        }
        if let Some(round) = &self.round {
            if !self.target.has_all(round.view.ids()) {
                self.abandon_round();
            } else if self.has_failed(round) {
                self.give_up_round();
            } else {
                // Newcomers wait for the round under way: listeners that move data should not have to begin again.
                return;
            }
        }
        if self.target.nodes.first() != Some(&self.me) {
            return;
        }
        if !self.needs_round() {
            self.target.unsettled = None;
            return;
        }
        if self.now < self.retry_at {
            return self.wait_until(self.retry_at);
        }
        if !self.may_stand(&self.target.nodes) {
            // Newcomers are waited for from when there are enough, not from when the first of them was alone.
            self.target.unsettled = None;
            return;
        }
        if !self.has_settled() {
            return;
        }
        let Some(view) = self.candidate() else { return };
        if self.may_promise(&view) == Verdict::Yes {
            self.propose(view);
        }
    }

    fn has_failed(&self, round: &Round) -> bool {
        let timing = &self.settings.timing;
        let slow = self.now >= round.began + timing.promise() && !round.has(&round.promised);
        slow || self.now >= round.ends(timing)
    }

    /// Whether the view is not what it should be, or a member is not in it.
    fn needs_round(&mut self) -> bool {
        let (Stage::Bound(bound), Some(view)) = (&self.stage, &self.installed) else { return true };
        if !view.ids().eq(&self.target.nodes) {
            return true;
        }
        let (since, epoch) = (bound.since, view.epoch());
        let judged_at = since + self.settings.timing.promise();
        let by_time = self.now >= judged_at;
        let missing = in_order(&self.peers, view.ids()).any(|(_, peer)| {
            let Some(peer) = peer else { return false };
            let heard_of_it = peer.report.is_some_and(|report| report.echo >= since.as_nanos())
                || !self.settings.keeps(Rule::JudgeByEcho);
            (heard_of_it || by_time) && !peer.is_bound_to(epoch)
        });
        if !by_time {
            self.wait_until(judged_at);
        }
        missing
    }

    /// Whether newcomers have had the time to come together. Losses are not waited for.
    fn has_settled(&mut self) -> bool {
        let loses_somebody = match (&self.stage, self.own_view()) {
            (Stage::Bound(_) | Stage::Promised(_), Some(view)) => !self.target.has_all(view.ids()),
            _ => false,
        };
        let nobody_to_wait_for =
            self.target.nodes.len() == 1 && self.survey.complete && self.survey.unaccounted.is_empty();
        if loses_somebody || nobody_to_wait_for {
            return true;
        }
        let (settle, most) = self.settle();
        let latest = self.target.unsettled.unwrap_or(self.now) + most;
        let settled_at = (self.target.changed + settle).min(latest);
        if self.now < settled_at {
            self.wait_until(settled_at);
        }
        self.now >= settled_at
    }

    /// For how long the target must have stayed the same, and how long that is waited for at most while it changes.
    ///
    /// While it lacks somebody, a report that is late may bring him in: many nodes that start together have much to do. Who
    /// is not the oldest it hears gets reports at the pace of all, and leaves the round to the oldest if it can.
    fn settle(&self) -> (Duration, Duration) {
        let settle = self.settings.timing.settle;
        if !self.target.lacks_somebody {
            return (settle, SETTLE_MOST * settle);
        }
        let is_oldest = self.reach.nodes.first() == Some(&self.me);
        let patience = if is_oldest { self.pace_to_all() } else { 2 * self.pace_to_all() };
        (settle.max(patience), (SETTLE_MOST * settle).max(PATIENCE_MOST * patience))
    }

    fn candidate(&self) -> Option<Arc<View>> {
        let member = |id: &NodeId| -> Option<Member> {
            if *id == self.me {
                return Some(self.settings.me.clone());
            }
            self.peers.get(id).map(|peer| peer.member.clone())
        };
        let members = self.target.nodes.iter().map(member).collect::<Option<Vec<_>>>()?;
        let unix_ms = match self.settings.keeps(Rule::EpochFromClock) {
            true => self.proposal_ms(),
            false => 0,
        };
        let known = self.highest.max(self.promised);
        let view = View::new(known.next(unix_ms, self.me.incarnation()), members);
        let size = match self.follows_majority() {
            true => self.size_of(&self.target.nodes, self.succession(&self.target.nodes).ok()?),
            false => self.target.nodes.len(),
        };
        Some(Arc::new(view.with_size(size)))
    }

    fn propose(&mut self, view: Arc<View>) {
        for id in view.ids() {
            self.propose_to(id, &view);
        }
        self.target.unsettled = None;
        self.round = Some(Round {
            view: Arc::clone(&view),
            began: self.now,
            promised: BTreeSet::from([self.me.clone()]),
            acked: BTreeSet::new(),
        });
        self.promise(view, self.me.clone());
    }

    /// A member's link is new: what was sent by the old one may be lost.
    pub(super) fn propose_again(&mut self, to: &NodeId) {
        let Some(round) = &self.round else { return };
        if !round.view.contains(to) || round.acked.contains(to) {
            return;
        }
        let view = Arc::clone(&round.view);
        self.propose_to(to, &view);
    }

    pub(super) fn replied(&mut self, from: &NodeId, epoch: Epoch, answer: Answer) {
        if let Answer::Overtaken(by) = answer {
            self.hear_of(by);
        }
        let ours = |round: &&mut Round| round.view.epoch() == epoch && round.view.contains(from);
        let Some(round) = self.round.as_mut().filter(ours) else {
            return self.disbelieve(Disbelief::ForeignRound);
        };
        match answer {
            Answer::Promise => {
                round.promised.insert(from.clone());
            }
            Answer::Ack => {
                round.promised.insert(from.clone());
                round.acked.insert(from.clone());
                self.commit_if_all_acked();
            }
            Answer::Overtaken(_) | Answer::Leaving => self.give_up_round(),
        }
    }

    /// This node is prepared for its own proposal.
    pub(super) fn replied_by_me(&mut self, epoch: Epoch) {
        let me = self.me.clone();
        self.replied(&me, epoch, Answer::Ack);
    }

    /// What a member's heartbeat says of the round.
    pub(super) fn watch_round(&mut self, from: &NodeId, report: &Report) {
        let Some(round) = &self.round else { return };
        if !round.view.contains(from) {
            return;
        }
        let epoch = round.view.epoch();
        if report.promised > epoch || report.retired >= epoch {
            self.give_up_round();
        } else if report.promised == epoch {
            self.replied(from, epoch, if report.prepared { Answer::Ack } else { Answer::Promise });
        }
    }

    fn commit_if_all_acked(&mut self) {
        let Some(round) = self.round.take_if(|round| round.has(&round.acked)) else { return };
        let still_mine =
            matches!(&self.stage, Stage::Promised(promise) if promise.view.epoch() == round.view.epoch());
        if !still_mine {
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

    /// Ends the round without a view, and waits a little before the next.
    pub(super) fn give_up_round(&mut self) {
        self.abandon_round();
        self.retry_at = self.now + self.backoff.next_wait();
    }

    /// Ends the round without a view. Nobody will install what its own proposer has not committed.
    pub(super) fn abandon_round(&mut self) {
        if let Some(round) = self.round.take() {
            self.unresolved.retain(|view| view.epoch() != round.view.epoch());
        }
    }
}
