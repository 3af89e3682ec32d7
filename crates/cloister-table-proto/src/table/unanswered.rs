//! What has not been answered is sent again: after a link was closed and opened, and at each tick.

use cloister_proto::Slot;

use super::Table;
use super::nodes::Peer;
use super::owed::Owed;
use super::owned::{Owned, Role};
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
        let unsettled = self.owned.iter().filter(|(_, owned)| is_planned || !owned.is_settled());
        let slots: Vec<Slot> = unsettled.map(|(slot, _)| slot).collect();
        self.owed = Owed::all(slots.iter().copied());
        // The claim may have lapsed and come back.
        for slot in slots.iter().copied() {
            self.serve_if_sealed(slot);
            self.commit(slot);
        }
        self.send_owed_to(only);
        let (epoch, up) = (self.epoch(), self.up);
        for slot in slots {
            let Some(owned) = self.owned.get_mut(slot) else { continue };
            let messages = if up { owned.unanswered(only.is_none()) } else { Vec::new() };
            for (peer, what) in messages.into_iter().filter(|(peer, _)| is_meant(*peer)) {
                let message = match what {
                    Unanswered::Learn => Message::Learn { epoch, slot },
                    Unanswered::Count(number) => Message::Count { epoch, slot, number },
                    Unanswered::Release => Message::Release { epoch, slot },
                    Unanswered::Replicate(operation) => Message::Replicate { epoch, slot, operation },
                };
                self.send(peer, message);
            }
            self.warm(slot);
        }
        if only.is_none() {
            self.fetch_what_stands();
        }
    }
}

/// What a peer has not answered.
enum Unanswered {
    Learn,
    Count(u64),
    Release,
    Replicate(Operation),
}

impl Owned {
    /// What the peers have not answered; at a tick only what is older than the last one.
    fn unanswered(&mut self, at_tick: bool) -> Vec<(Peer, Unanswered)> {
        let newest = self.pending.back().map_or(0, |pending| pending.number);
        let since = std::mem::replace(&mut self.at_last_tick, newest);
        let up_to = if at_tick { since } else { newest };
        let mut messages = Vec::new();
        let learned =
            self.replicas.values().all(|replica| !matches!(replica.role, Role::Learns { .. } | Role::Joins));
        if self.serves && learned {
            messages.extend(self.leftovers.iter().map(|peer| (peer, Unanswered::Release)));
        }
        for (peer, replica) in self.replicas.iter() {
            match replica.role {
                Role::Learns { .. } | Role::Warms { done: false, .. } => {
                    messages.push((peer, Unanswered::Learn));
                }
                Role::Leaves => messages.push((peer, Unanswered::Release)),
                Role::Joins | Role::Counts | Role::Warms { done: true, .. } => {
                    let missing = self.pending.iter().filter_map(|pending| pending.operation.as_ref());
                    let missing =
                        missing.filter(|write| write.number > replica.acked && write.number <= up_to);
                    let missing = missing.map(|write| (peer, Unanswered::Replicate(write.clone())));
                    messages.extend(missing);
                }
            }
            if replica.role == Role::Joins {
                messages.push((peer, Unanswered::Count(self.committed)));
            }
        }
        messages
    }
}
