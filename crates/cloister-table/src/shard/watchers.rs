//! Notifies watchers of the slots of a shard.

use std::collections::BTreeSet;

use cloister_core::Slot;
use cloister_table_proto::{Bytes, Content};

use super::{CHUNK_BYTES, Shard};
use crate::blob::Blob;
use crate::core::Core;
use crate::row;
use crate::watching::{Watched, Watcher};

impl Shard {
    /// A node watches. It gets what is served now; of other slots when they are.
    pub(crate) fn watch(&mut self, core: &Core, watcher: Watcher) {
        let is_same = |known: &Watcher| known.node == watcher.node && known.watch == watcher.watch;
        self.watchers.retain(|known| !is_same(known));
        if self.table.view().is_some_and(|(epoch, _)| watcher.epoch < epoch) {
            return;
        }
        self.watchers.push(watcher);
        let serves = |slot: &Slot| self.table.slot_status(*slot).is_some_and(|status| status.serves);
        let served: BTreeSet<Slot> = self.table.owned_slots().filter(serves).collect();
        self.send_slots(core, &served, self.watchers.len().checked_sub(1));
    }

    pub(crate) fn unwatch(&mut self, from: u64, watch: u64) {
        self.watchers.retain(|known| known.node.incarnation().0 != from || known.watch != watch);
    }

    /// The watchers of the present view: all, or the one at a place.
    fn present_watchers(&self, only: Option<usize>) -> Vec<Watcher> {
        let Some((epoch, true)) = self.table.view() else { return Vec::new() };
        let is_meant =
            |(at, watcher): &(usize, &Watcher)| only.is_none_or(|only| only == *at) && watcher.epoch == epoch;
        self.watchers.iter().enumerate().filter(is_meant).map(|(_, watcher)| watcher.clone()).collect()
    }

    /// Tells watchers what these slots have.
    pub(super) fn send_slots(&self, core: &Core, slots: &BTreeSet<Slot>, only: Option<usize>) {
        if self.watchers.is_empty() || slots.is_empty() {
            return;
        }
        let now = row::now();
        for watcher in self.present_watchers(only) {
            let begin = || Watched {
                watch: watcher.watch,
                epoch: watcher.epoch.as_u64(),
                slots: Vec::new(),
                changes: Vec::new(),
            };
            let (mut watched, mut bytes) = (begin(), 0);
            for slot in slots {
                watched.slots.push(slot.number());
                for (key, _) in self.table.content(*slot).into_iter().flat_map(Content::entries) {
                    // As all copies have it.
                    if let Ok(Some(value)) = self.table.read(Some(watcher.epoch), *slot, key)
                        && row::is_live(&value, now)
                        && watcher.filter.has(key)
                    {
                        bytes += key.len() + value.len();
                        watched.changes.push((Blob(key.into()), Some(Blob(value))));
                    }
                }
                if bytes >= CHUNK_BYTES {
                    core.send_to_watcher(&watcher.node, std::mem::replace(&mut watched, begin()));
                    bytes = 0;
                }
            }
            if !watched.slots.is_empty() {
                core.send_to_watcher(&watcher.node, watched);
            }
        }
    }

    /// Tells watchers of a write that all copies have.
    pub(super) fn notify_watchers(&self, core: &Core, key: &Bytes, value: Option<Bytes>) {
        if self.watchers.is_empty() {
            return;
        }
        for watcher in self.present_watchers(None).into_iter().filter(|watcher| watcher.filter.has(key)) {
            let change = (Blob(Bytes::clone(key)), value.clone().map(Blob));
            let (watch, epoch) = (watcher.watch, watcher.epoch.as_u64());
            core.send_to_watcher(
                &watcher.node,
                Watched { watch, epoch, slots: Vec::new(), changes: vec![change] },
            );
        }
    }
}
