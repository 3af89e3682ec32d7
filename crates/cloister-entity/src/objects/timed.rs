//! Finds the timers in the rows of slots that this node serves since a short time ago.
//!
//! When a node joins or is lost, each other one serves hundreds of thousands of rows anew. To look through them takes hundreds of
//! milliseconds, for which writes would wait. So a task does that, with pauses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_core::Slot;
use cloister_table::service::ServiceTable;
use tokio::time::sleep;

use super::Objects;
use crate::entity::Entity;
use crate::row;

/// After how many rows the task pauses, and for how long. A slot is looked through as a whole.
const ROWS_A_TURN: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(5);

/// The slots whose rows are still to be looked through.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: VecDeque<Slot>,
    /// Whether a task looks through them.
    are_read: bool,
}

impl Unread {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a task is to be started.
    fn add(&self, slot: Slot) -> bool {
        let mut unread = self.lock();
        unread.slots.push_back(slot);
        !std::mem::replace(&mut unread.are_read, true)
    }

    /// The task ends if there is none.
    fn next(&self) -> Option<Slot> {
        let mut unread = self.lock();
        let next = unread.slots.pop_front();
        unread.are_read = next.is_some();
        next
    }

    pub(super) fn clear(&self) {
        self.lock().slots.clear();
    }
}

/// The task runs as long as this is there. A runtime that ends drops it, and then the next slot starts another one.
struct Reads<E: Entity> {
    objects: Arc<Objects<E>>,
    /// It has come to its end, and another one may run.
    is_over: bool,
}

impl<E: Entity> Drop for Reads<E> {
    fn drop(&mut self) {
        if !self.is_over {
            self.objects.unread.lock().are_read = false;
        }
    }
}

impl<E: Entity> Objects<E> {
    /// Has the rows of a slot looked through.
    pub(super) fn find_timers(&self, table: &ServiceTable, slot: Slot) {
        if self.unread.add(slot)
            && let Some(objects) = self.myself.upgrade()
        {
            table.spawn(read(Reads { objects, is_over: false }, table.clone()));
        }
    }
}

async fn read<E: Entity>(mut reads: Reads<E>, table: ServiceTable) {
    let objects = Arc::clone(&reads.objects);
    let (mut rows, mut has_timers) = (0, false);
    while let Some(slot) = objects.unread.next() {
        rows += table.look_through(slot, &mut |key, row| {
            if let Some(due) = row::due(row) {
                objects.schedule.add(due, key.into());
                has_timers = true;
            }
        });
        if rows < ROWS_A_TURN {
            continue;
        }
        rows = 0;
        if std::mem::take(&mut has_timers) {
            objects.start_clock(&table);
            objects.wake.notify_one();
        }
        sleep(PAUSE).await;
    }
    reads.is_over = true;
    if has_timers {
        objects.start_clock(&table);
        objects.wake.notify_one();
    }
}
