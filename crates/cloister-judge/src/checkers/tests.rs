//! Calibration: what each checker must accept and reject.

use cloister_testkit::random::Rng;

use super::*;
use crate::history::tests::{read, step, swap, write};
use crate::history::{Effect, Value, settled, until};

const LIMIT: Duration = Duration::from_secs(20);

/// Both checkers say this of a history, as it is and with its open operations settled.
fn all_say(expected: Verdict, what: &str, history: &[Step]) {
    for checker in Checker::ALL {
        assert_eq!(checker.check(history, LIMIT), expected, "{what}: {}", checker.name());
        assert_eq!(checker.check(&settled(history), LIMIT), expected, "{what}, settled: {}", checker.name());
    }
}

#[test]
fn legal_histories_are_accepted() {
    let open_swap = Effect::UncertainSwap { expected: 1, new: 2 };
    let cases: [(&str, &[Step]); 9] = [
        ("nothing", &[]),
        ("a read of the initial value", &[step(1, 2, read(0))]),
        ("a write and a read", &[step(1, 2, write(1)), step(3, 4, read(1))]),
        (
            "concurrent writes, read in one order",
            &[step(1, 10, write(1)), step(2, 9, write(2)), step(11, 12, read(1)), step(13, 14, read(1))],
        ),
        (
            "an uncertain write that shows later",
            &[step(1, 0, write(1)), step(5, 6, read(0)), step(7, 8, read(0)), step(9, 10, read(1))],
        ),
        ("an uncertain write that never shows", &[step(1, 0, write(1)), step(5, 6, read(0))]),
        (
            "a swap, and one that finds another value",
            &[
                step(1, 2, write(1)),
                step(3, 4, swap(1, 2, 1)),
                step(5, 6, swap(1, 3, 2)),
                step(7, 8, read(2)),
            ],
        ),
        (
            "an uncertain swap that shows later",
            &[step(1, 2, write(1)), step(3, 0, open_swap), step(5, 6, read(1)), step(7, 8, read(2))],
        ),
        (
            "an uncertain swap of an uncertain write",
            &[step(1, 0, write(1)), step(2, 0, open_swap), step(5, 6, read(0)), step(7, 8, read(2))],
        ),
    ];
    for (what, history) in cases {
        all_say(Verdict::Legal, what, history);
    }
}

#[test]
fn illegal_histories_are_rejected() {
    let cases: [(&str, &[Step]); 9] = [
        ("a stale read", &[step(1, 2, write(1)), step(3, 4, write(2)), step(5, 6, read(1))]),
        ("a read of what nothing wrote", &[step(1, 2, write(1)), step(3, 4, read(9))]),
        ("a lost write", &[step(1, 2, write(1)), step(3, 4, read(0))]),
        (
            "a lost update: two swaps of one value",
            &[step(1, 2, write(1)), step(3, 6, swap(1, 2, 1)), step(4, 7, swap(1, 3, 1))],
        ),
        ("a read before its write began", &[step(1, 2, read(1)), step(3, 4, write(1))]),
        ("a read before its uncertain write began", &[step(1, 2, read(1)), step(3, 0, write(1))]),
        (
            "an uncertain write that shows, and then does not",
            &[step(1, 0, write(1)), step(3, 4, read(1)), step(5, 6, read(0))],
        ),
        (
            "two clients that see two orders",
            &[step(1, 2, write(1)), step(3, 9, write(2)), step(4, 5, read(2)), step(6, 7, read(1))],
        ),
        (
            "a swap that found what was no longer there",
            &[step(1, 2, write(1)), step(3, 4, write(2)), step(5, 6, swap(7, 8, 1))],
        ),
    ];
    for (what, history) in cases {
        all_say(Verdict::Illegal, what, history);
    }
}

const fn exchange(value: u64, found: u64) -> Effect {
    Effect::Exchange { value, found }
}

const fn remove(found: u64) -> Effect {
    Effect::Remove { found }
}

const LOST: Effect = Effect::Loss { certain: true };
const MAY_BE_LOST: Effect = Effect::Loss { certain: false };

#[test]
fn a_key_of_a_table_may_lose_what_was_reported_as_lost_and_no_more() {
    let first = [step(1, 2, exchange(1, 0)), step(3, 4, exchange(2, 1))];
    let cases: [(Verdict, &str, &[Step]); 12] = [
        (Verdict::Legal, "a removal", &[step(5, 6, remove(2)), step(7, 8, exchange(3, 0))]),
        (Verdict::Illegal, "a removal that is lost", &[step(5, 6, remove(2)), step(7, 8, read(2))]),
        (Verdict::Illegal, "a write that is done twice", &[step(5, 6, exchange(3, 3))]),
        (Verdict::Illegal, "a loss that is not reported", &[step(7, 8, read(0))]),
        (
            Verdict::Legal,
            "a loss that is reported",
            &[step(5, 9, LOST), step(7, 8, read(0)), step(10, 11, read(0))],
        ),
        (Verdict::Legal, "a loss of which a copy came back", &[step(5, 9, LOST), step(7, 8, read(2))]),
        (Verdict::Illegal, "a certain loss, and an older value", &[step(5, 6, LOST), step(7, 8, read(1))]),
        (Verdict::Legal, "a loss that is not certain", &[step(5, 6, MAY_BE_LOST), step(7, 8, read(1))]),
        (
            Verdict::Illegal,
            "a loss that shows, and then does not",
            &[step(5, 6, MAY_BE_LOST), step(7, 8, read(1)), step(9, 10, read(2))],
        ),
        (Verdict::Illegal, "a loss before it was reported", &[step(5, 6, read(0)), step(7, 8, LOST)]),
        (
            Verdict::Illegal,
            "what was written after a loss is lost",
            &[step(5, 6, LOST), step(7, 8, exchange(3, 0)), step(9, 10, read(0))],
        ),
        (
            Verdict::Legal,
            "a removal without an answer, which shows later",
            &[step(5, 0, Effect::UncertainRemove), step(6, 7, read(2)), step(8, 9, read(0))],
        ),
    ];
    for (expected, what, then) in cases {
        all_say(expected, what, &[&first, then].concat());
    }
}

/// Histories of a register that is sound, or that answers now and then with a value of before.
fn history(rng: &mut Rng, sound: bool) -> Vec<Step> {
    let (mut value, mut before) = (0, 0);
    let mut steps = Vec::new();
    for number in 0..rng.between(3, 14) {
        // Each takes effect at ten times its number; how long before and after that it begins and ends is chance.
        let at = 100 + 10 * number;
        let (invoked, returned) = (at - rng.between(0, 25), at + rng.between(1, 25));
        let shown = if sound || !rng.percent(20) { value } else { before };
        let new = number + 1;
        let effect = match rng.index(5) {
            0 => read(shown),
            1 => write(new),
            2 => exchange(new, shown),
            3 => remove(shown),
            _ => swap(if rng.percent(70) { shown } else { before }, new, shown),
        };
        let lost = rng.percent(25);
        let takes_effect = !lost || rng.percent(50);
        if takes_effect {
            let Value::Sure(after) = effect.apply(Value::Sure(shown)).1 else { unreachable!() };
            if after != shown {
                (before, value) = (value, after);
            }
        }
        let effect = match effect {
            _ if !lost => Some(effect),
            Effect::Read { .. } => None,
            Effect::Swap { expected, new, .. } => Some(Effect::UncertainSwap { expected, new }),
            Effect::Exchange { value, .. } => Some(write(value)),
            Effect::Remove { .. } => Some(Effect::UncertainRemove),
            other => Some(other),
        };
        let returned = if lost { 0 } else { returned };
        steps.extend(effect.map(|effect| step(invoked, returned, effect)));
    }
    steps.sort_by_key(|step| step.invoked);
    steps
}

#[test]
fn both_checkers_agree_with_open_operations_settled_and_not() {
    let mut rng = Rng::new(1);
    let (mut legal, mut illegal) = (0, 0);
    for number in 0..2_000 {
        let sound = number % 2 == 0;
        let history = history(&mut rng, sound);
        let expected = Checker::Porcupine.check(&history, LIMIT);
        assert!(!sound || expected == Verdict::Legal, "history {number}: {history:#?}");
        all_say(expected, &format!("history {number}: {history:#?}"), &history);
        if expected == Verdict::Legal {
            legal += 1;
        } else {
            illegal += 1;
        }
    }
    assert!(legal > 1_000 && illegal > 200, "{legal} legal, {illegal} illegal");
}

#[test]
fn a_beginning_of_a_legal_history_is_legal() {
    let mut rng = Rng::new(2);
    for _ in 0..200 {
        let history = history(&mut rng, true);
        let moments: Vec<u64> = history.iter().filter_map(|step| step.returned).collect();
        for moment in moments {
            assert_eq!(Checker::Porcupine.check(&until(&history, moment), LIMIT), Verdict::Legal);
        }
    }
}

/// So many open writes at one time, and a read of what none of them wrote.
fn hopeless() -> Vec<Step> {
    let mut steps: Vec<_> = (1..40).map(|value| step(1, 100, write(value))).collect();
    steps.push(step(101, 102, read(999)));
    steps
}

#[test]
fn a_checker_that_is_out_of_time_says_so() {
    for checker in Checker::ALL {
        assert_eq!(
            checker.check(&hopeless(), Duration::from_millis(50)),
            Verdict::Undecided,
            "{}",
            checker.name()
        );
    }
}

#[test]
fn a_long_history_is_checked_in_little_time() {
    let mut steps = Vec::new();
    for number in 1..500 {
        steps.push(step(10 * number, 10 * number + 3, write(number)));
        steps.push(step(10 * number + 1, 10 * number + 12, read(number)));
        if number % 50 == 0 {
            steps.push(step(10 * number, 0, write(10_000 + number)));
        }
    }
    all_say_settled(&steps);
}

fn all_say_settled(steps: &[Step]) {
    for checker in Checker::ALL {
        assert_eq!(checker.check(&settled(steps), LIMIT), Verdict::Legal, "{}", checker.name());
    }
}
