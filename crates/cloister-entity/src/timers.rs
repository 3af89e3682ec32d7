//! Messages that an entity sends to itself later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cloister_table::service::{Blob, Bytes};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

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

    pub(crate) fn has(&self, id: TimerId) -> bool {
        self.timers.iter().any(|timer| timer.id == id)
    }

    pub(crate) fn remove(&mut self, id: TimerId) -> bool {
        let before = self.timers.len();
        self.timers.retain(|timer| timer.id != id);
        self.timers.len() < before
    }

    /// Takes the message of the timer that is due first, if it is due now. One that is paused is due when its pause is over.
    pub(crate) fn take_due(&mut self, now: u64, paused: &mut Paused) -> Option<Bytes> {
        paused.until.retain(|(id, _)| self.has(*id));
        let due = self.timers.iter().filter(|timer| paused.due(timer) <= now);
        let id = due.min_by_key(|timer| (paused.due(timer), timer.id.0))?.id;
        let at = self.timers.iter().position(|timer| timer.id == id)?;
        let message = self.timers.remove(at).message.0;
        paused.tried = Some((id, self.earliest_but(paused)));
        Some(message)
    }

    /// When the first is due that is not paused, or whose pause is over.
    pub(crate) fn earliest_but(&self, paused: &Paused) -> Option<u64> {
        self.timers.iter().map(|timer| paused.due(timer)).min()
    }

    /// When the first is due.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.timers.iter().map(|timer| timer.due).min()
    }
}

/// The timers of an entity whose messages were not handled. Each is tried again after a pause, and the others are handled meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paused {
    until: Vec<(TimerId, u64)>,
    /// The timer whose message is handled now, and when the next of the others is due.
    tried: Option<(TimerId, Option<u64>)>,
}

impl Paused {
    /// The timer whose message is handled now.
    pub(crate) fn tried(&self) -> Option<TimerId> {
        self.tried.map(|(id, _)| id)
    }

    fn due(&self, timer: &Timer) -> u64 {
        let until = self.until.iter().find(|(id, _)| *id == timer.id).map_or(0, |(_, until)| *until);
        timer.due.max(until)
    }

    /// The message of the timer was not handled. Returns when the next one is due.
    fn pause(&mut self, until: u64) -> u64 {
        let Some((tried, others)) = self.tried.take() else { return until };
        self.until.retain(|(id, _)| *id != tried);
        self.until.push((tried, until));
        others.map_or(until, |others| others.min(until))
    }
}

/// When the entities of this node have their next timers: each key once. The time of a key may be out of date: the entity itself knows.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    order: BTreeSet<(u64, Bytes)>,
    of_key: HashMap<Bytes, u64>,
    /// Of entities whose timers were not handled.
    paused: HashMap<Bytes, Paused>,
    /// Times of before, to be dropped.
    old: Vec<Times>,
}

/// How many times are dropped at once.
const PART: usize = 10_000;

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

    /// The timers of a key that were not handled.
    pub(crate) fn paused(&self, key: &Bytes) -> Paused {
        self.lock().paused.get(key).cloned().unwrap_or_default()
    }

    /// The message of a timer was handled, or none was due.
    pub(crate) fn handled(&self, key: &Bytes, mut paused: Paused) {
        paused.tried = None;
        let known = &mut self.lock().paused;
        if paused.until.is_empty() {
            known.remove(key);
        } else {
            known.insert(Bytes::clone(key), paused);
        }
    }

    /// The message of a timer was not handled, and is tried again at `until`. Those of the others are handled meanwhile.
    pub(crate) fn failed(&self, key: &Bytes, mut paused: Paused, until: u64) {
        let next = paused.pause(until);
        self.handled(key, paused);
        self.add(next, Bytes::clone(key));
    }

    /// None is known any more. What was known is dropped by [`drop_old`](Self::drop_old): of many keys that takes long.
    pub(crate) fn clear(&self) {
        let mut times = self.lock();
        let mut before = std::mem::take(&mut *times);
        times.old = std::mem::take(&mut before.old);
        if !before.of_key.is_empty() {
            times.old.push(before);
        }
    }

    /// Drops what was known before it was cleared, in parts.
    pub(crate) async fn drop_old(&self) {
        loop {
            // Not under the lock.
            let Some(Times { order, of_key, .. }) = self.lock().old.pop() else { return };
            let (mut order, mut of_key) = (order.into_iter(), of_key.into_iter());
            while order.by_ref().take(PART).count() + of_key.by_ref().take(PART).count() > 0 {
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_of_their_times_and_a_cancelled_one_does_not() {
        let (mut timers, mut paused) = (Timers::default(), Paused::default());
        let late = timers.add(0, 30, b"late".to_vec().into());
        timers.add(0, 10, b"first".to_vec().into());
        timers.add(0, 10, b"second".to_vec().into());
        assert_eq!(timers.earliest(), Some(10));
        assert_eq!(timers.take_due(9, &mut paused), None);
        assert_eq!(timers.take_due(10, &mut paused).as_deref(), Some(b"first".as_slice()));
        assert_eq!(timers.take_due(10, &mut paused).as_deref(), Some(b"second".as_slice()));
        assert_eq!(timers.take_due(10, &mut paused), None);
        assert!(timers.remove(late));
        assert!(!timers.remove(late));
        assert_eq!(timers.earliest(), None);
    }

    #[test]
    fn a_timer_that_was_not_handled_lets_the_others_go_first() {
        let key: Bytes = b"a".as_slice().into();
        let schedule = Schedule::default();
        let mut timers = Timers::default();
        for (due, message) in [(10, "fails"), (20, "fails, too"), (30, "third")] {
            timers.add(0, due, message.as_bytes().to_vec().into());
        }
        let before = timers.clone();
        for (message, next) in [("fails", 20), ("fails, too", 30)] {
            // What a handler that fails has left is taken back.
            timers = before.clone();
            let mut paused = schedule.paused(&key);
            assert_eq!(timers.take_due(40, &mut paused).as_deref(), Some(message.as_bytes()));
            schedule.failed(&key, paused, 1_040);
            assert_eq!(schedule.next(), Some(next));
            assert_eq!(schedule.take_due(40), Some(Bytes::clone(&key)));
            schedule.over(&key);
        }
        timers = before;
        let mut paused = schedule.paused(&key);
        assert_eq!(timers.take_due(40, &mut paused).as_deref(), Some(b"third".as_slice()));
        assert_eq!(timers.take_due(1_039, &mut paused), None);
        assert_eq!(timers.earliest_but(&paused), Some(1_040));
        assert_eq!(timers.earliest(), Some(10), "the row has its time");
        assert_eq!(timers.take_due(1_040, &mut paused).as_deref(), Some(b"fails".as_slice()));
        assert_eq!(timers.take_due(1_040, &mut paused).as_deref(), Some(b"fails, too".as_slice()));
        // Nothing is kept of timers that are gone.
        assert_eq!(timers.take_due(1_040, &mut paused), None);
        schedule.handled(&key, paused);
        assert!(schedule.lock().paused.is_empty());
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

    #[tokio::test]
    async fn what_was_known_before_a_schedule_was_cleared_is_dropped_later() {
        let schedule = Schedule::default();
        for view in 0..2 {
            for number in 0..25_000_u32 {
                schedule.add(number.into(), number.to_be_bytes().as_slice().into());
            }
            schedule.clear();
            assert_eq!((schedule.next(), schedule.lock().old.len()), (None, view + 1));
        }
        schedule.add(7, b"a".as_slice().into());
        schedule.drop_old().await;
        assert_eq!((schedule.next(), schedule.lock().old.len()), (Some(7), 0));
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
