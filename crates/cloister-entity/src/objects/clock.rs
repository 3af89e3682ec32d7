//! The clock of the entities of one type: timers that are due, states to be written, idle objects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cloister_table::service::{Bytes, ServiceTable};
use tokio::time::sleep;

use super::{Objects, Work};
use crate::answer;
use crate::entity::Entity;
use crate::object::{Object, Turn};
use crate::options::Durability;
use crate::timers::now;

/// How many timers are handled at once.
const MAX_TIMERS: usize = 256;

/// After which time a timer whose handler failed is tried again.
const TIMER_PAUSE_MS: u64 = 1_000;

impl<E: Entity> Objects<E> {
    /// Takes note of when an entity has its next timer.
    pub(super) fn timer_of(&self, key: &Bytes, object: Option<&Object<E>>) {
        if let Some(due) = object.and_then(Object::due)
            && self.schedule.add(due, Bytes::clone(key))
        {
            self.wake.notify_one();
        }
    }

    pub(super) fn timer_is_over(
        &self,
        table: &ServiceTable,
        key: &Bytes,
        text: &str,
        object: Option<&Object<E>>,
        turn: Turn,
    ) {
        self.timers_running.fetch_sub(1, Ordering::AcqRel);
        self.schedule.over(key);
        self.wake.notify_one();
        let failure = match turn {
            Turn::Done(answer) => match answer::read::<E::Reply>(&answer) {
                Ok(Err(failure)) => Some(failure.to_string()),
                _ => None,
            },
            Turn::NotDone(_) | Turn::Uncertain => {
                // The owner of a next view finds the timer in the state, if it is still there. In this one it is tried again.
                let cloister = table.cloister();
                if cloister.whois(key) == Some(cloister.node()) {
                    self.schedule.add(now() + TIMER_PAUSE_MS, Bytes::clone(key));
                }
                return;
            }
        };
        match failure {
            None => self.timer_of(key, object),
            Some(cause) => {
                self.warn(text, "the message of a timer was not handled, and is tried again", &cause);
                self.schedule.add(now() + TIMER_PAUSE_MS, Bytes::clone(key));
            }
        }
    }

    /// Runs the clock, if it does not run.
    pub(super) fn start_clock(&self, table: &ServiceTable) {
        if self.clock.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(objects) = self.myself.upgrade() {
            tokio::spawn(objects.run_clock(table.clone()));
        }
    }

    /// Does what is due, as long as there are objects or timers.
    async fn run_clock(self: Arc<Self>, table: ServiceTable) {
        let look = self.period();
        let mut looked = Instant::now();
        loop {
            self.fire(&table);
            if looked.elapsed() >= look {
                looked = Instant::now();
                self.look(&table);
            }
            if self.schedule.next().is_none() && self.active() == 0 {
                self.clock.store(false, Ordering::Release);
                // Work may have come in since.
                if (self.schedule.next().is_none() && self.active() == 0)
                    || self.clock.swap(true, Ordering::AcqRel)
                {
                    return;
                }
            }
            let is_full = self.timers_running.load(Ordering::Acquire) >= MAX_TIMERS;
            let until_timer = self.schedule.next().filter(|_| !is_full);
            let until_timer =
                until_timer.map_or(look, |due| Duration::from_millis(due.saturating_sub(now())));
            let until_look = look.saturating_sub(looked.elapsed());
            tokio::select! {
                () = sleep(until_timer.min(until_look).max(Duration::from_millis(1))) => {}
                () = self.wake.notified() => {}
            }
        }
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
        let mut unwritten = Vec::new();
        for mut part in self.all() {
            part.retain(|key, place| {
                let is_awaited = place.object.as_ref().is_some_and(Object::is_awaited);
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
