//! Notifies watchers of the slots of a shard.

use std::collections::BTreeSet;

use cloister_core::Slot;
use cloister_table_proto::{Bytes, Content};

use super::{CHUNK_BYTES, Shard};
use crate::blob::Blob;
use crate::core::Core;
use crate::row;
use crate::watching::{Range, Watched, Watcher};

impl Shard {
    /// A node watches. It gets what is served now; of other slots when they are.
    pub(crate) fn watch(&mut self, core: &Core, watcher: Watcher) {
        let is_over = self.table.view().is_some_and(|(epoch, _)| watcher.epoch < epoch);
        if !is_over && self.watchers.add(watcher.clone()) {
            let served = self.table.owned_slots().filter(|slot| self.is_served(*slot)).collect();
            self.send_slots_to(core, &watcher, &served);
        }
    }

    pub(crate) fn unwatch(&mut self, from: u64, watch: u64) {
        self.watchers.remove(from, watch);
    }

    fn is_served(&self, slot: Slot) -> bool {
        self.table.slot_status(slot).is_some_and(|status| status.serves)
    }

    /// The watchers of the present view.
    fn present_watchers(&self) -> Vec<Watcher> {
        match self.table.view() {
            Some((epoch, true)) if !self.watchers.is_empty() => self.watchers.of_view(epoch),
            _ => Vec::new(),
        }
    }

    /// Tells watchers what these slots have, which are served.
    pub(super) fn send_slots(&mut self, core: &Core, slots: &BTreeSet<Slot>) {
        for watcher in self.present_watchers() {
            self.send_slots_to(core, &watcher, slots);
        }
    }

    /// Tells watchers again what did not reach them.
    pub(super) fn tell_again(&mut self, core: &Core) {
        for (watcher, slots) in self.watchers.take_missed() {
            let served = slots.into_iter().filter(|slot| self.is_served(*slot)).collect();
            self.send_slots_to(core, &watcher, &served);
        }
    }

    fn send_slots_to(&mut self, core: &Core, watcher: &Watcher, slots: &BTreeSet<Slot>) {
        if self.table.view() != Some((watcher.epoch, true)) {
            return;
        }
        let mut missed = BTreeSet::new();
        for watched in self.parts_of(watcher, slots) {
            let its: Vec<u16> = watched.slots.clone();
            if core.send_to_watcher(&watcher.node, watched) {
                missed.extend(its.into_iter().filter_map(Slot::new));
            }
        }
        self.watchers.missed(watcher, missed);
    }

    /// What these slots have, in messages that are not much larger than a chunk.
    fn parts_of(&self, watcher: &Watcher, slots: &BTreeSet<Slot>) -> Vec<Watched> {
        let now = row::now();
        let begin = |after: Option<Blob>| Watched {
            watch: watcher.watch,
            epoch: watcher.epoch.as_u64(),
            slots: Vec::new(),
            range: Range { after, until: None },
            changes: Vec::new(),
        };
        let (mut parts, mut part, mut bytes) = (Vec::new(), begin(None), 0);
        for slot in slots {
            let is_large = self.table.content(*slot).is_some_and(|content| content.bytes() > CHUNK_BYTES);
            if is_large && !part.slots.is_empty() {
                parts.push(std::mem::replace(&mut part, begin(None)));
                bytes = 0;
            }
            part.slots.push(slot.number());
            for (key, _) in self.table.content(*slot).into_iter().flat_map(Content::entries) {
                // As all copies have it.
                if let Ok(Some(value)) = self.table.read(Some(watcher.epoch), *slot, key)
                    && row::is_live(&value, now)
                    && watcher.filter.has(key)
                {
                    bytes += key.len() + value.len();
                    part.changes.push((Blob(key.into()), Some(Blob(value))));
                    if bytes >= CHUNK_BYTES && is_large {
                        // The slot goes on in the next message.
                        part.range.until = Some(Blob(key.into()));
                        let next = Watched { slots: part.slots.clone(), ..begin(Some(Blob(key.into()))) };
                        parts.push(std::mem::replace(&mut part, next));
                        bytes = 0;
                    }
                }
            }
            if bytes >= CHUNK_BYTES || part.range.after.is_some() {
                parts.push(std::mem::replace(&mut part, begin(None)));
                bytes = 0;
            }
        }
        if !part.slots.is_empty() {
            parts.push(part);
        }
        parts
    }

    /// Tells watchers of a write that all copies have.
    pub(super) fn notify_watchers(&mut self, core: &Core, key: &Bytes, value: Option<Bytes>) {
        for watcher in self.present_watchers().into_iter().filter(|watcher| watcher.filter.has(key)) {
            let change = (Blob(Bytes::clone(key)), value.clone().map(Blob));
            let (watch, epoch) = (watcher.watch, watcher.epoch.as_u64());
            let watched =
                Watched { watch, epoch, slots: Vec::new(), range: Range::default(), changes: vec![change] };
            if core.send_to_watcher(&watcher.node, watched) {
                self.watchers.missed(&watcher, [Slot::of(key)]);
            }
        }
    }
}
