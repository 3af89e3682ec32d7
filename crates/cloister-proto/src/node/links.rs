//! Links: who is connected, who is silent, who is gone.

use std::collections::BTreeSet;

use super::succession::FORGET_AFTER;
use super::{Disbelief, Node, Stage};
use crate::action::{Action, CloseReason, Fatal};
use crate::change::DownReason;
use crate::event::LinkId;
use crate::name::{Address, NodeId};
use crate::peer::{Link, Peer, PeerTerms};
use crate::rule::Rule;
use crate::settings::TrustRefusal;
use crate::split::SplitPolicy;
use crate::time::Time;
use crate::view::Member;
use crate::wire::Message;

impl Node {
    pub(super) fn linked(&mut self, link: LinkId, member: Member, terms: PeerTerms) {
        let id = member.id.clone();
        if id == self.me {
            return self.close(link, CloseReason::DuplicateName);
        }
        if id.is_other_life_of(&self.me) {
            return self.met_namesake(link, id);
        }
        if !self.resolve_lives(link, &id) {
            return;
        }
        match self.peers.get_mut(&id) {
            Some(peer) => {
                if let Some(old) = peer.open() {
                    self.links.remove(&old);
                    self.actions.push_back(Action::Close { link: old, reason: CloseReason::Replaced });
                }
                peer.lose(self.now);
                peer.link = Link::Open(link);
                peer.terms = terms;
                peer.member = member;
                peer.heard = self.now;
                peer.beat = self.now;
                peer.reach_sent = 0;
                peer.goodbyes_sent = 0;
            }
            None => {
                self.peers.insert(id.clone(), Peer::new(member, terms, link, self.now));
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.greeted |= !self.settings.keeps(Rule::HeardOnceSpoken);
        }
        self.watch.note_reach();
        let timing = &self.settings.timing;
        self.watch.note_limit(self.now + timing.unreachable_after.min(timing.repair()));
        self.links.insert(link, id.clone());
        self.mouth.owes(&id);
        self.propose_again(&id);
    }

    /// Another life at this node's own name: the younger of the two must end.
    fn met_namesake(&mut self, link: LinkId, other: NodeId) {
        if other < self.me {
            self.actions.push_back(Action::Fail(Fatal::DuplicateName { me: self.me.clone(), older: other }));
        } else {
            self.send(link, Message::DuplicateName { older: self.me.clone() });
            self.close(link, CloseReason::DuplicateName);
        }
    }

    /// Settles what the arrival of `id` means for other lives at its name. Tells whether `id` may stay.
    fn resolve_lives(&mut self, link: LinkId, id: &NodeId) -> bool {
        let mut may_stay = true;
        let others: Vec<NodeId> =
            self.peers.keys().filter(|other| other.is_other_life_of(id)).cloned().collect();
        for other in others {
            let Some(peer) = self.peers.get_mut(&other) else { continue };
            match peer.link {
                // The older must show that it still lives; if it does, the younger is told to end.
                Link::Open(_) if other < *id => {
                    peer.doubted = Some(self.now);
                    self.watch.note_limit(self.now + self.settings.timing.repair());
                    self.mouth.owes(&other);
                }
                Link::Open(younger) => {
                    self.send(younger, Message::DuplicateName { older: id.clone() });
                    self.close(younger, CloseReason::DuplicateName);
                }
                Link::Closed(_) if other < *id => {
                    peer.link = Link::Gone(DownReason::Replaced);
                    self.watch.note_reach();
                }
                // Gone already; or an older life comes after a younger one: it was late, and it is alive.
                Link::Closed(_) | Link::Gone(_) => {}
            }
        }
        if self.peers.get(id).is_some_and(|peer| peer.link == Link::Gone(DownReason::Replaced)) {
            // It was taken for dead and replaced; what it says now cannot be trusted to be the present.
            self.close(link, CloseReason::Replaced);
            may_stay = false;
        }
        may_stay
    }

    /// A doubted life has spoken: it lives, and the younger one at its name must end.
    pub(super) fn doubt_answered(&mut self, older: &NodeId) {
        let younger = self.peers.keys().filter(|id| id.is_other_life_of(older) && *id > older).cloned();
        for id in younger.collect::<Vec<_>>() {
            if let Some(link) = self.peers.get(&id).and_then(Peer::open) {
                self.send(link, Message::DuplicateName { older: older.clone() });
                self.close(link, CloseReason::DuplicateName);
            }
        }
    }

    pub(super) fn told_to_end(&mut self, older: NodeId) {
        if older.is_other_life_of(&self.me) && older < self.me {
            self.actions.push_back(Action::Fail(Fatal::DuplicateName { me: self.me.clone(), older }));
        } else {
            self.disbelieve(Disbelief::ForeignName);
        }
    }

    pub(super) fn unlinked(&mut self, link: LinkId, at: Time) {
        let Some(id) = self.links.remove(&link) else { return };
        self.lose_link(&id, link, at.min(self.now));
    }

    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.actions.push_back(Action::Close { link, reason });
        if let Some(id) = self.links.remove(&link) {
            self.lose_link(&id, link, self.now);
        }
    }

    fn lose_link(&mut self, id: &NodeId, link: LinkId, at: Time) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.open() != Some(link) {
            return;
        }
        peer.lose(self.now);
        self.watch.note_reach();
        self.watch.note_limit(self.now + self.settings.timing.repair());
        if let Some(since) = peer.member.id.name().address().and_then(|address| self.absent.get_mut(address))
        {
            *since = self.now;
        }
        let replaced = peer.doubted.take().is_some();
        peer.link = if replaced { Link::Gone(DownReason::Replaced) } else { Link::Closed(at) };
        if let Stage::Bound(bound) = &mut self.stage {
            bound.grants.remove(id);
        }
        self.refresh_lease();
        if !replaced {
            self.actions.push_back(Action::Meet { peer: id.clone() });
        }
    }

    pub(super) fn heard(&mut self, link: LinkId, at: Time) {
        if let Some(peer) = self.links.get(&link).and_then(|id| self.peers.get_mut(id)) {
            peer.heard = peer.heard.max(at);
        }
    }

    /// An address refuses. A peer that had it and lost its link before the attempt began has ended, if a refusal of
    /// this address proves anything. Else its lease is waited for, unless another life answers at the address.
    pub(super) fn refused(&mut self, address: &Address, began: Time) {
        if !self.proves_an_end(address) {
            return;
        }
        for peer in self.peers.values_mut() {
            if let Link::Closed(at) = peer.link
                && began >= at
                && peer.member.id.name().address() == Some(address)
            {
                peer.link = Link::Gone(DownReason::Crashed);
                self.target.stale |= self.settings.split == SplitPolicy::Majority;
                self.watch.note_reach();
            }
        }
        self.goodbyes.refused(address, began);
        self.refused_since(address);
    }

    /// Whether a refusal of `address` proves that no process runs there. What every peer that was ever met there says of it
    /// decides; of an address that nobody was met at, this node assumes what it knows of its own.
    pub(super) fn proves_an_end(&self, address: &Address) -> bool {
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

    /// The addresses that discovery names, that refuse, and that prove nothing by it.
    pub(super) fn doubted_addresses(&self) -> impl Iterator<Item = &Address> {
        let is_linked = |address: &Address| {
            let at_address = |peer: &Peer| peer.member.id.name().address() == Some(address);
            self.peers.values().any(|peer| peer.open().is_some() && at_address(peer))
        };
        let refusing = self.survey.refusing.iter();
        refusing.filter(move |address| !self.proves_an_end(address) && !is_linked(address))
    }

    /// The addresses that discovery names behind each of which may be a node that this one does not know of.
    pub(super) fn hiding_places(&self) -> impl Iterator<Item = &Address> {
        self.survey.unaccounted.iter().chain(self.doubted_addresses())
    }

    /// Closes links by which nothing comes in any more, and forgets who is long gone.
    pub(super) fn close_silent_links(&mut self) {
        if self.watch.is_due(self.now) {
            self.close_links_past_limit();
        }
        self.forget_the_gone();
    }

    fn close_links_past_limit(&mut self) {
        let timing = self.settings.timing;
        let now = self.now;
        let mut close = Vec::new();
        for peer in self.peers.values() {
            let Some(link) = peer.open() else { continue };
            if now >= peer.heard + timing.unreachable_after {
                close.push((link, CloseReason::Silent));
            } else if now >= peer.beat + timing.hung_after() && self.settings.keeps(Rule::HungIsGone) {
                close.push((link, CloseReason::Hung));
            } else if peer.doubted.is_some_and(|since| now >= since + timing.repair()) {
                close.push((link, CloseReason::Replaced));
            }
        }
        for (link, reason) in close {
            self.close(link, reason);
        }
    }

    fn forget_the_gone(&mut self) {
        if self.now < self.forget_at {
            return;
        }
        self.forget_at = self.now + self.settings.timing.hung_after();
        self.forget_goodbyes(FORGET_AFTER);
        self.forget_former();
        self.look_for_the_remembered();
        let keep_for = 4 * self.settings.timing.hung_after();
        let told = self.record.state();
        let handed = self.goodbyes.all().flat_map(|learned| &learned.bases);
        let bases: BTreeSet<&NodeId> =
            self.installed.iter().chain(&self.unresolved).chain(handed).flat_map(|view| view.ids()).collect();
        let now = self.now;
        self.watch.note_reach();
        self.peers.retain(|id, peer| {
            peer.open().is_some()
                || now < peer.handled + keep_for
                || bases.contains(id)
                || told.members.iter().any(|member| member.id == *id)
        });
    }
}
