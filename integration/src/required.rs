//! What a test needs of the machine beyond Rust.

use crate::report;

/// Whether a test that needs `what` (`root`, `docker`) must run: `CLOISTER_TEST_REQUIRE` says so. If not, tells that it is
/// left out, past the test harness, which shows nothing of tests that pass.
pub fn required(what: &str, test: &str) -> bool {
    let required = std::env::var("CLOISTER_TEST_REQUIRE").unwrap_or_default();
    let listed = required.split(',').any(|one| one.trim() == what);
    if !listed {
        report(&format!("LEFT OUT: {test} needs {what}; CLOISTER_TEST_REQUIRE={what} makes it run"));
    }
    listed
}
