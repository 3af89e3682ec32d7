//! What a test needs of the machine beyond Rust.

use std::time::Duration;

use crate::report;

/// Whether a test that needs `what` (`root`, `docker`, `time`, `browser`) must run: `CLOISTER_TEST_REQUIRE` says so. If not, tells that it is
/// left out, past the test harness, which shows nothing of tests that pass.
pub fn required(what: &str, test: &str) -> bool {
    let required = std::env::var("CLOISTER_TEST_REQUIRE").unwrap_or_default();
    let listed = required.split(',').any(|one| one.trim() == what);
    if !listed {
        report(&format!("LEFT OUT: {test} needs {what}; CLOISTER_TEST_REQUIRE={what} makes it run"));
    }
    listed
}

/// How long something that could go on for ever is watched: `long` if `CLOISTER_TEST_LONG` is 1, else `short`. Tells which.
pub fn lasting(what: &str, short: Duration, long: Duration) -> Duration {
    let is_long = std::env::var("CLOISTER_TEST_LONG").is_ok_and(|value| value == "1");
    let (chosen, hint) = if is_long { (long, "in full") } else { (short, "CLOISTER_TEST_LONG=1: longer") };
    report(&format!("{what}: {} s ({hint})", chosen.as_secs()));
    chosen
}
