//! What clients asked and what came of it, and the form of it that checkers take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of a key that nothing has been written to, and of one that was removed. No client writes it.
pub(crate) const INITIAL: u64 = 0;

/// The number by which losses are shown, as if a client had asked for them.
const NO_CLIENT: u32 = 1_000;

/// What a client asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The value.
    Read,
    /// Write a value that no other request writes.
    Write(u64),
    /// Compare and swap: write `new`, which no other request writes, if the value is `expected`.
    Swap { expected: u64, new: u64 },
    /// Of a table alone: write a value that no other request writes, by a function that runs at the owner, once.
    Update(u64),
    /// Of a table alone: remove the value.
    Remove,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was done. `found` is the value before it. The node served it by a claim of this epoch. Of a table it is the owner and the view,
    /// as far as the node that was asked knows.
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

/// Copies of a slot of a table were lost, and a node has reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// The keys whose slots are lost, and how many slots are.
    pub(crate) keys: Vec<u32>,
    pub(crate) slots: usize,
    /// Whether the slots go on empty; else they go on with what there was.
    pub(crate) certain: bool,
    /// The view in which it is so began no earlier than that, in nanoseconds.
    pub(crate) from: u64,
    /// When the view began in which it was reported.
    pub(crate) seen: u64,
    /// When it was reported.
    pub(crate) reported: u64,
}

/// What is known of the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// It is this.
    Sure(u64),
    /// It was this, and may be gone by a loss.
    OrNone(u64),
    /// It may be any that it has been before a loss.
    Any,
}

impl Value {
    /// The value that a key begins with.
    pub(crate) const FIRST: Value = Value::Sure(INITIAL);

    fn may_be(self, found: u64) -> bool {
        match self {
            Value::Sure(value) => value == found,
            Value::OrNone(value) => value == found || found == INITIAL,
            Value::Any => true,
        }
    }

    fn lost(self, certain: bool) -> Value {
        match self {
            _ if !certain => Value::Any,
            Value::Sure(value) => Value::OrNone(value),
            doubtful => doubtful,
        }
    }
}

/// What an operation does to a key, and what it must have found there.
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
    /// A write that says what was there before.
    Exchange {
        value: u64,
        found: u64,
    },
    Remove {
        found: u64,
    },
    /// A removal whose answer is not known.
    UncertainRemove,
    /// A loss that was reported: the value may be gone, or one of before if that is not certain.
    Loss {
        certain: bool,
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
    /// Whether a key with this value allows it, and the value after it. All checkers share this: it is what a register is, and what a
    /// key of a table is.
    pub(crate) fn apply(self, value: Value) -> (bool, Value) {
        let swap = |expected, new, found| Value::Sure(if found == expected { new } else { found });
        match self {
            Effect::Read { found } => (value.may_be(found), Value::Sure(found)),
            Effect::Write { value: new } => (true, Value::Sure(new)),
            Effect::Swap { expected, new, found } => (value.may_be(found), swap(expected, new, found)),
            Effect::UncertainSwap { expected, new } => match value {
                Value::Sure(found) => (true, swap(expected, new, found)),
                // Histories are settled first, so none is left that a later operation has seen.
                doubtful => (true, doubtful),
            },
            Effect::Exchange { value: new, found } => (value.may_be(found), Value::Sure(new)),
            Effect::Remove { found } => (value.may_be(found), Value::FIRST),
            Effect::UncertainRemove => (true, Value::FIRST),
            Effect::Loss { certain } => (true, value.lost(certain)),
        }
    }

    /// The value that a completed operation has seen.
    fn observed(self) -> Option<u64> {
        match self {
            Effect::Read { found }
            | Effect::Swap { found, .. }
            | Effect::Exchange { found, .. }
            | Effect::Remove { found } => Some(found),
            Effect::Write { .. }
            | Effect::UncertainSwap { .. }
            | Effect::UncertainRemove
            | Effect::Loss { .. } => None,
        }
    }

    /// The same with its answer unknown; `None` if it then says nothing.
    fn uncertain(self) -> Option<Self> {
        match self {
            Effect::Read { .. } => None,
            Effect::Write { .. }
            | Effect::UncertainSwap { .. }
            | Effect::UncertainRemove
            | Effect::Loss { .. } => Some(self),
            Effect::Swap { expected, new, .. } => Some(Effect::UncertainSwap { expected, new }),
            Effect::Exchange { value, .. } => Some(Effect::Write { value }),
            Effect::Remove { .. } => Some(Effect::UncertainRemove),
        }
    }
}

impl Operation {
    /// It as checkers take it; `None` if it says nothing: a refused one, or a read without an answer. A write to a table has seen the
    /// value before it.
    fn step(&self, in_table: bool) -> Option<Step> {
        let (effect, returned, epoch) = match (&self.outcome, self.request) {
            (Outcome::Refused { .. }, _) | (Outcome::Uncertain { .. }, Request::Read) => return None,
            (Outcome::Ok { found, epoch, .. }, request) => {
                let effect = match request {
                    Request::Read => Effect::Read { found: *found },
                    Request::Write(value) if in_table => Effect::Exchange { value, found: *found },
                    Request::Write(value) => Effect::Write { value },
                    Request::Swap { expected, new } => Effect::Swap { expected, new, found: *found },
                    Request::Update(value) => Effect::Exchange { value, found: *found },
                    Request::Remove => Effect::Remove { found: *found },
                };
                (effect, Some(self.returned), Some(*epoch))
            }
            (Outcome::Uncertain { .. }, Request::Write(value) | Request::Update(value)) => {
                (Effect::Write { value }, None, None)
            }
            (Outcome::Uncertain { .. }, Request::Remove) => (Effect::UncertainRemove, None, None),
            (Outcome::Uncertain { .. }, Request::Swap { expected, new }) => {
                (Effect::UncertainSwap { expected, new }, None, None)
            }
        };
        Some(Step { client: self.client, effect, invoked: self.invoked, returned, epoch })
    }
}

/// The operations of each key, in the order of their invocation. With the losses that were reported, if they are of a table.
pub(crate) fn by_key(operations: &[Operation], losses: Option<&[Loss]>) -> BTreeMap<u32, Vec<Step>> {
    let mut keys = BTreeMap::<u32, Vec<Step>>::new();
    for operation in operations {
        let steps = keys.entry(operation.key).or_default();
        steps.extend(operation.step(losses.is_some()));
    }
    for loss in losses.unwrap_or_default() {
        let effect = Effect::Loss { certain: loss.certain };
        let step = Step {
            client: NO_CLIENT,
            effect,
            invoked: loss.from,
            returned: Some(loss.reported),
            epoch: None,
        };
        for key in &loss.keys {
            keys.entry(*key).or_default().push(step);
        }
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
///
/// An open removal stays: what it leaves is not unique. There are few.
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
            Effect::UncertainRemove | Effect::Loss { .. } => return Some(*step),
            // Without an answer these are no steps.
            Effect::Read { .. } | Effect::Swap { .. } | Effect::Exchange { .. } | Effect::Remove { .. } => {
                return Some(*step);
            }
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
            assert!(by_key(&[operation], None)[&3].is_empty());
        }
        let open = by_key(&[operation(Request::Write(1), uncertain)], None);
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
