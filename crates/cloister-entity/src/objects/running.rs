//! What the task of an entity works with, and what becomes of it if the task does not come to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cloister_table::service::{Accepted, Bytes, ReplyTo};

use super::{Objects, Work, names_of};
use crate::entity::Entity;
use crate::object::{LOST, Object};

const DROPPED: &str = "the task of the entity was dropped";

/// What the task of an entity works with.
pub(super) struct Running<E: Entity> {
    objects: Arc<Objects<E>>,
    number: u64,
    key: Bytes,
    pub(super) object: Option<Object<E>>,
    /// It has had no work yet.
    is_first: bool,
    /// It handles the message of a timer.
    pub(super) has_timer: bool,
}

impl<E: Entity> Running<E> {
    /// A task that the entity has been given.
    pub(super) fn new(objects: Arc<Objects<E>>, number: u64, key: Bytes) -> Self {
        Self { objects, number, key, object: None, is_first: true, has_timer: false }
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.key
    }

    /// Whether this is still the task of the entity: a node that has begun anew has forgotten it, and may have another one.
    pub(super) fn is_present(&self) -> bool {
        self.objects.part(&self.key).get(&self.key).is_some_and(|place| place.task == Some(self.number))
    }

    /// The next work; the object is put back when there is none.
    pub(super) fn next(&mut self) -> Option<Work> {
        let mut part = self.objects.part(&self.key);
        let place = part.get_mut(&self.key).filter(|place| place.task == Some(self.number))?;
        if std::mem::take(&mut self.is_first) {
            self.object = place.object.take();
        }
        let work = place.inbox.pop_front();
        place.handles_one_way = work.as_ref().is_some_and(Work::is_one_way);
        if work.is_none() {
            place.object = self.object.take();
            place.task = None;
            place.used = Instant::now();
            if place.object.is_none() {
                part.remove(&self.key);
            }
        }
        work
    }

    /// Takes the sender of a message that was handled.
    pub(super) fn sender_of(&self, message: &Accepted) -> Option<ReplyTo> {
        let mut part = self.objects.part(&self.key);
        let place = part.get_mut(&self.key).filter(|place| place.task == Some(self.number))?;
        names_of(message).filter_map(|name| place.senders.remove(&name)).flatten().last()
    }
}

/// A runtime that ends drops its tasks. Calls that wait are sent again by their clients, and find another task.
impl<E: Entity> Drop for Running<E> {
    fn drop(&mut self) {
        let objects = &self.objects;
        let mut has_timer = self.has_timer;
        if has_timer {
            objects.timers_running.fetch_sub(1, Ordering::AcqRel);
        }
        // What is in it is dropped when the lock is free.
        let place = {
            let mut part = objects.part(&self.key);
            let is_mine = part.get(&self.key).is_some_and(|place| place.task == Some(self.number));
            if is_mine { part.remove(&self.key) } else { None }
        };
        if let Some(mut place) = place {
            has_timer |= place.inbox.iter().any(|work| matches!(work, Work::Timer));
            objects.forget(place.inbox.iter());
            let one_ways = place.one_ways() + usize::from(place.handles_one_way);
            objects.warn_of_lost(one_ways, DROPPED);
            let object = self.object.take().or_else(|| place.object.take());
            if object.is_some_and(|object| object.dirty().is_some()) {
                objects.warn_of(&self.key, LOST, DROPPED);
            }
        }
        if has_timer {
            objects.retry_timer(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use cloister_core::{Config, ManagerArguments};
    use cloister_table::TableOptions;
    use cloister_table::service::{ServiceTable, encode};

    use super::super::Waiting;
    use super::super::write_through::tests::Nothing;
    use super::*;
    use crate::options::EntityOptions;
    use crate::views::Views;

    #[test]
    fn a_task_that_is_dropped_leaves_room_for_the_next_one() {
        let objects = Objects::<Nothing>::new(EntityOptions::default(), Arc::<Views>::default());
        let mut arguments = ManagerArguments::new(Config::new("dropped")).unwrap();
        let service = Arc::clone(&objects) as _;
        // It has not been started, so it drops each task.
        let table =
            ServiceTable::define(&mut arguments, "dropped", TableOptions::default(), service).unwrap();
        let key = Bytes::from(encode("key").unwrap());
        let message = Accepted::own(Bytes::clone(&key), Bytes::from(vec![0; 100]));
        for _ in 0..2 {
            let message = message.clone();
            let waiting = Waiting {
                message,
                one_way: Some(objects.one_ways.add()),
                since: Instant::now(),
                reply: None,
            };
            objects.give(&table, &key, Work::Message(waiting));
            objects.timers_running.fetch_add(1, Ordering::AcqRel);
            objects.give(&table, &key, Work::Timer);
            assert_eq!(objects.active(), 0);
            assert_eq!(objects.waiting_bytes.load(Ordering::Relaxed), 0);
            assert_eq!(objects.timers_running.load(Ordering::Relaxed), 0);
            assert!(objects.schedule.next().is_some(), "the timer is tried again");
            objects.start_clock(&table);
            assert!(!objects.clock.load(Ordering::Relaxed));
        }
    }
}
