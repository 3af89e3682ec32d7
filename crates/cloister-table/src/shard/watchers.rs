//! Notifies watchers of the slots of a shard.

use std::collections::BTreeSet;

use cloister_core::Slot;
use cloister_table_proto::{Bytes, Content};

use super::{CHUNK_BYTES, Shard};
use crate::blob::Blob;
use crate::core::Core;
use crate::row;
use crate::watching::{Filter, Range, Watched, Watcher};

impl Shard {
    /// A node watches. It gets what is served now; of other slots when they are.
    pub(crate) fn watch(&mut self, core: &Core, watcher: Watcher) {
        let is_over = self.table.view().is_some_and(|(epoch, _)| watcher.epoch < epoch);
        if !is_over && self.watchers.add(watcher.clone()) {
            let watched = match watcher.filter.slot() {
                Some(slot) => vec![slot],
                None => self.table.owned_slots().collect(),
            };
            let served = watched.into_iter().filter(|slot| self.is_served(*slot)).collect();
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

    /// Once a message is too much for the link, what has not been sent is told later.
    fn send_slots_to(&mut self, core: &Core, watcher: &Watcher, slots: &BTreeSet<Slot>) {
        if self.table.view() != Some((watcher.epoch, true)) {
            return;
        }
        let only = watcher.filter.slot();
        let mut parts = Parts { watcher, part: begin(watcher, None), bytes: 0 };
        let mut slots = slots.iter().copied().filter(|slot| only.is_none_or(|only| only == *slot));
        let mut missed = BTreeSet::new();
        for slot in slots.by_ref() {
            let mut send = |watched: Watched| {
                let its: Vec<u16> = watched.slots.clone();
                let is_missed = core.send_to_watcher(&watcher.node, watched);
                if is_missed {
                    missed.extend(its.into_iter().filter_map(Slot::new));
                }
                !is_missed
            };
            if !self.add_slot(&mut parts, slot, &mut send) {
                missed.insert(slot);
                break;
            }
        }
        missed.extend(slots);
        let Parts { part, .. } = parts;
        if !part.slots.is_empty() {
            let its: Vec<u16> = part.slots.clone();
            if !missed.is_empty() || core.send_to_watcher(&watcher.node, part) {
                missed.extend(its.into_iter().filter_map(Slot::new));
            }
        }
        self.watchers.missed(watcher, missed);
    }

    /// Adds what a slot has to messages that are not much larger than a chunk, and sends those that are full. Returns whether all of them were.
    fn add_slot(&self, parts: &mut Parts<'_>, slot: Slot, send: &mut impl FnMut(Watched) -> bool) -> bool {
        let Parts { watcher, part, bytes } = parts;
        let now = row::now();
        let is_large = self.table.content(slot).is_some_and(|content| content.bytes() > CHUNK_BYTES);
        if is_large && !part.slots.is_empty() {
            *bytes = 0;
            if !send(std::mem::replace(part, begin(watcher, None))) {
                return false;
            }
        }
        part.slots.push(slot.number());
        for key in self.keys_of(watcher, slot) {
            // As all copies have it.
            if let Ok(Some(value)) = self.table.read(Some(watcher.epoch), slot, key)
                && row::is_live(&value, now)
            {
                *bytes += key.len() + value.len();
                part.changes.push((Blob(key.into()), Some(Blob(value))));
                if *bytes >= CHUNK_BYTES && is_large {
                    // The slot goes on in the next message.
                    part.range.until = Some(Blob(key.into()));
                    let next =
                        Watched { slots: part.slots.clone(), ..begin(watcher, Some(Blob(key.into()))) };
                    *bytes = 0;
                    if !send(std::mem::replace(part, next)) {
                        *part = begin(watcher, None);
                        return false;
                    }
                }
            }
        }
        if *bytes >= CHUNK_BYTES || part.range.after.is_some() {
            *bytes = 0;
            return send(std::mem::replace(part, begin(watcher, None)));
        }
        true
    }

    /// The keys of a slot that are watched.
    fn keys_of<'a>(&'a self, watcher: &'a Watcher, slot: Slot) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        match &watcher.filter {
            Filter::Key(key) => Box::new(std::iter::once(&*key.0)),
            filter => {
                let entries = self.table.content(slot).into_iter().flat_map(Content::entries);
                Box::new(entries.map(|(key, _)| key).filter(|key| filter.has(key)))
            }
        }
    }

    /// Tells watchers of a write that all copies have.
    pub(super) fn notify_watchers(&mut self, core: &Core, key: &Bytes, value: Option<Bytes>) {
        let Some((epoch, true)) = self.table.view() else { return };
        for watcher in self.watchers.of_key(epoch, key) {
            let change = (Blob(Bytes::clone(key)), value.clone().map(Blob));
            let watched = Watched { changes: vec![change], ..begin(&watcher, None) };
            if core.send_to_watcher(&watcher.node, watched) {
                self.watchers.missed(&watcher, [Slot::of(key)]);
            }
        }
    }
}

/// Messages to a watcher while they are made.
struct Parts<'a> {
    watcher: &'a Watcher,
    part: Watched,
    bytes: usize,
}

/// A message to a watcher, which has nothing yet.
fn begin(watcher: &Watcher, after: Option<Blob>) -> Watched {
    Watched {
        watch: watcher.watch,
        epoch: watcher.epoch.as_u64(),
        slots: Vec::new(),
        range: Range { after, until: None },
        changes: Vec::new(),
    }
}
