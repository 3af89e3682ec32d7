//! What an owner has to say of its slots, gathered so that each peer hears of all of them in one message.

use std::collections::{BTreeMap, BTreeSet};

use cloister_proto::{NodeId, Slot};

use super::Table;
use super::owned::Claimed;
use crate::label::Seen;
use crate::message::{Message, Relabel};

/// The slots of which there is something to say.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) relabels: BTreeSet<Slot>,
    pub(super) informs: BTreeSet<Slot>,
    pub(super) seals: BTreeSet<Slot>,
}

impl Owed {
    /// All that was not confirmed is said again.
    pub(super) fn all(slots: impl Iterator<Item = Slot> + Clone) -> Self {
        Self { relabels: slots.clone().collect(), informs: slots.clone().collect(), seals: slots.collect() }
    }
}

impl Table {
    /// Says what has come up in this call.
    pub(super) fn send_owed(&mut self) {
        self.send_owed_to(None);
    }

    /// The same, to one peer only or to all.
    pub(super) fn send_owed_to(&mut self, only: Option<&NodeId>) {
        let Owed { relabels, informs, seals } = std::mem::take(&mut self.owed);
        let is_meant = |peer: &NodeId| only.is_none_or(|only| only == peer);
        let epoch = self.epoch();
        let mut by_peer: BTreeMap<NodeId, Vec<Relabel>> = BTreeMap::new();
        for slot in relabels {
            let Some(owned) = self.owned.get(&slot) else { continue };
            for (peer, claimed) in owned.relabels.iter().filter(|(peer, _)| is_meant(peer)) {
                let Claimed { reported, label, written, lags, .. } = *claimed;
                let missing = match (lags, self.holdings.get(&slot)) {
                    (false, _) => Some(Vec::new()),
                    // The content is not here yet.
                    (true, _) if owned.pulls => continue,
                    (true, holding) => holding.and_then(|holding| holding.log.since(reported.label)),
                };
                let relabel = Relabel { slot, reported, label, written, missing };
                by_peer.entry(peer.clone()).or_default().push(relabel);
            }
        }
        for (peer, slots) in by_peer {
            self.send(&peer, Message::Relabel { epoch, slots });
        }
        let mut by_peer: BTreeMap<NodeId, Vec<(Slot, Seen)>> = BTreeMap::new();
        for slot in informs {
            let Some(owned) = self.owned.get(&slot) else { continue };
            let seen = self.seen.get(&slot).copied().unwrap_or_default();
            for peer in owned.informs.iter().filter(|peer| is_meant(peer)) {
                by_peer.entry(peer.clone()).or_default().push((slot, seen));
            }
        }
        for (peer, slots) in by_peer {
            self.send(&peer, Message::Inform { epoch, slots });
        }
        let mut by_peer: BTreeMap<NodeId, Vec<(Slot, Seen)>> = BTreeMap::new();
        for slot in seals {
            let Some(owned) = self.owned.get(&slot).filter(|owned| self.up && owned.is_sealing) else {
                continue;
            };
            for peer in owned.unsealed.iter().filter(|peer| is_meant(peer)) {
                by_peer.entry(peer.clone()).or_default().push((slot, owned.seal));
            }
        }
        for (peer, slots) in by_peer {
            self.send(&peer, Message::Seal { epoch, slots });
        }
    }
}
