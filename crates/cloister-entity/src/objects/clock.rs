//! The clock of the entities of one type: timers that are due, states to be written, idle objects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cloister_table::service::{Bytes, ServiceTable};
use tokio::time::sleep;

use super::{Objects, Work};
use crate::answer;
use crate::entity::Entity;
use crate::object::{Object, Surroundings, Turn};
use crate::options::Durability;
use crate::timers::{Paused, now};

/// How many timers are handled at once.
const MAX_TIMERS: usize = 256;

/// After which time a timer whose handler failed is tried again.
const TIMER_PAUSE_MS: u64 = 1_000;

impl<E: Entity> Objects<E> {
    /// Takes note of when an entity has its next timer.
    pub(super) fn timer_of(&self, key: &Bytes, object: Option<&Object<E>>) {
        if let Some(timers) = object.and_then(Object::timers)
            && let Some(due) = timers.earliest_but(&self.schedule.paused(key))
            && self.schedule.add(due, Bytes::clone(key))
        {
            self.wake.notify_one();
        }
    }

    /// Its timer is tried again after a pause.
    pub(super) fn retry_timer(&self, key: &Bytes) {
        self.schedule.over(key);
        self.schedule.add(now() + TIMER_PAUSE_MS, Bytes::clone(key));
        self.wake.notify_one();
    }

    pub(super) fn timer_is_over(
        &self,
        with: &Surroundings<'_>,
        key: &Bytes,
        object: Option<&Object<E>>,
        turn: Turn,
        paused: Paused,
    ) {
        self.timers_running.fetch_sub(1, Ordering::AcqRel);
        self.schedule.over(key);
        self.wake.notify_one();
        let until = now() + TIMER_PAUSE_MS;
        match turn {
            Turn::Done(answer) => match answer::failed(&answer) {
                None => {
                    self.schedule.handled(key, paused);
                    self.timer_of(key, object);
                }
                Some(cause) => {
                    let what = "the message of a timer was not handled, and is tried again";
                    self.warn(with.key, what, &cause.to_string());
                    self.schedule.failed(key, paused, until);
                }
            },
            // The owner of a next view finds the timer in the state, if it is still there. In this one it is tried again.
            Turn::NotDone(_) | Turn::Uncertain => {
                let cloister = with.table.cloister();
                if cloister.whois(key) == Some(cloister.node()) {
                    self.schedule.add(until, Bytes::clone(key));
                }
            }
        }
    }

    /// Runs the clock, if it does not run.
    pub(super) fn start_clock(&self, table: &ServiceTable) {
        if self.clock.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(objects) = self.myself.upgrade() {
            table.spawn(run(ClockRuns(Some(objects)), table.clone()));
        }
    }

    /// How long nothing is due, at most for a period; `None` if there are neither objects nor timers.
    fn until_due(&self, since_look: Duration) -> Option<Duration> {
        if self.schedule.next().is_none() && self.active() == 0 {
            return None;
        }
        let look = self.period();
        let is_full = self.timers_running.load(Ordering::Acquire) >= MAX_TIMERS;
        let until_timer = self.schedule.next().filter(|_| !is_full);
        let until_timer = until_timer.map_or(look, |due| Duration::from_millis(due.saturating_sub(now())));
        Some(until_timer.min(look.saturating_sub(since_look)).max(Duration::from_millis(1)))
    }

    /// How often states and idle objects are looked at.
    fn period(&self) -> Duration {
        let idle = self.options.idle / 4;
        let period = match self.options.durability {
            Durability::Each => idle,
            Durability::Lazy(after) => idle.min(after / 2),
        };
        period.clamp(Duration::from_millis(10), Duration::from_secs(30))
    }

    /// Gives their work to entities whose timers are due.
    fn fire(&self, table: &ServiceTable) {
        let now = now();
        while self.timers_running.load(Ordering::Acquire) < MAX_TIMERS
            && let Some(key) = self.schedule.take_due(now)
        {
            self.timers_running.fetch_add(1, Ordering::AcqRel);
            self.give(table, &key, Work::Timer);
        }
    }

    /// Writes states that have waited for long enough, and drops objects that are idle.
    fn look(&self, table: &ServiceTable) {
        let now = Instant::now();
        let (idle, after) = match self.options.durability {
            Durability::Each => (self.options.idle, Duration::ZERO),
            // It knows the answers of messages that may be sent again.
            Durability::Lazy(after) => (self.options.idle.max(self.options.timeout), after / 2),
        };
        let (mut unwritten, cloister, timeout) = (Vec::new(), table.cloister(), self.options.timeout);
        for mut part in self.all() {
            part.retain(|key, place| {
                let is_awaited = place.object.as_ref().is_some_and(|object| object.is_awaited(timeout))
                    && cloister.whois(key) == Some(cloister.node());
                let is_idle = place.task.is_none() && !is_awaited && now.duration_since(place.used) >= idle;
                let dirty = place.object.as_ref().and_then(Object::dirty);
                if dirty.is_some_and(|since| is_idle || now.duration_since(since) >= after) {
                    unwritten.push(Bytes::clone(key));
                }
                !is_idle || dirty.is_some()
            });
            let spare = part.len() * 2;
            part.shrink_to(spare);
        }
        for key in unwritten {
            self.give(table, &key, Work::Flush(None));
        }
    }
}

/// The clock runs as long as this is there. A runtime that ends drops it, and then the next message starts another one.
struct ClockRuns<E: Entity>(Option<Arc<Objects<E>>>);

impl<E: Entity> Drop for ClockRuns<E> {
    fn drop(&mut self) {
        if let Some(objects) = &self.0 {
            objects.clock.store(false, Ordering::Release);
        }
    }
}

/// Does what is due, as long as there are objects or timers.
async fn run<E: Entity>(mut runs: ClockRuns<E>, table: ServiceTable) {
    let Some(objects) = runs.0.clone() else { return };
    let mut looked = Instant::now();
    loop {
        objects.schedule.drop_old().await;
        objects.fire(&table);
        if looked.elapsed() >= objects.period() {
            looked = Instant::now();
            objects.look(&table);
        }
        let Some(until) = objects.until_due(looked.elapsed()) else {
            objects.clock.store(false, Ordering::Release);
            // Work may have come in since.
            if objects.until_due(looked.elapsed()).is_none() || objects.clock.swap(true, Ordering::AcqRel) {
                runs.0 = None;
                return;
            }
            continue;
        };
        tokio::select! {
            () = sleep(until) => {}
            () = objects.wake.notified() => {}
        }
    }
}
