//! Durations and outcomes that are recorded as they happen, for histograms and counters of the admin server.
//!
//! It has types of `prometheus-client`. All of it belongs to the process, as the one node in it does. A call that is answered, the outcome that comes most often, is recorded without a lock.
//! Any other takes a lock that readers share, and a look-up in a map of the outcomes.

mod histogram;
mod own_calls;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use cloister_proto::Rejection;

pub use self::histogram::DurationHistogram;
pub use self::own_calls::answered_here;
use crate::telemetry::rejections::{self, Reason};

/// The label `outcome`, from a fixed set of values.
pub type Outcome = [(&'static str, &'static str); 1];

/// A histogram of durations in seconds for each outcome.
pub type Durations = Family<Outcome, DurationHistogram>;

/// What is recorded. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// Calls, by outcome: `ok`, or the kind of the `CallError` in lower case. All are counted. Of those that an actor of the same node
    /// answers within a tick of the kernel's timer (10 ms at most) one in sixteen is timed, and counts for those after it.
    pub calls: Durations,
    /// Rounds: `installed`, `aborted`.
    pub rounds: Durations,
    /// Holds of listeners: `released`, `expired`.
    pub holds: Durations,
    /// The time between two heartbeats of a peer.
    pub silences: DurationHistogram,
    /// Dials: `connected`, `refused`, `failed`.
    pub dials: Family<Outcome, Counter>,
}

/// Upper bounds of the buckets of calls: 50 µs to 10 s.
static CALL_BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Upper bounds of the buckets of rounds and holds: 1 ms to 30 s.
static ROUND_BOUNDS: [f64; 12] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Upper bounds of the buckets of silences: a heartbeat comes each 0.5 s by default, and a peer is unreachable after 3 s.
static SILENCE_BOUNDS: [f64; 9] = [0.1, 0.25, 0.5, 0.6, 0.75, 1.0, 1.5, 2.5, 10.0];

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let recorded = Recorded {
        calls: Family::new_with_constructor(|| DurationHistogram::new(&CALL_BOUNDS)),
        rounds: Family::new_with_constructor(|| DurationHistogram::new(&ROUND_BOUNDS)),
        holds: Family::new_with_constructor(|| DurationHistogram::new(&ROUND_BOUNDS)),
        silences: DurationHistogram::new(&SILENCE_BOUNDS),
        dials: Family::default(),
    };
    // A series that begins at zero has a rate when its first event comes.
    for (durations, outcome) in
        [(&recorded.calls, "ok"), (&recorded.rounds, "installed"), (&recorded.holds, "released")]
    {
        drop(durations.get_or_create(&[("outcome", outcome)]));
    }
    for outcome in ["connected", "refused", "failed"] {
        drop(recorded.dials.get_or_create(&[("outcome", outcome)]));
    }
    recorded
});

/// The histogram of the outcome `ok` in [`Recorded::calls`].
static ANSWERED: LazyLock<DurationHistogram> =
    LazyLock::new(|| RECORDED.calls.get_or_create(&[("outcome", "ok")]).clone());

/// All that was recorded since the process began.
pub fn all() -> &'static Recorded {
    &RECORDED
}

/// A call has ended.
pub fn call(outcome: &'static str, after: Duration) {
    match outcome {
        "ok" => ANSWERED.observe(after),
        outcome => observe(&RECORDED.calls, outcome, after),
    }
}

/// A round that this node took part in has ended.
pub fn round(outcome: &'static str, after: Duration) {
    observe(&RECORDED.rounds, outcome, after);
}

/// A listener's hold has ended.
pub fn hold(outcome: &'static str, after: Duration) {
    observe(&RECORDED.holds, outcome, after);
}

/// A heartbeat has come, so long after the one before.
pub fn silence(span: Duration) {
    RECORDED.silences.observe(span);
}

/// Something was refused or ignored.
pub fn rejection(reason: Reason) {
    rejections::count(reason);
}

/// Something was refused or ignored so often.
pub fn rejections(reason: Reason, count: u64) {
    rejections::count_many(reason, count);
}

/// The core has rejected what peers sent: counts what is new since `before`, and brings that up to date.
pub fn rejections_of_core(before: &mut BTreeMap<Rejection, u64>, now: &BTreeMap<Rejection, u64>) {
    rejections::add(before, now);
}

/// A dial has ended.
pub fn dial(outcome: &'static str) {
    RECORDED.dials.get_or_create(&[("outcome", outcome)]).inc();
}

fn observe(durations: &Durations, outcome: &'static str, after: Duration) {
    durations.get_or_create(&[("outcome", outcome)]).observe(after);
}
