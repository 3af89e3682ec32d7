//! Links and the failure detector (failure detection): which peers are connected, silent, suspected or gone.

use std::collections::BTreeSet;

use super::state::{MemberState, Node, Rejection};
use super::succession::FORGET_AFTER;
use crate::action::{Action, CloseReason, Fatal};
use crate::change::DownReason;
use crate::event::LinkId;
use crate::hello::PeerTerms;
use crate::message::Message;
use crate::name::{Address, NodeId};
use crate::peer::{Link, Peer};
use crate::rule::Rule;
use crate::settings::TrustRefusal;
use crate::split::SplitPolicy;
use crate::time::Time;
use crate::view::Member;

impl Node {
    pub(super) fn on_linked(&mut self, link: LinkId, member: Member, terms: PeerTerms) {
        let id = member.id.clone();
        if id == self.me {
            return self.close(link, CloseReason::DuplicateName);
        }
        if id.same_name_other_incarnation(&self.me) {
            return self.on_name_conflict(link, id);
        }
        if !self.resolve_incarnations(link, &id) {
            return;
        }
        match self.peers.get_mut(&id) {
            Some(peer) => {
                if let Some(old) = peer.open() {
                    self.links.remove(&old);
                    self.actions.push_back(Action::Close { link: old, reason: CloseReason::Replaced });
                }
                peer.disconnect(self.now);
                peer.link = Link::Open(link);
                peer.linked_at = self.now;
                peer.terms = terms;
                peer.member = member;
                peer.last_received = self.now;
                peer.last_heartbeat = self.now;
                peer.reachability_sent = 0;
                peer.goodbyes_sent = 0;
            }
            None => {
                self.peers.insert(id.clone(), Peer::new(member, terms, link, self.now));
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.heartbeat_seen |= !self.settings.enabled(Rule::ReachableOnceHeartbeat);
        }
        self.deadlines.mark_reachability_changed();
        let timing = &self.settings.timing;
        self.deadlines.add_deadline(self.now + timing.unreachable_after.min(timing.reconnect_grace()));
        self.links.insert(link, id.clone());
        self.heartbeats.queue(&id);
        self.propose_again(&id);
    }

    /// Another incarnation has this node's own name: the younger of the two must end.
    fn on_name_conflict(&mut self, link: LinkId, other: NodeId) {
        if other < self.me {
            self.actions.push_back(Action::Fail(Fatal::DuplicateName { me: self.me.clone(), older: other }));
        } else {
            self.send(link, Message::DuplicateName { older: self.me.clone() });
            self.close(link, CloseReason::DuplicateName);
        }
    }

    /// Resolves a conflict between `id` and other incarnations of its name. Returns whether `id` may stay.
    fn resolve_incarnations(&mut self, link: LinkId, id: &NodeId) -> bool {
        if self.peers.get(id).is_some_and(|peer| peer.link == Link::Gone(DownReason::Replaced)) {
            // It was replaced, and its messages may be long past. The younger incarnation stays.
            self.close(link, CloseReason::Replaced);
            return false;
        }
        let others: Vec<NodeId> =
            self.peers.keys().filter(|other| other.same_name_other_incarnation(id)).cloned().collect();
        for other in others {
            let Some(peer) = self.peers.get_mut(&other) else { continue };
            match peer.link {
                // The older is suspected: if it answers, the younger must end.
                Link::Open(_) if other < *id => {
                    peer.suspected_at = Some(self.now);
                    self.deadlines.add_deadline(self.now + self.settings.timing.reconnect_grace());
                    self.heartbeats.queue(&other);
                }
                Link::Open(younger) => {
                    self.send(younger, Message::DuplicateName { older: id.clone() });
                    self.close(younger, CloseReason::DuplicateName);
                }
                Link::Closed(_) if other < *id => {
                    peer.link = Link::Gone(DownReason::Replaced);
                    self.deadlines.mark_reachability_changed();
                }
                // It is gone already; or the older incarnation connects late and is alive.
                Link::Closed(_) | Link::Gone(_) => {}
            }
        }
        true
    }

    /// A suspected incarnation has answered, so the younger one of its name must end.
    pub(super) fn suspicion_cleared(&mut self, older: &NodeId) {
        let younger =
            self.peers.keys().filter(|id| id.same_name_other_incarnation(older) && *id > older).cloned();
        for id in younger.collect::<Vec<_>>() {
            if let Some(link) = self.peers.get(&id).and_then(Peer::open) {
                self.send(link, Message::DuplicateName { older: older.clone() });
                self.close(link, CloseReason::DuplicateName);
            }
        }
    }

    pub(super) fn on_duplicate_name(&mut self, older: NodeId) {
        if older.same_name_other_incarnation(&self.me) && older < self.me {
            self.actions.push_back(Action::Fail(Fatal::DuplicateName { me: self.me.clone(), older }));
        } else {
            self.reject(Rejection::ForeignName);
        }
    }

    pub(super) fn on_unlinked(&mut self, link: LinkId, at: Time) {
        let Some(id) = self.links.remove(&link) else { return };
        self.disconnect_peer(&id, link, at.min(self.now));
    }

    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.actions.push_back(Action::Close { link, reason });
        if let Some(id) = self.links.remove(&link) {
            self.disconnect_peer(&id, link, self.now);
        }
    }

    fn disconnect_peer(&mut self, id: &NodeId, link: LinkId, at: Time) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.open() != Some(link) {
            return;
        }
        peer.disconnect(self.now);
        self.deadlines.mark_reachability_changed();
        self.deadlines.add_deadline(self.now + self.settings.timing.reconnect_grace());
        if let Some(since) = peer.member.id.name().address().and_then(|address| self.absent.get_mut(address))
        {
            *since = self.now;
        }
        let replaced = peer.suspected_at.take().is_some();
        peer.link = if replaced { Link::Gone(DownReason::Replaced) } else { Link::Closed(at) };
        if let MemberState::Installed(bound) = &mut self.member_state {
            bound.grants.remove(id);
        }
        self.refresh_lease();
        if !replaced {
            self.actions.push_back(Action::Connect { peer: id.clone() });
        }
    }

    pub(super) fn on_bytes_received(&mut self, link: LinkId, at: Time) {
        if let Some(peer) = self.links.get(&link).and_then(|id| self.peers.get_mut(id)) {
            peer.last_received = peer.last_received.max(at);
        }
    }

    /// An address refuses connections. A peer at this address that lost its link before the attempt began has exited, if a refusal
    /// proves it. Else its lease is waited for, unless another incarnation answers at the address.
    pub(super) fn on_refused(&mut self, address: &Address, began: Time) {
        if !self.refusal_proves_exit(address) {
            return;
        }
        for peer in self.peers.values_mut() {
            if let Link::Closed(at) = peer.link
                && began >= at
                && peer.member.id.name().address() == Some(address)
            {
                peer.link = Link::Gone(DownReason::Crashed);
                self.candidate.stale |= self.settings.split == SplitPolicy::Majority;
                self.deadlines.mark_reachability_changed();
            }
        }
        self.goodbyes.mark_exited_at(address, began);
        self.on_remembered_refused(address);
    }

    /// Whether a refused connection proves that no process runs at `address`. What every peer known at this address reported
    /// decides; without such a peer this node assumes what it knows of its own address.
    pub(super) fn refusal_proves_exit(&self, address: &Address) -> bool {
        let at_address = |peer: &&Peer| peer.member.id.name().address() == Some(address);
        match self.settings.trust_refusal {
            TrustRefusal::Always => true,
            TrustRefusal::Never => false,
            TrustRefusal::Auto => {
                let mut met = self.peers.values().filter(at_address).peekable();
                match met.peek() {
                    Some(_) => met.all(|peer| peer.terms.owns_address),
                    None => self.settings.owns_address,
                }
            }
        }
    }

    /// The discovered addresses that refuse without proving an exit.
    pub(super) fn inconclusive_addresses(&self) -> impl Iterator<Item = &Address> {
        let is_linked = |address: &Address| {
            let at_address = |peer: &Peer| peer.member.id.name().address() == Some(address);
            self.peers.values().any(|peer| peer.open().is_some() && at_address(peer))
        };
        let refusing = self.discovery.refusing.iter();
        refusing.filter(move |address| !self.refusal_proves_exit(address) && !is_linked(address))
    }

    /// The discovered addresses behind which an unknown node may be.
    pub(super) fn unverified_addresses(&self) -> impl Iterator<Item = &Address> {
        self.discovery.unverified.iter().chain(self.inconclusive_addresses())
    }

    /// Closes links whose deadlines have passed, and drops peers that are long gone.
    pub(super) fn close_expired_links(&mut self) {
        if self.deadlines.is_due(self.now) {
            self.close_links_past_deadline();
        }
        self.prune_peers();
    }

    fn close_links_past_deadline(&mut self) {
        let timing = self.settings.timing;
        let now = self.now;
        let mut close = Vec::new();
        for peer in self.peers.values() {
            let Some(link) = peer.open() else { continue };
            if now >= peer.last_received + timing.unreachable_after {
                close.push((link, CloseReason::Silent));
            } else if now >= peer.last_heartbeat + timing.hung_after()
                && self.settings.enabled(Rule::HungIsGone)
            {
                close.push((link, CloseReason::Hung));
            } else if peer.suspected_at.is_some_and(|since| now >= since + timing.reconnect_grace()) {
                close.push((link, CloseReason::Replaced));
            }
        }
        for (link, reason) in close {
            self.close(link, reason);
        }
    }

    fn prune_peers(&mut self) {
        if self.now < self.prune_at {
            return;
        }
        self.prune_at = self.now + self.settings.timing.hung_after();
        self.forget_goodbyes(FORGET_AFTER);
        self.prune_former();
        self.connect_to_remembered();
        let keep_for = 4 * self.settings.timing.hung_after();
        let notified = self.tracker.state();
        let handed = self.goodbyes.all().flat_map(|learned| &learned.base_views);
        let base_views: BTreeSet<&NodeId> = self
            .installed
            .iter()
            .chain(&self.maybe_installed)
            .chain(handed)
            .flat_map(|view| view.ids())
            .collect();
        let now = self.now;
        self.deadlines.mark_reachability_changed();
        self.peers.retain(|id, peer| {
            peer.open().is_some()
                || now < peer.last_processed + keep_for
                || base_views.contains(id)
                || notified.members.iter().any(|member| member.id == *id)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;
    use crate::name::Incarnation;
    use crate::settings::Settings;
    use crate::view::{Epoch, View};

    /// The incarnation `number` of the process at host `host`; the greater the number, the younger it is.
    fn incarnation(host: u64, number: u64) -> NodeId {
        NodeId::new(format!("a@h{host}:1").parse().expect("a name"), Incarnation(number), number)
    }

    /// Incarnation 5 at host 1.
    fn alone() -> Node {
        let settings = Settings::new(Member::without_tags(incarnation(1, 5)), NonZeroUsize::MIN, 1);
        Node::new(settings, Time::from_nanos(1_000_000_000_000))
    }

    /// Links these incarnations, one after the other; the number of a link is that of the incarnation.
    fn linked(incarnations: &[&NodeId]) -> Node {
        let mut node = alone();
        for id in incarnations {
            link(&mut node, id);
        }
        node
    }

    fn link(node: &mut Node, id: &NodeId) {
        let terms = PeerTerms::new(Duration::from_secs(2));
        node.on_linked(LinkId(id.incarnation().0), Member::without_tags(id.clone()), terms);
    }

    /// Which links were closed, and why; by which the other learned that an older incarnation has its name; whether this node fails.
    fn done(node: &mut Node) -> (Vec<(u64, CloseReason)>, Vec<u64>, bool) {
        let (mut closed, mut notified, mut fails) = (Vec::new(), Vec::new(), false);
        while let Some(action) = node.next_action() {
            match action {
                Action::Close { link, reason } => closed.push((link.0, reason)),
                Action::Send { link, message: Message::DuplicateName { .. } } => notified.push(link.0),
                Action::Fail(_) => fails = true,
                _ => {}
            }
        }
        (closed, notified, fails)
    }

    #[test]
    fn of_two_incarnations_of_the_own_name_the_younger_ends() {
        let own = CloseReason::DuplicateName;
        assert_eq!(
            done(&mut linked(&[&incarnation(1, 6)])),
            (vec![(6, own)], vec![6], false),
            "the other is younger"
        );
        assert_eq!(done(&mut linked(&[&incarnation(1, 4)])), (vec![], vec![], true), "the other is older");
        assert_eq!(
            done(&mut linked(&[&incarnation(1, 5)])),
            (vec![(5, own)], vec![], false),
            "it is this node itself"
        );

        let mut node = alone();
        for (older, fails) in [
            (incarnation(1, 6), false),
            (incarnation(1, 5), false),
            (incarnation(2, 4), false),
            (incarnation(1, 4), true),
        ] {
            node.on_duplicate_name(older);
            assert_eq!(done(&mut node), (vec![], vec![], fails));
        }
        assert_eq!(node.rejections()[&Rejection::ForeignName], 3);
    }

    #[test]
    fn an_older_incarnation_that_connects_after_a_younger_one_is_alive_and_the_younger_ends() {
        let (older, younger) = (incarnation(2, 6), incarnation(2, 7));
        let mut node = linked(&[&younger, &older]);
        assert_eq!(done(&mut node), (vec![(7, CloseReason::DuplicateName)], vec![7], false));
        assert_eq!(node.peers[&older].link, Link::Open(LinkId(6)));

        let mut node = linked(&[&younger]);
        node.on_unlinked(LinkId(7), node.now);
        link(&mut node, &older);
        assert_eq!(
            done(&mut node),
            (vec![], vec![], false),
            "of one that is not linked nothing is to be said"
        );
        let link = node.peers[&younger].link;
        assert!(matches!(link, Link::Closed(_)), "it is the newer one, so nothing has replaced it: {link:?}");
    }

    #[test]
    fn an_older_incarnation_that_is_linked_is_suspected_and_one_that_is_not_is_replaced_for_good() {
        let (older, younger) = (incarnation(2, 6), incarnation(2, 7));
        let mut node = linked(&[&older, &younger]);
        assert_eq!(
            (done(&mut node), node.peers[&older].suspected_at),
            ((vec![], vec![], false), Some(node.now))
        );

        let mut node = linked(&[&older]);
        node.on_unlinked(LinkId(6), node.now);
        link(&mut node, &younger);
        assert_eq!(node.peers[&older].link, Link::Gone(DownReason::Replaced));
        link(&mut node, &older);
        let closes_it_alone = (vec![(6, CloseReason::Replaced)], vec![], false);
        assert_eq!(done(&mut node), closes_it_alone, "what it says now may be long past; the younger stays");
        assert_eq!(node.peers[&younger].open(), Some(LinkId(7)));
        assert_eq!(node.peers[&older].link, Link::Gone(DownReason::Replaced));
    }

    #[test]
    fn a_second_link_to_one_peer_replaces_the_first() {
        let peer = incarnation(2, 6);
        let mut node = linked(&[&peer]);
        node.peers.get_mut(&peer).expect("it is linked").heartbeat_seen = true;
        let terms = PeerTerms::new(Duration::from_secs(2));
        node.on_linked(LinkId(60), Member::without_tags(peer.clone()), terms);
        assert_eq!(done(&mut node).0, [(6, CloseReason::Replaced)]);
        assert!(!node.peers[&peer].is_live(), "by the second nothing has come in yet");
        node.on_unlinked(LinkId(6), node.now);
        assert_eq!(node.peers[&peer].open(), Some(LinkId(60)), "that the first is closed changes nothing");
    }

    #[test]
    fn a_silent_link_and_one_by_which_no_heartbeat_comes_are_closed_when_their_time_is_over() {
        let peer = incarnation(2, 6);
        let closed = |heard: u64, beat: u64, suspected: Option<u64>| {
            let mut node = linked(&[&peer]);
            let ago = |millis| node.now - Duration::from_millis(millis);
            let (heard, beat, suspected) = (ago(heard), ago(beat), suspected.map(ago));
            let known = node.peers.get_mut(&peer).expect("it is linked");
            (known.last_received, known.last_heartbeat, known.suspected_at) = (heard, beat, suspected);
            node.close_links_past_deadline();
            done(&mut node).0.first().map(|(_, reason)| *reason)
        };
        assert_eq!(closed(2_999, 9_999, Some(499)), None);
        assert_eq!(closed(3_000, 3_000, None), Some(CloseReason::Silent));
        assert_eq!(closed(0, 10_000, None), Some(CloseReason::Hung));
        assert_eq!(closed(0, 0, Some(500)), Some(CloseReason::Replaced));
    }

    #[test]
    fn a_refusal_proves_the_end_of_a_process_whose_link_was_lost_before_and_that_owns_its_address() {
        let peer = incarnation(2, 6);
        let address = peer.name().address().expect("it has one").clone();
        let ended = |trust: TrustRefusal, owns_address: bool, lost_after: u64| {
            let mut node = alone();
            node.settings.trust_refusal = trust;
            let mut terms = PeerTerms::new(Duration::from_secs(2));
            terms.owns_address = owns_address;
            node.on_linked(LinkId(6), Member::without_tags(peer.clone()), terms);
            let began = node.now;
            node.now = node.now + Duration::from_nanos(lost_after);
            node.on_unlinked(LinkId(6), node.now);
            node.candidate.stale = false;
            node.on_refused(&address, began);
            // Under `majority` it counts that it has ended.
            assert_eq!(node.candidate.stale, node.peers[&peer].has_exited());
            node.peers[&peer].has_exited()
        };
        use TrustRefusal::{Always, Auto, Never};
        assert!(ended(Auto, true, 0) && !ended(Auto, true, 1), "the attempt may have met the process before");
        assert!(!ended(Auto, false, 0) && ended(Always, false, 0) && !ended(Never, true, 0));

        // Of an address without a known peer a node assumes what it knows of its own.
        let other = incarnation(3, 1).name().address().expect("it has one").clone();
        let mut node = linked(&[&peer]);
        assert!(node.refusal_proves_exit(&other));
        node.settings.owns_address = false;
        assert!(!node.refusal_proves_exit(&other) && node.refusal_proves_exit(&address));
    }

    #[test]
    fn an_address_that_refuses_and_proves_nothing_may_hide_a_node_unless_one_is_linked_there() {
        let peer = incarnation(2, 6);
        let [there, silent, elsewhere] =
            [2, 3, 4].map(|host| incarnation(host, 1).name().address().expect("it has one").clone());
        let mut node = linked(&[&peer]);
        node.discovery.refusing = [there.clone(), elsewhere.clone()].into();
        node.discovery.unverified = [silent.clone()].into();
        assert!(node.unverified_addresses().eq([&silent]));
        node.settings.trust_refusal = TrustRefusal::Never;
        assert!(node.unverified_addresses().eq([&silent, &elsewhere]));
        node.on_unlinked(LinkId(6), node.now);
        assert!(node.unverified_addresses().eq([&silent, &there, &elsewhere]));
    }

    #[test]
    fn a_peer_that_is_long_gone_is_forgotten_unless_it_is_in_a_view_that_counts() {
        let keep_for = Duration::from_secs(40);
        let kept = |after: Duration, is_member: bool, is_linked: bool| {
            let peer = incarnation(2, 6);
            let mut node = linked(&[&peer]);
            if !is_linked {
                node.on_unlinked(LinkId(6), node.now);
            }
            if is_member {
                let view = View::new(Epoch::from_u64(1), vec![Member::without_tags(peer.clone())]);
                node.installed = Some(view.into());
            }
            node.now = node.now + after;
            node.prune_peers();
            node.peers.contains_key(&peer)
        };
        let just_before = keep_for - Duration::from_nanos(1);
        assert!(kept(just_before, false, false) && !kept(keep_for, false, false));
        assert!(kept(keep_for, true, false) && kept(keep_for, false, true));
    }
}
