//! Why an actor did not start, and after how long it is started again.

use std::time::Duration;

use ractor::SpawnErr;

/// Why an actor did not start, without the words that ractor puts around it.
pub(super) fn cause_of(error: SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// 100 ms after the first failure, twice as long after each further one, 5 s at most.
pub(super) fn pause_after(failures: u32) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(5);
    LEAST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MOST)
}
