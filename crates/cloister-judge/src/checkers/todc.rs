//! The checker of `todc-utils`. It has no limit of its own, so the specification that it is given ends it.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use todc_utils::specifications::Specification;
use todc_utils::{Action, History, WGLChecker};

use super::Verdict;
use crate::history::{Effect, Step, Value};

/// How many bytes its cache may take.
const MAX_CACHE: usize = 1 << 30;

thread_local! {
    /// Until when this thread may check, and how many operations it may still try.
    static LEFT: Cell<Option<(Instant, usize)>> = const { Cell::new(None) };
}

/// With what a check ends that has used up its limit.
struct OutOfTime;

struct Register;

impl Specification for Register {
    type State = Value;
    type Operation = Effect;

    fn init() -> Value {
        Value::FIRST
    }

    fn apply(operation: &Effect, state: &Value) -> (bool, Value) {
        if let Some((deadline, tries)) = LEFT.get() {
            if tries == 0 || Instant::now() >= deadline {
                // Not `panic!`: the hook would print it.
                resume_unwind(Box::new(OutOfTime));
            }
            LEFT.set(Some((deadline, tries - 1)));
        }
        operation.apply(*state)
    }
}

pub(crate) fn check(steps: &[Step], limit: Duration) -> Verdict {
    if steps.is_empty() {
        return Verdict::Legal; // it takes no empty history
    }
    // Each operation that it tries may be a cache entry of one byte a call and one a return.
    let tries = MAX_CACHE / (2 * steps.len());
    let actions = actions(steps);
    let checking = move || {
        LEFT.set(Some((Instant::now() + limit, tries)));
        WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
    };
    match thread::spawn(checking).join() {
        Ok(true) => Verdict::Legal,
        Ok(false) => Verdict::Illegal,
        Err(cause) if cause.is::<OutOfTime>() => Verdict::Undecided,
        Err(cause) => resume_unwind(cause),
    }
}

/// Calls and responses in their order; of one moment, calls come first. Each operation is a process of its own, and open ones respond
/// after everything else.
fn actions(steps: &[Step]) -> Vec<(usize, Action<Effect>)> {
    let both = steps.iter().enumerate().flat_map(|(process, step)| {
        let call = ((step.invoked, false), (process, Action::Call(step.effect)));
        let response = ((step.returned.unwrap_or(u64::MAX), true), (process, Action::Response(step.effect)));
        [call, response]
    });
    let mut both: Vec<_> = both.collect();
    both.sort_by_key(|(at, _)| *at);
    both.into_iter().map(|(_, action)| action).collect()
}
