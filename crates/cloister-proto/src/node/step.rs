//! Processing of events: what follows from each, in one order.

use std::time::Duration;

use super::state::{Discovery, MemberState, Node, PeerDeadlines};
use crate::event::Event;
use crate::lease::Grants;
use crate::rule::Rule;
use crate::time::Time;

impl Node {
    /// Processes one event.
    pub fn handle(&mut self, now: Time, event: Event) {
        if matches!(self.member_state, MemberState::Left) {
            return;
        }
        if let Event::BytesReceived { link, at } = event {
            // The next tick evaluates all of them.
            return self.on_bytes_received(link, at);
        }
        if let Event::WallClock { unix_ms } = event {
            return self.on_wall_clock(now, unix_ms);
        }
        self.advance_clock(now);
        match event {
            Event::Linked { link, peer, terms } => self.on_linked(link, peer, terms),
            Event::Unlinked { link, at } => self.on_unlinked(link, at),
            Event::Received { link, message } => self.on_message(link, message),
            Event::Refused { address, began } => self.on_refused(&address, began),
            Event::DiscoveryUpdate { unverified, refusing, named, complete } => {
                self.discovery = Discovery { unverified, refusing, complete };
                self.update_absent(named);
            }
            Event::HoldReleased { held } => self.on_hold_released(held),
            Event::ClockJumped { by } => self.on_clock_jumped(by),
            Event::Persisted { seq } => self.on_persisted(seq),
            Event::PersistFailed { cause } => self.on_persist_failed(cause),
            Event::WarmsUp(warms) => self.on_warms_up(warms),
            Event::Drain => self.on_drain(),
            Event::Leave => self.on_leave(),
            Event::BytesReceived { .. } | Event::WallClock { .. } | Event::Tick => {}
        }
        self.step();
    }

    /// Everything that follows from an event, in the only possible order.
    pub(super) fn step(&mut self) {
        self.waits_until = None;
        self.close_expired_links();
        self.check_lease();
        self.refresh_reachability();
        self.refresh_candidate();
        self.check_left_out();
        self.check_hold();
        self.try_promise();
        self.drive_intent();
        self.drive_round();
        self.persist_changes();
        self.flush_heartbeats();
        self.check_leaving();
        self.check_leave_prepared();
        self.notify(None);
        // Listeners know the present state now, which is what an announcement may have waited for.
        self.wake_at = if self.has_pending_intent() { Some(self.now) } else { self.timeout() };
    }

    /// After a late tick, shifts every peer deadline by the delay. Leases are not shifted, nor is the guard, which only begins later.
    /// A node that held a lease before the pause processes queued input before it steps down: the input may renew the lease.
    pub(super) fn advance_clock(&mut self, now: Time) {
        let slack = self.settings.timing.heartbeat_every / 5;
        let late = self.wake_at.map_or(Duration::ZERO, |due| now.since(due));
        if late > slack && self.settings.enabled(Rule::ExtendDeadlines) {
            for peer in self.peers.values_mut() {
                peer.extend_deadlines(late, now);
            }
            self.deadlines = PeerDeadlines::new();
            if let MemberState::Installed(bound) = &mut self.member_state
                && bound.holds_lease(self.now)
            {
                bound.drain_until = Some(now + slack);
            }
            self.candidate.left_out_since = self.candidate.left_out_since.map(|since| since + late);
            if let Some(round) = &mut self.round {
                round.started_at = round.started_at + late;
            }
            if let Some(pending) = &mut self.pending {
                pending.since = pending.since + late;
            }
        }
        self.now = self.now.max(now);
    }

    /// Gives up the view and the present promise. A new round follows.
    pub(super) fn step_down(&mut self) {
        self.intents.supersede();
        if self.settings.enabled(Rule::VoidPromise) {
            self.released_epoch = self.promised;
            self.member_state = MemberState::Assembling;
        } else if !matches!(self.member_state, MemberState::Promised(_)) {
            self.member_state = MemberState::Assembling;
        }
        self.abort_round();
        self.candidate.left_out_since = None;
        self.notify(None);
    }

    /// Steps down when the lease has expired or was never earned.
    pub(super) fn check_lease(&mut self) {
        let MemberState::Installed(bound) = &mut self.member_state else { return };
        if bound.holds_lease(self.now) {
            if !std::mem::replace(&mut bound.had_lease, true) {
                // Leaving peers wait for this.
                let leaving = self.peers.values().filter(|peer| peer.is_leaving());
                leaving.for_each(|peer| self.heartbeats.queue(&peer.member.id));
            }
            return;
        }
        if bound.may_renew(self.now) {
            return;
        }
        let lost = bound.had_lease || self.now >= bound.since + self.settings.timing.lease;
        if lost && self.settings.enabled(Rule::NewRound) {
            self.step_down();
        } else if lost {
            bound.had_lease = false;
            self.released_epoch = self.promised;
        }
    }

    /// The machine may have stood still without its clock noticing, so the grants of others may have expired. The view and the status
    /// stay for as long as earning a new lease takes, by echoes of what is sent from now on.
    pub(super) fn on_clock_jumped(&mut self, by: Duration) {
        if by <= self.settings.timing.clock_slack() || !self.settings.enabled(Rule::JumpEndsLease) {
            return;
        }
        // Nothing sent before this moment may count as sent after it.
        let now = self.now.as_nanos();
        self.peers.values_mut().for_each(|peer| peer.last_sent = peer.last_sent.max(now));
        match &mut self.member_state {
            MemberState::Installed(bound) => {
                bound.grants = Grants::default();
                bound.since = Time::from_nanos(now + 1);
                bound.drain_until = bound.had_lease.then_some(bound.since + self.settings.timing.lease);
                self.heartbeats.next_broadcast = self.now;
                self.refresh_lease();
            }
            MemberState::Leaving { kept_lease: claims, .. } => *claims = None,
            MemberState::Assembling | MemberState::Promised(_) | MemberState::Left => {}
        }
    }

    pub(super) fn refresh_lease(&mut self) {
        let (MemberState::Installed(bound), Some(view)) = (&mut self.member_state, &self.installed) else {
            return;
        };
        let settings = &self.settings;
        bound.lease_until = bound.grants.until(&self.me, view, settings.split, settings.consensus.get());
    }

    pub(super) fn timeout(&mut self) -> Option<Time> {
        let timing = &self.settings.timing;
        let mut due = self.heartbeats.next_broadcast;
        let mut at = |time: Time| {
            if time > self.now {
                due = due.min(time);
            }
        };
        match &self.member_state {
            MemberState::Installed(bound) => {
                at(bound.lease_until.unwrap_or(bound.since + timing.lease));
                bound.drain_until.into_iter().for_each(&mut at);
                at(bound.since + timing.promise_timeout());
            }
            MemberState::Promised(promise) => at(promise.since + timing.rehash_timeout),
            MemberState::Leaving { since, .. } => at(*since + timing.leave_timeout),
            MemberState::Assembling | MemberState::Left => {}
        }
        if let Some(since) = self.candidate.left_out_since {
            at(since + timing.left_out_after());
        }
        if self.candidate.stale {
            at(self.candidate.not_before);
        }
        if let Some(pending) = &self.pending {
            at(pending.since + timing.promise_timeout());
        }
        if let Some(round) = &self.round {
            at(round.started_at + timing.promise_timeout());
            at(round.ends(timing));
        }
        if let Some(until) = self.waits_until {
            at(until);
        }
        let due = self.deadline_before(due).unwrap_or(due);
        (!matches!(self.member_state, MemberState::Left)).then_some(due)
    }

    /// Notes that something pending may be allowed at `at`.
    pub(super) fn wait_until(&mut self, at: Time) {
        self.waits_until = Some(self.waits_until.map_or(at, |until| until.min(at)));
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
    use crate::message::{Heartbeat, Message};
    use crate::name::{Incarnation, NodeId};
    use crate::settings::Settings;
    use crate::view::{Epoch, Member, View};

    const MILLI: Duration = Duration::from_millis(1);

    fn member(n: u64) -> Member {
        Member::without_tags(NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n))
    }

    /// Node 0, which has run for a while and has nothing to do for an hour.
    fn idle() -> Node {
        let settings = Settings::new(member(0), NonZeroUsize::MIN, 1);
        let mut node = Node::new(settings, Time::from_nanos(1_000_000_000_000));
        node.now = node.now + 60_000 * MILLI;
        node.heartbeats.next_broadcast = node.now + 3_600_000 * MILLI;
        (node.candidate.stale, node.candidate.left_out_since, node.waits_until) = (false, None, None);
        node
    }

    fn bound(since: Time, until: Option<Time>, reads_until: Option<Time>) -> MemberState {
        MemberState::Installed(Installed {
            since,
            grants: Grants::default(),
            had_lease: true,
            lease_until: until,
            drain_until: reads_until,
        })
    }

    #[test]
    fn a_node_asks_to_be_woken_when_the_first_thing_that_it_waits_for_ends() {
        let view = Arc::new(View::new(Epoch::from_u64(7), vec![member(0), member(1)]));
        let wakes = |change: &dyn Fn(&mut Node)| {
            let mut node = idle();
            change(&mut node);
            node.timeout().expect("it has not left").since(node.now).as_millis()
        };
        let promised = |since| {
            let (view, proposer) = (Arc::clone(&view), member(1).id);
            MemberState::Promised(Promise {
                view,
                proposer,
                since,
                prepared: false,
                persist_state: PersistState::NotNeeded,
            })
        };
        assert_eq!(wakes(&|_| {}), 3_600_000, "the next heartbeat");
        let past = |node: &Node, millis: u32| node.now - millis * MILLI;
        assert_eq!(
            wakes(&|node| node.member_state = bound(past(node, 1_500), None, None)),
            500,
            "a lease never earned"
        );
        assert_eq!(
            wakes(&|node| node.member_state = bound(past(node, 300), None, None)),
            700,
            "the view is judged"
        );
        let until = |node: &Node, millis: u32| Some(node.now + millis * MILLI);
        assert_eq!(
            wakes(&|node| node.member_state = bound(past(node, 9_000), until(node, 1_700), None)),
            1_700
        );
        assert_eq!(
            wakes(&|node| node.member_state = bound(past(node, 9_000), until(node, 1_700), until(node, 100))),
            100,
            "until then it reads"
        );
        assert_eq!(
            wakes(&|node| node.member_state = promised(past(node, 400))),
            9_600,
            "no listener holds it longer"
        );
        let leaving =
            |node: &Node| MemberState::Leaving { since: past(node, 400), held: false, kept_lease: None };
        assert_eq!(wakes(&|node| node.member_state = leaving(node)), 14_600);
        assert_eq!(wakes(&|node| node.candidate.left_out_since = Some(past(node, 100))), 400);
        let not_before = |node: &mut Node, stale: bool| {
            (node.candidate.stale, node.candidate.not_before) = (stale, node.now + 30 * MILLI);
        };
        assert_eq!(wakes(&|node| not_before(node, true)), 30);
        assert_eq!(wakes(&|node| not_before(node, false)), 3_600_000, "there is nothing to compute");
        assert_eq!(wakes(&|node| node.waits_until = until(node, 50)), 50);
        assert_eq!(wakes(&|node| node.waits_until = Some(node.now)), 3_600_000, "that has passed");
        let mut left = idle();
        left.member_state = MemberState::Left;
        assert_eq!(left.timeout(), None);
    }

    #[test]
    fn of_two_moments_that_are_waited_for_the_first_is() {
        let mut node = idle();
        for (millis, first) in [(50, 50), (70, 50), (30, 30)] {
            node.wait_until(node.now + millis * MILLI);
            assert_eq!(node.waits_until, Some(node.now + first * MILLI));
        }
    }

    #[test]
    fn after_a_jump_of_the_clock_only_echoes_of_what_is_sent_later_renew_the_lease() {
        let renewed = |echo_after: u64| {
            let mut node = idle();
            node.on_linked(LinkId(1), member(1), PeerTerms::new(2_000 * MILLI));
            let epoch = Epoch::from_u64(7);
            node.installed = Some(Arc::new(View::new(epoch, vec![member(0), member(1)])));
            node.member_state = bound(node.now - 5_000 * MILLI, Some(node.now + 1_000 * MILLI), None);
            let now = node.now.as_nanos();
            node.peers.get_mut(&member(1).id).expect("it is linked").last_sent = now;
            node.on_clock_jumped(1_000 * MILLI);
            assert_eq!(node.lease_until(), None);
            // It sends something at once, later than everything before.
            node.now = node.now + MILLI;
            node.flush_heartbeats();
            let echo = now + echo_after;
            let said = Heartbeat { echo, installed: epoch, promised: epoch, ..Heartbeat::first() };
            node.on_message(LinkId(1), Message::Heartbeat(said));
            node.lease_until().is_some()
        };
        assert!(!renewed(0) && renewed(1));
    }
}
