//! What the table tells the entities: messages, slots that are served, rounds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use cloister_core::{Epoch, Slot};
use cloister_table::service::{Bytes, Delivery, Leaving, Planned, Service, ServiceTable};

use super::{ActiveEntity, Objects, Waiting, Work};
use crate::entity::Entity;
use crate::options::Durability;

/// How many messages wait for one entity at most, and how many bytes wait for all entities of one type at a node.
const MAX_INBOX: usize = 1_000;
const MAX_INBOX_BYTES: usize = 64 << 20;

impl<E: Entity> Service for Objects<E> {
    fn deliver(&self, table: &ServiceTable, delivery: Delivery) {
        let waiting = match self.part(&delivery.key).entry(Bytes::clone(&delivery.key)) {
            Entry::Occupied(place) => place.get().inbox.len(),
            Entry::Vacant(_) => 0,
        };
        if waiting >= MAX_INBOX || self.waiting_bytes.load(Ordering::Relaxed) >= MAX_INBOX_BYTES {
            return delivery.busy();
        }
        let one_way = delivery.one_way.then(|| self.one_ways.add());
        let (message, reply) = delivery.accept();
        let reply = match (message.id(), reply) {
            // It was handled, and is sent again since its reply takes long.
            (Some(id), Some(reply)) if self.replies.has(id) => return self.replies.wait(Some(id), reply),
            (_, reply) => reply,
        };
        let key = Bytes::clone(&message.key);
        let work = Work::Message(Waiting { message, one_way, since: Instant::now(), reply });
        self.give(table, &key, work);
    }

    fn serves(&self, table: &ServiceTable, slot: Slot, _: &mut dyn Iterator<Item = (&[u8], &[u8])>) {
        self.find_timers(table, slot);
    }

    fn ended(&self) {
        self.unread.clear();
        self.schedule.clear();
        // It drops the times of before.
        self.wake.notify_one();
        if matches!(self.options.durability, Durability::Lazy(_)) {
            // Their rows, which are looked through when a slot is served, lack timers that are not written yet.
            for part in self.all() {
                for (key, place) in part.iter() {
                    self.timer_of(key, place.object.as_ref().filter(|object| object.dirty().is_some()));
                }
            }
        }
        self.writes_through.end();
    }

    fn follows(&self, epoch: Epoch, predecessor: Epoch) {
        self.views.follows(epoch, predecessor);
    }

    fn planned(&self, table: &ServiceTable, planned: Planned) {
        self.writes_through.begin();
        let planned = Arc::new(planned);
        let is_lazy = matches!(self.options.durability, Durability::Lazy(_));
        // What was accepted from senders that do not wait is handled before the round begins, too.
        let is_meant = |place: &ActiveEntity<E>| is_lazy || place.handles_one_way || place.one_ways() > 0;
        let of_part = |part: MutexGuard<'_, HashMap<Bytes, ActiveEntity<E>>>| -> Vec<Bytes> {
            part.iter().filter(|(_, place)| is_meant(place)).map(|(key, _)| Bytes::clone(key)).collect()
        };
        let keys: Vec<Bytes> = self.all().flat_map(of_part).collect();
        for key in keys {
            self.give(table, &key, Work::Flush(Some(Arc::clone(&planned))));
        }
    }

    fn withdrawn(&self) {
        self.writes_through.withdraw(Instant::now());
    }

    fn leaves(&self, leaving: Leaving) {
        self.one_ways.leave(leaving);
    }

    fn repeats(&self) -> bool {
        self.options.store.is_none()
    }

    fn reset(&self) {
        self.replies.reset();
        self.one_ways.reset();
        let lost = self.drop_waiting();
        self.warn_of_lost(lost, "their node begins anew");
        self.ended();
    }
}
