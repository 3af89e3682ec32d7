//! Watches whether the runtime of the application answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloister_proto::Time;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{deadline, log_forwarder};
use crate::clock::Clock;
use crate::telemetry::TARGET;

/// How often the application's runtime is asked, unless a session has read from a peer on it within this time: that is an answer, too.
/// Peers send a heartbeat every 500 ms if nothing else is configured, and it may be late by a little.
const EVERY: Duration = Duration::from_millis(625);

/// How long an answer may take. A runtime whose tasks never block answers within microseconds.
const LATE: Duration = Duration::from_millis(500);

/// How often a late answer is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// The minimum time between two log lines about its lateness.
const APART: Duration = Duration::from_secs(10);

/// How well the runtime of the application answers.
#[derive(Debug, Default)]
pub struct Stall {
    /// Since when there is no answer, in nanoseconds of [`Clock`]; 0 while there is.
    since: AtomicU64,
    /// The longest stall that has ended, in nanoseconds.
    longest: AtomicU64,
    /// When a task of that runtime ran, as far as is known without asking, in nanoseconds of [`Clock`].
    ran: AtomicU64,
}

impl Stall {
    /// For how long the runtime of the application has not answered; `None` while it does, or is not late yet.
    pub fn current(&self, now: Time) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since > 0).then(|| now.since(Time::from_nanos(since)))
    }

    /// For how long it did not answer at the longest since the process began; zero if it was never late.
    pub fn longest(&self, now: Time) -> Duration {
        let ended = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        self.current(now).unwrap_or_default().max(ended)
    }

    /// A task of that runtime ran at `at`, or later.
    pub(super) fn note_ran(&self, at: Time) {
        self.ran.store(at.as_nanos(), Ordering::Relaxed);
    }

    /// When a task of that runtime ran, as far as is known without asking.
    fn ran(&self) -> Time {
        Time::from_nanos(self.ran.load(Ordering::Relaxed))
    }

    fn begin(&self, since: Time) {
        self.since.store(since.as_nanos().max(1), Ordering::Relaxed);
    }

    /// The answer is there. How long it took.
    fn end(&self, now: Time) -> Duration {
        let stalled = self.current(now).unwrap_or_default();
        let nanos = u64::try_from(stalled.as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
        stalled
    }
}

/// Watches one runtime until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    task: AbortHandle,
    stall: Arc<Stall>,
}

impl Watchdog {
    /// Watches the runtime that this is called on, from that of the node.
    ///
    /// # Errors
    ///
    /// The error of the system if the runtime of the node cannot be started.
    pub fn start(stall: Arc<Stall>) -> std::io::Result<Self> {
        let task = watch(Handle::current(), Arc::clone(&stall));
        Ok(Self { task: super::handle()?.spawn(task).abort_handle(), stall })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
        self.stall.end(Clock.now());
    }
}

/// Asks again and again. Ends with the runtime that it asks.
async fn watch(application: Handle, stall: Arc<Stall>) {
    let mut said: Option<Instant> = None;
    loop {
        let answered = Clock.now();
        deadline::wait(|| {
            // Until its subscriber is known it is asked each time: a task on it finds the subscriber.
            let ran = if log_forwarder::has_adopted() { stall.ran().max(answered) } else { answered };
            EVERY.saturating_sub(Clock.now().since(ran))
        })
        .await;
        let mut answer = application.spawn(async { log_forwarder::adopt() });
        let (mut since, mut is_late, mut is_logged) = (Clock.now(), false, false);
        loop {
            let began = Instant::now();
            match timeout(LOOK, &mut answer).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return,
                // If this runtime woke too late itself, the process was suspended or the machine busy. The application is
                // not to blame for that time.
                Err(_) => since = since + began.elapsed().saturating_sub(LOOK),
            }
            if Clock.now().since(since) < LATE {
                continue;
            }
            stall.begin(since);
            if !is_late && said.is_none_or(|said| said.elapsed() >= APART) {
                (said, is_logged) = (Some(Instant::now()), true);
                warn!(
                    target: TARGET, stalled = ?LATE,
                    "the runtime of this program does not answer: its threads are blocked, so its actors do nothing until it answers \
                     again, while this node stays a member; move blocking work to `tokio::task::spawn_blocking`",
                );
            }
            is_late = true;
        }
        let stalled = stall.end(Clock.now());
        if is_logged {
            info!(target: TARGET, ?stalled, "the runtime of this program answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn the_silence_and_the_longest_one_are_reported() {
        let (stall, at) = (Stall::default(), |millis: u64| Time::from_nanos(millis * 1_000_000));
        assert_eq!((stall.current(at(10)), stall.longest(at(10))), (None, Duration::ZERO));
        stall.begin(at(10));
        assert_eq!(stall.current(at(710)), Some(Duration::from_millis(700)));
        assert_eq!(stall.longest(at(710)), Duration::from_millis(700));
        assert_eq!(stall.end(at(1010)), Duration::from_secs(1));
        assert_eq!((stall.current(at(2000)), stall.longest(at(2000))), (None, Duration::from_secs(1)));
        stall.begin(at(2000));
        stall.end(at(2600));
        assert_eq!(stall.longest(at(3000)), Duration::from_secs(1), "a shorter one does not count");
    }

    /// The runtime never runs a task, so each question is late.
    #[test]
    fn a_runtime_is_asked_once_no_session_reads_on_it() {
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
        log_forwarder::adopt();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (never_run, runs, stall) = (runtime(), runtime(), Arc::new(Stall::default()));
        let watched = runs.spawn(watch(never_run.handle().clone(), Arc::clone(&stall)));
        runs.block_on(async {
            let reads = Instant::now();
            while reads.elapsed() < 2 * (EVERY + LATE) {
                stall.note_ran(Clock.now());
                sleep(LOOK).await;
                assert_eq!(stall.current(Clock.now()), None, "it is asked though sessions read");
            }
            while stall.current(Clock.now()).is_none() {
                assert!(reads.elapsed() < Duration::from_secs(30), "it is not asked");
                sleep(LOOK).await;
            }
        });
        watched.abort();
    }
}
