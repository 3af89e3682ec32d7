//! What an owner has to say of its slots, gathered so that each peer hears of all of them in one message.

use cloister_proto::Slot;

use super::Table;
use super::nodes::Peer;
use super::owned::Claimed;
use crate::label::Seen;
use crate::message::{Message, Relabel};

/// The slots of which there is something to say.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) relabels: Vec<Slot>,
    pub(super) informs: Vec<Slot>,
    pub(super) seals: Vec<Slot>,
}

/// What is said to each peer, by its number.
struct ByPeer<T>(Vec<Vec<T>>);

impl Owed {
    /// All that was not confirmed is said again.
    pub(super) fn all(slots: impl Iterator<Item = Slot>) -> Self {
        let slots: Vec<Slot> = slots.collect();
        Self { relabels: slots.clone(), informs: slots.clone(), seals: slots }
    }

    fn is_empty(&self) -> bool {
        self.relabels.is_empty() && self.informs.is_empty() && self.seals.is_empty()
    }
}

impl<T> ByPeer<T> {
    fn new(peers: usize) -> Self {
        Self(std::iter::repeat_with(Vec::new).take(peers).collect())
    }

    fn push(&mut self, peer: Peer, what: T) {
        if let Some(its) = self.0.get_mut(peer.index()) {
            its.push(what);
        }
    }
}

impl Table {
    /// Says what has come up in this call.
    pub(super) fn send_owed(&mut self) {
        self.send_owed_to(None);
    }

    /// The same, to one peer only or to all.
    pub(super) fn send_owed_to(&mut self, only: Option<Peer>) {
        if self.owed.is_empty() {
            return;
        }
        let Owed { relabels, informs, seals } = std::mem::take(&mut self.owed);
        let epoch = self.epoch();
        let relabels = self.gather(relabels, |table, slot, by_peer| table.owe_relabels(slot, only, by_peer));
        self.send_each(relabels, |slots| Message::Relabel { epoch, slots });
        let informs = self.gather(informs, |table, slot, by_peer| {
            let Some(owned) = table.owned.get(slot) else { return };
            let seen = table.seen.get(slot);
            owned.informs.iter().filter(is_meant(only)).for_each(|peer| by_peer.push(peer, (slot, seen)));
        });
        let follows = self.follows;
        self.send_each(informs, |slots| Message::Inform { epoch, follows, slots });
        let seals: ByPeer<(Slot, Seen)> = self.gather(seals, |table, slot, by_peer| {
            let Some(owned) = table.owned.get(slot).filter(|owned| table.up && owned.is_sealing) else {
                return;
            };
            owned
                .unsealed
                .iter()
                .filter(is_meant(only))
                .for_each(|peer| by_peer.push(peer, (slot, table.seals.get(slot))));
        });
        self.send_each(seals, |slots| Message::Seal { epoch, slots });
    }

    /// What is to be said of these slots.
    fn gather<T>(&self, mut slots: Vec<Slot>, say: impl Fn(&Self, Slot, &mut ByPeer<T>)) -> ByPeer<T> {
        // Nearly always they have come up in order.
        slots.sort_unstable();
        slots.dedup();
        let mut by_peer = ByPeer::new(self.nodes.len());
        slots.into_iter().for_each(|slot| say(self, slot, &mut by_peer));
        by_peer
    }

    fn send_each<T>(&mut self, by_peer: ByPeer<T>, message: impl Fn(Vec<T>) -> Message) {
        for (peer, slots) in self.nodes.all().zip(by_peer.0).filter(|(_, slots)| !slots.is_empty()) {
            self.send(peer, message(slots));
        }
    }

    fn owe_relabels(&self, slot: Slot, only: Option<Peer>, by_peer: &mut ByPeer<Relabel>) {
        let Some(owned) = self.owned.get(slot) else { return };
        for (peer, claimed) in owned.relabels.iter().filter(|(peer, _)| is_meant(only)(peer)) {
            let Claimed { reported, label, written, lags, .. } = *claimed;
            let missing = match (lags, self.holdings.get(slot)) {
                (false, _) => Some(Vec::new()),
                // The content is not here yet.
                (true, _) if owned.pulls => continue,
                (true, holding) => holding.and_then(|holding| holding.log.since(reported.label)),
            };
            by_peer.push(peer, Relabel { slot, reported, label, written, missing });
        }
    }
}

fn is_meant(only: Option<Peer>) -> impl Fn(&Peer) -> bool {
    move |peer| only.is_none_or(|only| only == *peer)
}
