//! One line of JSON for each fact.

use std::io::Write;

use cloister::clock::Clock;
use cloister_integration::{Line, Replied};
use serde_json::Value;

/// The present moment, in nanoseconds of the clock that all processes of this host share.
pub(crate) fn now() -> u64 {
    Clock.now().as_nanos()
}

/// Prints a line at once.
pub(crate) fn line(line: &Line) {
    let text = serde_json::to_string(line).expect("invariant: lines are JSON");
    // A closed standard output is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints what a command gave.
pub(crate) fn reply(command: &str, value: Value) {
    line(&Line::Replied(Replied { at: now(), command: command.to_owned(), value }));
}
