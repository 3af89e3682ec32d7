//! What has not been answered is sent again: after a link was closed and opened, and at each tick.

use cloister_proto::Slot;

use super::Table;
use super::nodes::{NodeSet, Peer};
use super::owed::Owed;
use super::owned::{Owned, Role};
use super::round::Round;
use crate::message::Message;
use crate::operation::Operation;

impl Table {
    /// Sends what was not answered again: to one peer whose link has just opened, or at a tick to all.
    pub(super) fn send_again(&mut self, only: Option<Peer>) {
        let is_meant = |peer: Peer| only.is_none_or(|only| only == peer);
        let asked = self.round.iter().flat_map(|round| round.members.iter().chain(round.visitors.iter()));
        for peer in asked.filter(|peer| is_meant(*peer)).collect::<Vec<_>>() {
            self.ask(peer);
        }
        // Most slots of a table that rests wait for nothing.
        let is_planned = self.planned.is_some();
        let writes = |slot| !self.writes.is_empty() && self.writes.contains(slot);
        let unsettled =
            self.owned.iter().filter(|(slot, owned)| is_planned || !owned.is_settled() || writes(*slot));
        let slots: Vec<Slot> = unsettled.map(|(slot, _)| slot).collect();
        self.owed = Owed::all(slots.iter().copied());
        // The claim may have lapsed and come back.
        for slot in slots.iter().copied() {
            self.serve_if_sealed(slot);
            self.commit(slot);
        }
        self.send_owed_to(only);
        let writes = match only {
            Some(peer) => {
                self.paces.forget(peer);
                slots.iter().map(|slot| (*slot, peer)).collect()
            }
            None => self.lost_writes(&slots),
        };
        let (epoch, up) = (self.epoch(), self.up);
        for slot in slots {
            let Some(owned) = self.owned.get(slot) else { continue };
            let messages = if up { owned.unanswered() } else { Vec::new() };
            for (peer, what) in messages.into_iter().filter(|(peer, _)| is_meant(*peer)) {
                let message = match what {
                    Unanswered::Learn => Message::Learn { epoch, slot },
                    Unanswered::Count => {
                        let number = self.committed(slot);
                        Message::Count { epoch, slot, number }
                    }
                    Unanswered::Release => Message::Release { epoch, slot },
                };
                self.send(peer, message);
            }
            self.warm(slot);
        }
        for (slot, peer) in writes {
            self.send_writes_again(slot, peer);
        }
        if only.is_none() {
            self.fetch_what_stands();
        }
    }

    /// At a tick: where writes are lost on the way to a peer. One that says nothing is asked.
    fn lost_writes(&mut self, slots: &[Slot]) -> Vec<(Slot, Peer)> {
        self.paces.tick();
        let (now, mut lost, mut waiting) = (self.paces.now(), Vec::new(), NodeSet::default());
        for slot in slots.iter().copied() {
            let (Some(owned), Some(writes)) = (self.owned.get(slot), self.writes.get(slot)) else { continue };
            for (peer, _) in owned.replicas.iter().filter(|(_, replica)| replica.role.is_sent_again()) {
                let Some(sent) = writes.waits_since(peer) else { continue };
                if self.paces.is_lost(peer, sent) {
                    lost.push((slot, peer));
                } else if sent < now {
                    waiting.insert(peer);
                }
            }
        }
        let epoch = self.epoch();
        for peer in self.nodes.all() {
            if self.paces.asks(peer, waiting.contains(peer)) {
                self.send(peer, Message::Seal { epoch, slots: Vec::new() });
            }
        }
        lost
    }

    /// Sends a peer the writes of a slot again that it has not acknowledged.
    fn send_writes_again(&mut self, slot: Slot, peer: Peer) {
        let gets = |owned: &Owned| owned.replicas.get(peer).is_some_and(|its| its.role.is_sent_again());
        let Some(writes) = self.writes.get_mut(slot).filter(|_| self.up) else { return };
        if !self.owned.get(slot).is_some_and(gets) {
            return;
        }
        let missing: Vec<Operation> = writes.missing(peer).cloned().collect();
        writes.sent_again(peer, self.paces.now());
        let epoch = self.epoch();
        for operation in missing {
            self.send(peer, Message::Replicate { epoch, slot, operation });
        }
    }

    /// At a tick: what was kept for slots of the present view that are not served yet.
    pub(super) fn forget_what_is_over(&mut self) {
        let has_answers =
            |round: &Round| round.decided && round.members.is_empty() && round.visitors.is_empty();
        let is_over = self.round.as_ref().is_none_or(has_answers)
            && self.pulls.is_empty()
            && self.owned.values().all(|owned| owned.serves);
        if is_over {
            self.round = None;
            self.owned.share_equal();
            self.owned.forget_shared();
            self.holdings.forget_shared();
        }
    }
}

/// What a peer has not answered.
enum Unanswered {
    Learn,
    Count,
    Release,
}

impl Owned {
    /// What the peers have not answered, but for writes.
    fn unanswered(&self) -> Vec<(Peer, Unanswered)> {
        let mut messages = Vec::new();
        let learned =
            self.replicas.values().all(|replica| !matches!(replica.role, Role::Learns { .. } | Role::Joins));
        if self.serves && learned {
            messages.extend(self.leftovers.iter().map(|peer| (peer, Unanswered::Release)));
        }
        let unanswered = |role: Role| match role {
            Role::Learns { .. } | Role::Warms { done: false, .. } => Some(Unanswered::Learn),
            Role::Leaves => Some(Unanswered::Release),
            Role::Joins => Some(Unanswered::Count),
            Role::Counts | Role::Warms { done: true, .. } => None,
        };
        let of_replicas = self.replicas.iter();
        messages.extend(of_replicas.filter_map(|(peer, replica)| Some((peer, unanswered(replica.role)?))));
        messages
    }
}
