//! The checkers, and what they say of a history.
//!
//! Two crates that others wrote decide whether the history of a key is linearizable. Only the form of the history and the meaning of one
//! operation ([`Effect::apply`](crate::history::Effect::apply)) are of this crate.

mod claims;
mod porcupine;
mod todc;

use std::time::Duration;

use crate::history::Step;

pub(crate) use claims::check_claims;
pub(crate) use porcupine::{Mark, picture};

/// What a checker says of the history of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Some order of the operations explains every answer.
    Legal,
    /// It had too little time or memory.
    Undecided,
    /// No order explains every answer.
    Illegal,
}

/// A checker of histories of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checker {
    /// `porcupine-rs`, a port of Porcupine.
    Porcupine,
    /// `WGLChecker` of `todc-utils`.
    Todc,
}

impl Checker {
    pub(crate) const ALL: [Checker; 2] = [Checker::Porcupine, Checker::Todc];

    /// The name of its crate.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Checker::Porcupine => "porcupine-rs",
            Checker::Todc => "todc-utils",
        }
    }

    /// Whether the history is linearizable; it takes no longer than `limit`.
    pub(crate) fn check(self, steps: &[Step], limit: Duration) -> Verdict {
        match self {
            Checker::Porcupine => porcupine::check(steps, limit),
            Checker::Todc => todc::check(steps, limit),
        }
    }
}

#[cfg(test)]
mod tests;
