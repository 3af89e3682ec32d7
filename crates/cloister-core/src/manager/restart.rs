//! Why an actor did not start, and after how long it is started again.

use std::time::Duration;

use cloister_proto::backoff::exponential;
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
    exponential(Duration::from_millis(100), Duration::from_secs(5), failures)
}
