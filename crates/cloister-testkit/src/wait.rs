//! Waiting for what will be so, where nothing tells when.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::output::WAIT_TIMEOUT;

/// How long it rests between two attempts.
const REST: Duration = Duration::from_millis(10);

/// Retries `attempt` until it succeeds. Panics with its last error after [`WAIT_TIMEOUT`].
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, attempt: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(what, WAIT_TIMEOUT, attempt)
}

/// Retries `attempt` until it succeeds. Panics with its last error after `limit`.
#[track_caller]
pub fn eventually_within<T, E: Debug>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => panic!("not in {limit:?}: {what}; last: {last:#?}"),
            Err(_) => std::thread::sleep(REST),
        }
    }
}

/// As [`eventually`], in a task: the runtime has other work between two attempts.
#[cfg(feature = "async")]
pub async fn eventually_async<T, E: Debug>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => {
                panic!("not in {WAIT_TIMEOUT:?}: {what}; last: {last:#?}")
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Waits in a task until something is so. Panics after [`WAIT_TIMEOUT`].
#[cfg(feature = "async")]
pub async fn until_async(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    eventually_async(what, async || is_so().await.then_some(()).ok_or("not yet")).await;
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn it_is_tried_until_it_succeeds_and_the_last_error_is_told_when_it_does_not_in_time() {
        let mut left = 3;
        let mut count_down = || {
            left -= 1;
            if left == 0 { Ok("done") } else { Err(left) }
        };
        assert_eq!(eventually("it is counted down", &mut count_down), "done");
        let mut tried = 0;
        let panicked = catch_unwind(move || {
            eventually_within("it is never so", Duration::from_millis(30), || -> Result<(), _> {
                tried += 1;
                Err(format!("try {}", if tried > 1 { "again" } else { "once" }))
            });
        });
        let text = panicked.expect_err("it panics").downcast::<String>().expect("a text");
        assert_eq!(*text, "not in 30ms: it is never so; last: \"try again\"");
    }
}
