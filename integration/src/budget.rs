//! Time budgets, and reports of what was measured.

use std::io::Write;
use std::time::Duration;

/// The time that something may take on an idle machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(Duration);

impl Budget {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Prints the measured time beside the bar. Panics at more than twice the bar.
    #[track_caller]
    pub fn meet(self, what: &str, measured: Duration) {
        self.show(what, measured);
        let max = self.0.mul_f64(patience());
        assert!(measured <= max, "{what}: {measured:?}, over {max:?}");
    }

    /// As [`meet`](Self::meet), but for the time in which nodes waited for a processor.
    #[track_caller]
    pub fn meet_despite(self, delay: Duration, what: &str, measured: Duration) {
        self.show(&format!("{what} (a node waited {:.1} ms for a processor)", millis(delay)), measured);
        let max = self.0.mul_f64(patience()) + delay;
        assert!(measured <= max, "{what}: {measured:?}, over {max:?}");
    }

    /// Only prints the measured time beside the bar, for times that grow many times over on a busy machine.
    pub fn show(self, what: &str, measured: Duration) {
        let Self(bar) = self;
        let verdict = if measured <= bar { "met" } else { "MISSED" };
        report(&format!("{what}: {:.1} ms; bar {} ms {verdict}", millis(measured), bar.as_millis()));
    }

    /// As [`meet`](Self::meet), and panics if it took less than `least`, on any machine.
    #[track_caller]
    pub fn meet_not_before(self, least: Duration, what: &str, measured: Duration) {
        self.meet(what, measured);
        assert!(measured >= least, "{what}: {measured:?}, sooner than {least:?}");
    }
}

/// So many milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn patience() -> f64 {
    match std::env::var("CLOISTER_TEST_PATIENCE") {
        Ok(text) => text.parse().expect("CLOISTER_TEST_PATIENCE is a number, as 2 or 2.5"),
        Err(_) => 2.0,
    }
}

/// Prints a line past the test harness, which hides the output of tests that pass.
pub fn report(line: &str) {
    // A closed stderr is no error.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The median.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().expect("something was measured")
}
