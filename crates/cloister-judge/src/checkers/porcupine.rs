//! The checker of `porcupine-rs`.

use std::io;
use std::path::Path;
use std::time::Duration;

use porcupine_rs::{
    Annotation, CheckResult, Model, Operation, check_operations_info_timeout, check_operations_timeout,
    visualize_path,
};

use super::Verdict;
use crate::history::{Effect, Step, Value};

/// A register, or a key of a table.
#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = Value;
    type Op = Effect;
    type Metadata = u64;

    fn init() -> Value {
        Value::FIRST
    }

    fn step(state: &Value, op: &Effect) -> (bool, Value) {
        op.apply(*state)
    }

    fn describe_operation(op: &Effect) -> String {
        match op {
            Effect::Read { found } => format!("read → {found}"),
            Effect::Write { value } => format!("write {value}"),
            Effect::Swap { expected, new, found } if expected == found => format!("swap {expected} → {new}"),
            Effect::Swap { expected, new, found } => format!("swap {expected} → {new}, but it is {found}"),
            Effect::UncertainSwap { expected, new } => format!("swap {expected} → {new}, no answer"),
            Effect::Exchange { value, found } => format!("write {value}, before {found}"),
            Effect::Remove { found } => format!("remove {found}"),
            Effect::UncertainRemove => "remove, no answer".to_owned(),
            Effect::Loss { certain: true } => "lost".to_owned(),
            Effect::Loss { certain: false } => "may be lost".to_owned(),
        }
    }

    fn describe_metadata(epoch: Option<&u64>) -> String {
        epoch.map_or_else(|| "no answer".to_owned(), |epoch| format!("epoch {epoch}"))
    }
}

/// Something else that happened, for the picture.
pub(crate) struct Mark {
    pub(crate) what: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

pub(crate) fn check(steps: &[Step], limit: Duration) -> Verdict {
    // Not `check_operations_info_timeout`: it says illegal when it is out of time (0.3.0, `check_parallel`, its second phase).
    match check_operations_timeout(&operations(steps), limit) {
        CheckResult::Ok => Verdict::Legal,
        CheckResult::Illegal => Verdict::Illegal,
        CheckResult::Unknown => Verdict::Undecided,
    }
}

/// Writes a page that shows a history, how far it can be explained, and these marks.
pub(crate) fn picture(steps: &[Step], marks: &[Mark], limit: Duration, path: &Path) -> io::Result<()> {
    let (_, mut info) = check_operations_info_timeout(&operations(steps), limit);
    let annotation = |mark: &Mark| Annotation {
        tag: Some("faults".to_owned()),
        start: nanos(mark.from),
        end: Some(nanos(mark.to)),
        description: mark.what.clone(),
        ..Annotation::default()
    };
    info.add_annotations(marks.iter().map(annotation).collect());
    visualize_path(&info, path)
}

fn operations(steps: &[Step]) -> Vec<Operation<Register>> {
    // After everything else, so that what is open can be anywhere.
    let end = steps.iter().filter_map(|step| step.returned).max().unwrap_or(0);
    let end = steps.iter().map(|step| step.invoked).max().unwrap_or(0).max(end) + 1;
    let operation = |step: &Step| Operation {
        client_id: Some(step.client),
        call_time: nanos(step.invoked),
        return_time: nanos(step.returned.unwrap_or(end)),
        op: step.effect,
        metadata: step.epoch,
    };
    steps.iter().map(operation).collect()
}

fn nanos(moment: u64) -> i64 {
    i64::try_from(moment).unwrap_or(i64::MAX)
}
