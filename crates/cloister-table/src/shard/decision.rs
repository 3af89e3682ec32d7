//! What an operation makes of the value of its key.

use cloister_table_proto::{Bytes, Decision};

use crate::blob::Blob;
use crate::message::{Operation, Outcome};
use crate::options::TableOptions;
use crate::row;

/// What an operation makes of the value of its key.
pub(super) fn decide(
    options: &TableOptions,
    operation: &Operation,
    before: Option<&Bytes>,
    now: u64,
) -> Decision {
    let blob = || before.cloned().map(Blob);
    let time = options.time_to_live.map(row::millis);
    let insert_for = |value: &Bytes, time: Option<u64>, outcome: Outcome| {
        let value = row::until(value, time.map(|time| now.saturating_add(time)));
        Decision::Insert { value, answer: outcome.encoded() }
    };
    let insert = |value: &Bytes, outcome: Outcome| insert_for(value, time, outcome);
    let remove = |outcome: Outcome| match before {
        Some(_) => Decision::Remove { answer: outcome.encoded() },
        None => Decision::Keep { answer: outcome.encoded() },
    };
    match operation {
        Operation::Get => Decision::Keep { answer: Outcome::Value(blob()).encoded() },
        // Only one that was answered before comes here.
        Operation::Deliver { .. } => Decision::Keep { answer: Outcome::NoService.encoded() },
        Operation::Insert { value, for_ms } => insert_for(&value.0, for_ms.or(time), Outcome::Value(blob())),
        Operation::Remove => remove(Outcome::Value(blob())),
        Operation::Swap { expected, new } => {
            let is_expected = match (before, expected) {
                (Some(before), Some(expected)) => row::is_same_value(before, &expected.0),
                (before, expected) => before.is_none() && expected.is_none(),
            };
            if !is_expected {
                return Decision::Keep { answer: Outcome::Other(blob()).encoded() };
            }
            match new {
                Some(value) => insert(&value.0, Outcome::Swapped),
                None => remove(Outcome::Swapped),
            }
        }
        Operation::Update { function, argument } => {
            let Some(function) = options.function_of(function) else {
                return Decision::Keep { answer: Outcome::UnknownFunction.encoded() };
            };
            let failed = |cause| Decision::Keep { answer: Outcome::Failed(cause).encoded() };
            let max = options.max_value_bytes;
            match function(before.map(|before| row::value(before)), &argument.0) {
                Err(cause) => failed(cause),
                Ok((Some(value), _)) if value.len() > max => {
                    failed(format!("the new value has {} bytes, over the limit of {max}", value.len()))
                }
                // It travels to the copies with the value.
                Ok((_, returned)) if returned.len() > max => {
                    failed(format!("what it returns has {} bytes, over the limit of {max}", returned.len()))
                }
                Ok((Some(value), returned)) => insert(&value.into(), Outcome::Returned(returned.into())),
                Ok((None, returned)) if before.is_none() => {
                    // It is written down all the same: the function ran, and runs once.
                    Decision::Remove { answer: Outcome::Returned(returned.into()).encoded() }
                }
                Ok((None, returned)) => remove(Outcome::Returned(returned.into())),
            }
        }
    }
}
