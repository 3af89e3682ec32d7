//! What has not been answered is sent again: after a link was closed and opened, and at each tick.

use cloister_proto::Slot;

use super::Table;
use super::nodes::Peer;
use super::owed::Owed;
use super::owned::{Owned, Role};
use super::round::Round;
use super::writes::Writes;
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
        let (epoch, up) = (self.epoch(), self.up);
        for slot in slots {
            let Some(owned) = self.owned.get(slot) else { continue };
            let writes = self.writes.get_mut(slot).filter(|_| up);
            let messages = if up { owned.unanswered(writes.as_deref(), only.is_none()) } else { Vec::new() };
            if let Some(writes) = writes {
                writes.at_last_tick = writes.newest();
            }
            for (peer, what) in messages.into_iter().filter(|(peer, _)| is_meant(*peer)) {
                let message = match what {
                    Unanswered::Learn => Message::Learn { epoch, slot },
                    Unanswered::Count => {
                        let number = self.committed(slot);
                        Message::Count { epoch, slot, number }
                    }
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
    Replicate(Operation),
}

impl Owned {
    /// What the peers have not answered; at a tick only what is older than the last one.
    fn unanswered(&self, writes: Option<&Writes>, at_tick: bool) -> Vec<(Peer, Unanswered)> {
        let last = |writes: &Writes| if at_tick { writes.at_last_tick } else { writes.newest() };
        let up_to = writes.map_or(0, last);
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
                    let acked = writes.map_or(0, |writes| writes.acked(peer));
                    let missing = writes.iter().flat_map(|writes| writes.iter());
                    let missing = missing.filter_map(|pending| pending.operation.as_ref());
                    let missing = missing.filter(|write| write.number > acked && write.number <= up_to);
                    let missing = missing.map(|write| (peer, Unanswered::Replicate(write.clone())));
                    messages.extend(missing);
                }
            }
            if replica.role == Role::Joins {
                messages.push((peer, Unanswered::Count));
            }
        }
        messages
    }
}
