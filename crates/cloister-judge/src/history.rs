//! What clients asked and what came of it, and the form of it that checkers take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of a key that nothing has been written to. No client writes it.
pub(crate) const INITIAL: u64 = 0;

/// What a client asks of the register of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The value.
    Read,
    /// Write a value that no other request writes.
    Write(u64),
    /// Compare and swap: write `new`, which no other request writes, if the value is `expected`.
    Swap { expected: u64, new: u64 },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was done. `found` is the value before it. The node served it by a claim of this epoch.
    Ok { found: u64, epoch: u64, node: usize },
    /// It was certainly not done. `owner` is the name of the node that may do it.
    Refused { why: String, owner: Option<String> },
    /// It may have been done, it may be done later, or never.
    Uncertain { why: String },
}

/// One request of one client, by the monotonic clock of the judge, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Operation {
    pub(crate) client: u32,
    pub(crate) key: u32,
    pub(crate) request: Request,
    pub(crate) outcome: Outcome,
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
}

/// What an operation does to a register, and what it must have found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read {
        found: u64,
    },
    Write {
        value: u64,
    },
    Swap {
        expected: u64,
        new: u64,
        found: u64,
    },
    /// A compare-and-swap whose answer is not known.
    UncertainSwap {
        expected: u64,
        new: u64,
    },
}

/// An operation as checkers take it. One without `returned` may take effect at any time after `invoked`, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) client: u32,
    pub(crate) effect: Effect,
    pub(crate) invoked: u64,
    pub(crate) returned: Option<u64>,
    /// The epoch of the claim by which it was served, if that is known. Checkers do not look at it.
    pub(crate) epoch: Option<u64>,
}

impl Effect {
    /// Whether a register with this value allows it, and the value after it. All checkers share this: it is what a register is.
    pub(crate) fn apply(self, value: u64) -> (bool, u64) {
        match self {
            Effect::Read { found } => (value == found, value),
            Effect::Write { value: new } => (true, new),
            Effect::Swap { expected, new, found } => {
                (value == found, if value == expected { new } else { value })
            }
            Effect::UncertainSwap { expected, new } => (true, if value == expected { new } else { value }),
        }
    }

    /// The value that a completed operation has seen.
    fn observed(self) -> Option<u64> {
        match self {
            Effect::Read { found } | Effect::Swap { found, .. } => Some(found),
            Effect::Write { .. } | Effect::UncertainSwap { .. } => None,
        }
    }

    /// The same with its answer unknown; `None` if it then says nothing.
    fn uncertain(self) -> Option<Self> {
        match self {
            Effect::Read { .. } => None,
            Effect::Write { .. } | Effect::UncertainSwap { .. } => Some(self),
            Effect::Swap { expected, new, .. } => Some(Effect::UncertainSwap { expected, new }),
        }
    }
}

impl Operation {
    /// It as checkers take it; `None` if it says nothing: a refused one, or a read without an answer.
    fn step(&self) -> Option<Step> {
        let (effect, returned, epoch) = match (&self.outcome, self.request) {
            (Outcome::Refused { .. }, _) | (Outcome::Uncertain { .. }, Request::Read) => return None,
            (Outcome::Ok { found, epoch, .. }, request) => {
                let effect = match request {
                    Request::Read => Effect::Read { found: *found },
                    Request::Write(value) => Effect::Write { value },
                    Request::Swap { expected, new } => Effect::Swap { expected, new, found: *found },
                };
                (effect, Some(self.returned), Some(*epoch))
            }
            (Outcome::Uncertain { .. }, Request::Write(value)) => (Effect::Write { value }, None, None),
            (Outcome::Uncertain { .. }, Request::Swap { expected, new }) => {
                (Effect::UncertainSwap { expected, new }, None, None)
            }
        };
        Some(Step { client: self.client, effect, invoked: self.invoked, returned, epoch })
    }
}

/// The operations of each key, in the order of their invocation.
pub(crate) fn by_key(operations: &[Operation]) -> BTreeMap<u32, Vec<Step>> {
    let mut keys = BTreeMap::<u32, Vec<Step>>::new();
    for operation in operations {
        let steps = keys.entry(operation.key).or_default();
        steps.extend(operation.step());
    }
    for steps in keys.values_mut() {
        steps.sort_by_key(|step| step.invoked);
    }
    keys
}

/// The same history with fewer open operations; it is linearizable if and only if the given one is.
///
/// A checker tries an open operation at every place until the end, so a few dozen of them can cost it more time than there is.
/// Values are unique, so it is known of each open operation whether its value was ever seen:
///
/// - One that was seen took effect before the first operation that saw it returned. It returns then, at the latest.
/// - One that nothing has seen constrains nothing, and is left out.
pub(crate) fn settled(steps: &[Step]) -> Vec<Step> {
    let mut seen = BTreeMap::<u64, u64>::new();
    let see = |seen: &mut BTreeMap<u64, u64>, value: u64, by: u64| {
        let first = seen.entry(value).or_insert(u64::MAX);
        let earlier = by < *first;
        *first = by.min(*first);
        earlier
    };
    for step in steps {
        if let (Some(value), Some(returned)) = (step.effect.observed(), step.returned) {
            see(&mut seen, value, returned);
        }
    }
    // An open swap whose value was seen has seen what it expected. Each turn finds an earlier time for a value, so this ends.
    loop {
        let mut changed = false;
        for step in steps.iter().filter(|step| step.returned.is_none()) {
            if let Effect::UncertainSwap { expected, new } = step.effect
                && let Some(by) = seen.get(&new).copied()
            {
                changed |= see(&mut seen, expected, by);
            }
        }
        if !changed {
            break;
        }
    }
    let settle = |step: &Step| {
        if step.returned.is_some() {
            return Some(*step);
        }
        let (value, effect) = match step.effect {
            Effect::Write { value } => (value, step.effect),
            Effect::UncertainSwap { expected, new } => (new, Effect::Swap { expected, new, found: expected }),
            // A read without an answer is no step.
            Effect::Read { .. } | Effect::Swap { .. } => return Some(*step),
        };
        let by = seen.get(&value)?;
        // A value that was seen before it was written stays open: no order can explain it, and the checker is to say so.
        let returned = (*by > step.invoked).then_some(*by);
        Some(Step { effect, returned, ..*step })
    };
    steps.iter().filter_map(settle).collect()
}

/// What was known at a moment: operations that had not returned are open, later ones are not there.
pub(crate) fn until(steps: &[Step], moment: u64) -> Vec<Step> {
    let known = steps.iter().filter(|step| step.invoked <= moment).filter_map(|step| {
        if step.returned.is_some_and(|returned| returned <= moment) {
            return Some(*step);
        }
        step.effect.uncertain().map(|effect| Step { effect, returned: None, ..*step })
    });
    known.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `invoked..returned`, `0` for open.
    pub(crate) fn step(invoked: u64, returned: u64, effect: Effect) -> Step {
        let returned = (returned != 0).then_some(returned);
        Step { client: 0, effect, invoked, returned, epoch: None }
    }

    pub(crate) const fn read(found: u64) -> Effect {
        Effect::Read { found }
    }

    pub(crate) const fn write(value: u64) -> Effect {
        Effect::Write { value }
    }

    pub(crate) const fn swap(expected: u64, new: u64, found: u64) -> Effect {
        Effect::Swap { expected, new, found }
    }

    fn operation(request: Request, outcome: Outcome) -> Operation {
        Operation { client: 1, key: 3, request, outcome, invoked: 10, returned: 20 }
    }

    #[test]
    fn a_refused_operation_and_a_read_without_an_answer_say_nothing() {
        let refused = Outcome::Refused { why: String::new(), owner: None };
        let uncertain = Outcome::Uncertain { why: String::new() };
        for operation in
            [operation(Request::Write(1), refused.clone()), operation(Request::Read, uncertain.clone())]
        {
            assert!(by_key(&[operation])[&3].is_empty());
        }
        let open = by_key(&[operation(Request::Write(1), uncertain)]);
        assert_eq!(open[&3], [Step { client: 1, ..step(10, 0, write(1)) }]);
    }

    #[test]
    fn an_open_write_that_was_seen_returns_when_it_was_first_seen() {
        let history = [step(1, 0, write(7)), step(30, 40, read(7)), step(10, 50, swap(7, 8, 7))];
        assert_eq!(settled(&history)[0], step(1, 40, write(7)));
        assert_eq!(settled(&history[..1]), [], "nothing has seen it");
    }

    #[test]
    fn an_open_swap_that_was_seen_has_seen_an_open_write() {
        let open = Effect::UncertainSwap { expected: 7, new: 8 };
        let history = [step(1, 0, write(7)), step(2, 0, open), step(30, 40, read(8))];
        let settled = settled(&history);
        assert_eq!(settled, [step(1, 40, write(7)), step(2, 40, swap(7, 8, 7)), step(30, 40, read(8))]);
    }

    #[test]
    fn until_a_moment_what_has_not_returned_is_open_and_what_is_later_is_not_there() {
        let history =
            [step(1, 5, write(7)), step(2, 9, swap(7, 8, 7)), step(3, 9, read(8)), step(8, 9, read(8))];
        let open = Effect::UncertainSwap { expected: 7, new: 8 };
        assert_eq!(until(&history, 6), [step(1, 5, write(7)), step(2, 0, open)]);
    }
}
