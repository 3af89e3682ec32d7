//! Messages that an entity sends to itself later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cloister_table::service::{Blob, Bytes};
use serde::{Deserialize, Serialize};

use crate::context::TimerId;

/// The present time, in milliseconds since the Unix epoch. Nodes must agree on it, so it is that of the wall clock.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The timers of one entity, in no order: there are few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timers {
    last: u64,
    timers: Vec<Timer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    id: TimerId,
    due: u64,
    message: Blob,
}

impl Timers {
    /// No two timers of an entity have the same name, also when all before have fired, and nothing is left of them.
    pub(crate) fn add(&mut self, now: u64, due: u64, message: Blob) -> TimerId {
        self.last = (self.last + 1).max(now << 10);
        let id = TimerId(self.last);
        self.timers.push(Timer { id, due, message });
        id
    }

    pub(crate) fn remove(&mut self, id: TimerId) -> bool {
        let before = self.timers.len();
        self.timers.retain(|timer| timer.id != id);
        self.timers.len() < before
    }

    /// Takes the message of the timer that is due first, if it is due now.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Bytes> {
        let first = self
            .timers
            .iter()
            .filter(|timer| timer.due <= now)
            .min_by_key(|timer| (timer.due, timer.id.0))?;
        let id = first.id;
        let at = self.timers.iter().position(|timer| timer.id == id)?;
        Some(self.timers.remove(at).message.0)
    }

    /// When the first is due.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.timers.iter().map(|timer| timer.due).min()
    }
}

/// When the entities of this node have their next timers: each key once. The time of a key may be out of date: the entity itself knows.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    order: BTreeSet<(u64, Bytes)>,
    of_key: HashMap<Bytes, u64>,
}

/// The time of a key whose timer is being handled. None is earlier.
const FIRED: u64 = 0;

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the next timer of a key, unless an earlier one is known. Returns whether it is the first of all now.
    pub(crate) fn add(&self, due: u64, key: Bytes) -> bool {
        let times = &mut *self.lock();
        match times.of_key.get_mut(&key) {
            Some(known) if *known <= due => return false,
            Some(known) => {
                times.order.remove(&(*known, Bytes::clone(&key)));
                *known = due;
            }
            None => drop(times.of_key.insert(Bytes::clone(&key), due)),
        }
        let is_first = times.order.first().is_none_or(|(first, _)| due < *first);
        times.order.insert((due, key));
        is_first
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.lock().order.first().map(|(due, _)| *due)
    }

    /// Takes a key whose timer is due. It is not taken again until [`over`](Self::over).
    pub(crate) fn take_due(&self, now: u64) -> Option<Bytes> {
        let times = &mut *self.lock();
        times.order.first().filter(|(due, _)| *due <= now)?;
        let (_, key) = times.order.pop_first()?;
        times.of_key.insert(Bytes::clone(&key), FIRED);
        Some(key)
    }

    /// The timer of a key was handled.
    pub(crate) fn over(&self, key: &Bytes) {
        let times = &mut *self.lock();
        if times.of_key.get(key) == Some(&FIRED) {
            times.of_key.remove(key);
        }
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Times::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_of_their_times_and_a_cancelled_one_does_not() {
        let mut timers = Timers::default();
        let late = timers.add(0, 30, b"late".to_vec().into());
        timers.add(0, 10, b"first".to_vec().into());
        timers.add(0, 10, b"second".to_vec().into());
        assert_eq!(timers.earliest(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10).as_deref(), Some(b"first".as_slice()));
        assert_eq!(timers.take_due(10).as_deref(), Some(b"second".as_slice()));
        assert_eq!(timers.take_due(10), None);
        assert!(timers.remove(late));
        assert!(!timers.remove(late));
        assert_eq!(timers.earliest(), None);
    }

    #[test]
    fn a_schedule_gives_what_is_due_and_reports_a_new_first() {
        let schedule = Schedule::default();
        assert!(schedule.add(20, b"b".as_slice().into()));
        assert!(schedule.add(10, b"a".as_slice().into()));
        assert!(!schedule.add(30, b"c".as_slice().into()));
        assert_eq!(schedule.next(), Some(10));
        assert_eq!(schedule.take_due(9), None);
        assert_eq!(schedule.take_due(25).as_deref(), Some(b"a".as_slice()));
        assert_eq!(schedule.take_due(25).as_deref(), Some(b"b".as_slice()));
        assert_eq!(schedule.take_due(25), None);
    }

    #[test]
    fn a_key_is_in_the_schedule_once_with_its_earliest_time() {
        let schedule = Schedule::default();
        for due in [20, 20, 30, 10, 40] {
            schedule.add(due, b"a".as_slice().into());
        }
        assert_eq!(schedule.take_due(10).as_deref(), Some(b"a".as_slice()));
        assert_eq!(schedule.take_due(50), None);
        // Messages that are handled before the timer is do not have it fire again.
        assert!(!schedule.add(10, b"a".as_slice().into()));
        assert_eq!(schedule.next(), None);
        schedule.over(&b"a".as_slice().into());
        assert!(schedule.add(20, b"a".as_slice().into()));
        assert_eq!(schedule.next(), Some(20));
    }
}
