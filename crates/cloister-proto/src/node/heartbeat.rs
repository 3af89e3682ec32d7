//! Heartbeats: what this node reports about itself, and how it processes the reports of its peers.

use std::sync::Arc;
use std::time::Duration;

use super::state::{BroadcastState, MemberState, Node, Rejection};
use crate::action::Action;
use crate::candidate::hash_nodes;
use crate::event::LinkId;
use crate::lease::fewest_members;
use crate::message::{Heartbeat, Message, Reach};
use crate::name::NodeId;
use crate::peer::{Report, in_order};
use crate::rule::Rule;
use crate::settings::Settings;
use crate::split::SplitPolicy;
use crate::time::Time;
use crate::view::Epoch;

/// The processor time of one heartbeat at its sender and its receiver, doubled, so that broadcasts take half of a processor if all nodes
/// share one. While a cluster of N assembles, each of N nodes learns of N others and broadcasts each. Without a throttle that is N³
/// heartbeats, which took seconds at fifty nodes.
const HEARTBEAT_COST: Duration = Duration::from_micros(80);

impl Node {
    pub(super) fn on_message(&mut self, link: LinkId, message: Message) {
        let Some(from) = self.links.get(&link).cloned() else {
            return self.reject(Rejection::LinkClosed);
        };
        match message {
            Message::Heartbeat(heartbeat) => self.on_heartbeat(&from, heartbeat),
            Message::Propose(view) => self.on_propose(&from, view),
            Message::Reply { epoch, reply: answer } => self.on_reply(&from, epoch, answer),
            Message::Commit { epoch } => self.on_commit(&from, epoch),
            Message::DuplicateName { older } => self.on_duplicate_name(older),
            // The handshake is over.
            Message::Hello(_) | Message::Refused(_) => self.reject(Rejection::OutOfPlace),
        }
    }

    fn on_heartbeat(&mut self, from: &NodeId, heartbeat: Heartbeat) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(from) else { return };
        if peer.report.is_some_and(|report| heartbeat.sent <= report.sent) {
            return self.reject(Rejection::Replayed);
        }
        if heartbeat.echo > peer.last_sent {
            return self.reject(Rejection::EchoAhead);
        }
        if !std::mem::replace(&mut peer.heartbeat_seen, true) {
            self.deadlines.mark_reachability_changed();
        }
        peer.last_received = now;
        self.deadlines.add_deadline(now + self.settings.timing.unreachable_after);
        peer.last_heartbeat = now;
        peer.last_processed = now;
        let was_leaving = peer.is_leaving();
        let report = Report::new(&heartbeat, now);
        let before = peer.report.replace(report);
        let answered = peer.suspected_at.is_some_and(|since| heartbeat.echo >= since.as_nanos());
        if answered {
            peer.suspected_at = None;
        }
        if let Reach::Nodes(nodes) = heartbeat.reach {
            peer.reachable_hash = hash_nodes(&nodes);
            peer.reachable = nodes;
            self.candidate.stale = true;
            self.connect_to_reported(from);
        }
        let stands = |report: Report| (report.installed, report.promised, report.released_epoch);
        if before.map(stands) != Some(stands(report)) {
            self.drop_aborted_by(from);
        }
        let (installed, objects) = before.map_or((Epoch::ZERO, false), |r| (r.installed, r.objects));
        // Whether other nodes can follow depends on both.
        if self.settings.split == SplitPolicy::Majority
            && (installed, objects) != (report.installed, report.objects)
        {
            self.candidate.stale = true;
        }
        if was_leaving != report.leaving {
            self.leaving_version += 1;
            self.candidate.stale = true;
        }
        if answered {
            self.suspicion_cleared(from);
        }
        self.learn_goodbyes(from, heartbeat.goodbyes);
        self.learn_former(from, heartbeat.former);
        self.observe_max_epoch(heartbeat.max_epoch_seen);
        for epoch in
            [heartbeat.installed, heartbeat.promised, heartbeat.released_epoch, heartbeat.max_epoch_seen]
        {
            self.observe_epoch(epoch);
        }
        self.take_grant(from, &report);
        self.observe_round(from, &report);
        if report.warms {
            self.intents.note_warm_peer();
        }
        self.observe_intent(from, heartbeat.intent);
        if heartbeat.wants_echo {
            self.heartbeats.queue(from);
        }
    }

    /// Connects to the nodes that a peer reaches and this node is not linked to.
    fn connect_to_reported(&mut self, from: &NodeId) {
        let Some(reach) = self.peers.get(from).map(|peer| Arc::clone(&peer.reachable)) else { return };
        for (node, peer) in in_order(&self.peers, reach.iter()) {
            let is_linked = peer.is_some_and(|peer| peer.open().is_some());
            if *node != self.me && !is_linked {
                self.actions.push_back(Action::Connect { peer: node.clone() });
            }
        }
    }

    /// A member of the very same view that echoes what this node sent after its install grants it a lease, from the moment of
    /// sending on.
    fn take_grant(&mut self, from: &NodeId, report: &Report) {
        let (MemberState::Installed(bound), Some(view)) = (&mut self.member_state, &self.installed) else {
            return;
        };
        let same_view = report.installed == view.epoch() || !self.settings.enabled(Rule::SameView);
        // A member that takes part in a new round grants nothing more. Its earlier grants hold to their end: it promises no view
        // without this node before.
        if !report.is_participating() || !same_view {
            return;
        }
        let sent = Time::from_nanos(report.echo);
        let since_install = sent >= bound.since || !self.settings.enabled(Rule::FreshGrants);
        if since_install && report.echo > 0 && sent <= self.now {
            let Settings { split, consensus, timing, .. } = &self.settings;
            // The member's next incarnation waits only for a lease of its own.
            let granted = match self.peers.get(from) {
                Some(peer) if self.settings.enabled(Rule::ShorterLease) => timing.lease.min(peer.terms.lease),
                _ => timing.lease,
            };
            let fewest = fewest_members(*split, consensus.get(), view);
            if bound.grants.extend(from, sent + granted, bound.lease_until) >= fewest {
                self.refresh_lease();
            }
        }
    }

    /// Sends what is due: to all peers at each interval or when something that matters to all has changed, else to the pending
    /// peers.
    pub(super) fn flush_heartbeats(&mut self) {
        if self.leavers_counted != self.leavers_known() {
            self.refresh_reported_size();
        }
        let state = BroadcastState {
            reachability: self.reachability.version,
            installed: self.installed.as_ref().map_or(Epoch::ZERO, |view| view.epoch()),
            released_epoch: self.released_epoch,
            leaving: matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left),
            objects: self.objects,
            goodbyes: if self.follows_majority() { self.goodbyes.newest() } else { 0 },
            size: self.size_version,
            intent: self.intents.announced(),
            warms: self.intents.warms(),
            drains: self.intents.drains(),
        };
        let at_once = self.settings.enabled(Rule::BroadcastAtOnce);
        if (at_once && self.broadcast_due(&state)) || self.now >= self.heartbeats.next_broadcast {
            self.heartbeats.pending.clear();
            self.heartbeats.last_broadcast = self.now;
            self.heartbeats.last_report = self.now;
            self.heartbeats.next_broadcast = self.now + self.settings.timing.heartbeat_every;
            // A leaving node stays until its goodbye is echoed.
            let wants_echo = self.lease_is_low() || state.leaving;
            self.refresh_reported_size();
            self.heartbeats.last_sent = BroadcastState { size: self.size_version, ..state };
            // What keeps this node from following or beginning may expire.
            self.candidate.stale |= self.objects;
            for (link, id) in self.links.clone() {
                self.send_heartbeat(link, &id, wants_echo);
            }
        } else {
            if at_once {
                self.report_reachability();
            }
            for id in std::mem::take(&mut self.heartbeats.pending) {
                let Some(peer) = self.peers.get(&id) else { continue };
                let wants_echo = peer.suspected_at.is_some() || (peer.is_leaving() && self.awaits_lease());
                if let Some(link) = peer.open() {
                    self.send_heartbeat(link, &id, wants_echo);
                }
            }
        }
    }

    /// Reports a changed reachability to the oldest node, the proposer, before the broadcast: N heartbeats instead of N².
    fn report_reachability(&mut self) {
        let Some(oldest) = self.reachability.nodes.iter().find(|node| !self.is_leaving(node)) else { return };
        let Some(peer) = self.peers.get(oldest) else { return };
        if peer.reachability_sent == self.reachability.version {
            return;
        }
        // Not before the proposer computes its candidate again.
        let due = self.heartbeats.last_report + self.candidate_interval();
        if self.now < due {
            return self.wait_until(due);
        }
        self.heartbeats.last_report = self.now;
        self.heartbeats.pending.insert(oldest.clone());
    }

    /// Whether a broadcast is due. A changed reachability is broadcast at once when the last broadcast is long ago, else together with
    /// later changes after an interval. If all nodes broadcast one change, that is N² heartbeats.
    fn broadcast_due(&mut self, state: &BroadcastState) -> bool {
        let said = self.heartbeats.last_sent;
        if *state == said
            || (BroadcastState {
                reachability: said.reachability,
                goodbyes: said.goodbyes,
                size: said.size,
                ..*state
            }) != said
        {
            return *state != said;
        }
        let due = self.heartbeats.last_broadcast + self.broadcast_interval();
        if self.now < due {
            self.wait_until(due);
        }
        self.now >= due
    }

    /// The throttle: the least interval between two broadcasts of a changed reachability.
    pub(super) fn broadcast_interval(&self) -> Duration {
        let nodes = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        HEARTBEAT_COST
            .saturating_mul(nodes.saturating_mul(nodes))
            .min(self.settings.timing.heartbeat_every / 2)
    }

    fn awaits_lease(&self) -> bool {
        matches!(&self.member_state, MemberState::Installed(bound) if !bound.had_lease)
    }

    /// Whether there is no lease yet, or the rest of it is below three quarters of the minimum that prompt heartbeats leave.
    fn lease_is_low(&self) -> bool {
        let timing = &self.settings.timing;
        let least = timing.lease.saturating_sub(2 * timing.heartbeat_every);
        matches!(&self.member_state, MemberState::Installed(bound) if !bound.holds_lease(self.now + least * 3 / 4))
    }

    pub(super) fn send_heartbeat(&mut self, link: LinkId, to: &NodeId, wants_echo: bool) {
        let installed = self.installed.as_ref().map_or(Epoch::ZERO, |view| view.epoch());
        let goodbyes = self.take_goodbyes_for(to);
        let Some(peer) = self.peers.get_mut(to) else { return };
        let reach = if peer.reachability_sent == self.reachability.version {
            Reach::Same(self.reachability.hash)
        } else {
            peer.reachability_sent = self.reachability.version;
            Reach::Nodes(Arc::clone(&self.reachability.nodes))
        };
        // Two heartbeats in one instant must be ordered, too.
        peer.last_sent = self.now.as_nanos().max(peer.last_sent + 1);
        if !goodbyes.is_empty() {
            peer.goodbyes_sent_at = peer.last_sent;
        }
        let heartbeat = Heartbeat {
            sent: peer.last_sent,
            echo: peer.report.map_or(0, |report| report.sent),
            age: self.now.since(self.started_at),
            reach,
            installed,
            promised: self.promised,
            prepared: matches!(&self.member_state, MemberState::Promised(promise) if promise.prepared),
            released_epoch: self.released_epoch,
            max_epoch_seen: self.max_epoch_seen,
            unix_ms: self.unix_ms(),
            leaving: matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left),
            wants_echo,
            size: self.reported_size.0,
            base: self.reported_size.1,
            objects: self.objects,
            goodbyes,
            former: self.former().to_vec(),
            warms: self.intents.warms(),
            drains: self.intents.drains(),
            warmed: self.intents.warmed(),
            intent: self.intents.own().cloned(),
        };
        self.send(link, Message::Heartbeat(heartbeat));
        if self.has_unsent_goodbyes(to) {
            // They do not fit into one heartbeat.
            self.heartbeats.queue(to);
        }
    }

    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.actions.push_back(Action::Send { link, message });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::state::Installed;
    use super::*;
    use crate::hello::PeerTerms;
    use crate::lease::Grants;
    use crate::name::Incarnation;
    use crate::view::{Member, View};

    fn member(n: u64) -> Member {
        Member::without_tags(NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n))
    }

    /// A node that is linked to so many others.
    fn linked_to(others: u64) -> Node {
        let start = Time::from_nanos(1_000_000_000);
        let mut node = Node::new(Settings::new(member(0), NonZeroUsize::MIN, 1), start);
        for n in 1..=others {
            node.on_linked(LinkId(n), member(n), PeerTerms::new(Duration::from_secs(2)));
        }
        node
    }

    #[test]
    fn broadcasts_are_throttled_the_more_the_more_peers_there_are_and_by_half_a_heartbeat_at_most() {
        let intervals = [0, 1, 2, 10, 100].map(|others| linked_to(others).broadcast_interval().as_micros());
        assert_eq!(intervals, [0, 80, 320, 8_000, 250_000]);
    }

    #[test]
    fn a_lease_is_low_below_three_quarters_of_its_normal_minimum() {
        let mut node = linked_to(0);
        let mut is_low = |until: Option<Time>| {
            let (since, grants) = (node.now, Grants::default());
            node.member_state = MemberState::Installed(Installed {
                since,
                grants,
                had_lease: true,
                lease_until: until,
                drain_until: None,
            });
            node.lease_is_low()
        };
        let now = Time::from_nanos(1_000_000_000);
        // A lease of 2 s less two heartbeats of 500 ms is always left; of that, three quarters are 750 ms.
        let until = [751, 750, 1].map(|left| Some(now + Duration::from_millis(left)));
        assert_eq!(until.map(&mut is_low), [false, true, true]);
        assert!(is_low(None), "it has none");
        node.member_state = MemberState::Assembling;
        assert!(!node.lease_is_low());
    }

    fn heartbeat(sent: u64, echo: u64) -> Heartbeat {
        Heartbeat { sent, echo, ..Heartbeat::first() }
    }

    fn actions(node: &mut Node) -> Vec<Action> {
        std::iter::from_fn(|| node.next_action()).collect()
    }

    #[test]
    fn a_node_connects_to_the_nodes_that_a_peer_reaches_and_it_does_not() {
        let mut node = linked_to(3);
        node.on_unlinked(LinkId(3), node.now);
        actions(&mut node);
        let reach = Reach::Nodes((0..=4).map(|n| member(n).id).collect());
        node.on_message(LinkId(1), Message::Heartbeat(Heartbeat { reach, ..heartbeat(1, 0) }));
        let met: Vec<NodeId> = actions(&mut node)
            .into_iter()
            .filter_map(|action| match action {
                Action::Connect { peer } => Some(peer),
                _ => None,
            })
            .collect();
        assert_eq!(met, [member(3).id, member(4).id], "the one is not linked any more, the other never was");
    }

    #[test]
    fn a_member_grants_no_longer_than_for_its_own_lease_and_only_by_echoes_of_what_was_sent_in_this_view() {
        let until = |lease: Duration, sent_ago: u64, installed: u64| {
            let mut node = linked_to(1);
            let view = View::new(Epoch::from_u64(7), vec![member(0), member(1)]);
            node.settings.split = SplitPolicy::Majority;
            node.installed = Some(Arc::new(view));
            let since = node.now - Duration::from_millis(300);
            let grants = Grants::default();
            node.member_state = MemberState::Installed(Installed {
                since,
                grants,
                had_lease: false,
                lease_until: None,
                drain_until: None,
            });
            let peer = node.peers.get_mut(&member(1).id).expect("it is linked");
            (peer.terms.lease, peer.last_sent) = (lease, node.now.as_nanos());
            let echo = (node.now - Duration::from_millis(sent_ago)).as_nanos();
            let (installed, promised) = (Epoch::from_u64(installed), Epoch::from_u64(installed));
            let said = Heartbeat { installed, promised, ..heartbeat(1, echo) };
            let start = node.now;
            node.on_message(LinkId(1), Message::Heartbeat(said));
            node.lease_until().map(|until| until.since(start).as_millis())
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!((until(second, 100, 7), until(minute, 100, 7)), (Some(900), Some(1_900)));
        assert_eq!(
            (until(minute, 300, 7), until(minute, 301, 7)),
            (Some(1_700), None),
            "by the time of the install"
        );
        assert_eq!(until(minute, 100, 8), None, "it takes part in another view");
    }

    #[test]
    fn of_two_incarnations_of_one_name_the_older_stays_if_it_echoes_a_later_heartbeat() {
        let older = member(1);
        let name = older.id.name().clone();
        let younger = Member::without_tags(NodeId::new(name, Incarnation(9), 9));
        let mut node = linked_to(2);
        node.on_linked(LinkId(9), younger, PeerTerms::new(Duration::from_secs(2)));
        let suspected = node.now.as_nanos();
        node.peers.get_mut(&older.id).expect("it is linked").last_sent = suspected + 1;
        actions(&mut node);
        node.on_message(LinkId(1), Message::Heartbeat(heartbeat(1, suspected - 1)));
        assert_eq!(node.links.len(), 3, "it may have said that before it ended");
        node.on_message(LinkId(1), Message::Heartbeat(heartbeat(2, suspected)));
        assert_eq!(node.links.keys().collect::<Vec<_>>(), [&LinkId(1), &LinkId(2)]);
        let said = actions(&mut node);
        assert!(said.iter().any(|action| matches!(
            action,
            Action::Send { link: LinkId(9), message: Message::DuplicateName { older: it } } if *it == older.id
        )));
    }
}
