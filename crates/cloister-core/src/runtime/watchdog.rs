//! Watches whether the runtime of the application answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloister_proto::Time;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::quiet;
use crate::clock::Clock;
use crate::telemetry::TARGET;

/// How often the application's runtime is asked.
const EVERY: Duration = Duration::from_millis(500);

/// How long an answer may take. A runtime whose tasks never block answers within microseconds.
const LATE: Duration = Duration::from_millis(500);

/// How often a late answer is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// The least time between two lines that say that it is late.
const APART: Duration = Duration::from_secs(10);

/// How well the runtime of the application answers.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Since when there is no answer, in nanoseconds of [`Clock`]; 0 while there is.
    silent_since: AtomicU64,
    /// The longest silence that has ended, in nanoseconds.
    longest: AtomicU64,
}

impl Pulse {
    /// For how long the runtime of the application has not answered; `None` while it does, or is not late yet.
    pub(crate) fn silent(&self, now: Time) -> Option<Duration> {
        let since = self.silent_since.load(Ordering::Relaxed);
        (since > 0).then(|| now.since(Time::from_nanos(since)))
    }

    /// For how long it did not answer at the longest since the process began; zero if it was never late.
    pub(crate) fn longest(&self, now: Time) -> Duration {
        let ended = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        self.silent(now).unwrap_or_default().max(ended)
    }

    fn begin(&self, since: Time) {
        self.silent_since.store(since.as_nanos().max(1), Ordering::Relaxed);
    }

    /// The answer is there. How long it took.
    fn end(&self, now: Time) -> Duration {
        let silent = self.silent(now).unwrap_or_default();
        let nanos = u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
        silent
    }
}

/// Watches one runtime until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    task: AbortHandle,
    pulse: Arc<Pulse>,
}

impl Watchdog {
    /// Watches the runtime that this is called on, from that of the node. Fails when there is none.
    pub(crate) fn start(pulse: Arc<Pulse>) -> std::io::Result<Self> {
        let task = watch(Handle::current(), Arc::clone(&pulse));
        Ok(Self { task: super::handle()?.spawn(task).abort_handle(), pulse })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
        self.pulse.end(Clock.now());
    }
}

/// Asks again and again. Ends with the runtime that it asks.
async fn watch(application: Handle, pulse: Arc<Pulse>) {
    let mut said: Option<Instant> = None;
    loop {
        sleep(EVERY).await;
        let mut answer = application.spawn(async { quiet::adopt() });
        let (mut since, mut is_late, mut is_told) = (Clock.now(), false, false);
        loop {
            let began = Instant::now();
            match timeout(LOOK, &mut answer).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return,
                // If this runtime woke too late itself, the process was asleep or the machine busy. The application is
                // not to blame for that time.
                Err(_) => since = since + began.elapsed().saturating_sub(LOOK),
            }
            if Clock.now().since(since) < LATE {
                continue;
            }
            pulse.begin(since);
            if !is_late && said.is_none_or(|said| said.elapsed() >= APART) {
                (said, is_told) = (Some(Instant::now()), true);
                warn!(
                    target: TARGET, silent = ?LATE,
                    "the runtime of this program does not answer: its threads are blocked; this node stays a member, \
                     but its actors do nothing until the runtime answers again",
                );
            }
            is_late = true;
        }
        let silent = pulse.end(Clock.now());
        if is_told {
            warn!(target: TARGET, ?silent, "the runtime of this program answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silence_and_the_longest_one_are_told() {
        let (pulse, at) = (Pulse::default(), |millis: u64| Time::from_nanos(millis * 1_000_000));
        assert_eq!((pulse.silent(at(10)), pulse.longest(at(10))), (None, Duration::ZERO));
        pulse.begin(at(10));
        assert_eq!(pulse.silent(at(710)), Some(Duration::from_millis(700)));
        assert_eq!(pulse.longest(at(710)), Duration::from_millis(700));
        assert_eq!(pulse.end(at(1010)), Duration::from_secs(1));
        assert_eq!((pulse.silent(at(2000)), pulse.longest(at(2000))), (None, Duration::from_secs(1)));
        pulse.begin(at(2000));
        pulse.end(at(2600));
        assert_eq!(pulse.longest(at(3000)), Duration::from_secs(1), "a shorter one does not count");
    }
}
