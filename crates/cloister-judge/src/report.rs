//! What happened in a run, in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{Loss, Operation, Outcome};
use crate::nemesis::Happened;
use crate::schedule::Fault;

/// How many reasons for refused and uncertain operations are printed.
const MAX_REASONS: usize = 6;

/// What came of the operations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) uncertain: u64,
    /// The most epochs in which one key was served.
    pub(crate) epochs: usize,
    /// The longest time in which no operation was done, and in which none of one key was.
    pub(crate) longest_gap: Duration,
    pub(crate) longest_gap_of_a_key: Duration,
    /// Why operations were not done, without what differs from one to the next.
    reasons: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn of(operations: &[Operation]) -> Self {
        let mut counts = Self::default();
        let mut epochs = BTreeMap::<u32, BTreeSet<u64>>::new();
        let mut returns = BTreeMap::<u32, Vec<u64>>::new();
        for operation in operations {
            match &operation.outcome {
                Outcome::Ok { epoch, .. } => {
                    counts.done += 1;
                    epochs.entry(operation.key).or_default().insert(*epoch);
                    returns.entry(operation.key).or_default().push(operation.returned);
                }
                Outcome::Refused { why, .. } => {
                    counts.refused += 1;
                    *counts.reasons.entry(format!("refused: {}", sort_of(why))).or_default() += 1;
                }
                Outcome::Uncertain { why } => {
                    counts.uncertain += 1;
                    *counts.reasons.entry(format!("uncertain: {}", sort_of(why))).or_default() += 1;
                }
            }
        }
        counts.epochs = epochs.values().map(BTreeSet::len).max().unwrap_or(0);
        counts.longest_gap_of_a_key = returns.values().cloned().map(longest_gap).max().unwrap_or_default();
        counts.longest_gap = longest_gap(returns.into_values().flatten().collect());
        counts
    }
}

/// A reason without its numbers and names.
fn sort_of(why: &str) -> String {
    let plain = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
    let words: Vec<_> = why.split_whitespace().filter(plain).collect();
    words.join(" ").chars().take(100).collect()
}

fn longest_gap(mut moments: Vec<u64>) -> Duration {
    moments.sort_unstable();
    Duration::from_nanos(moments.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0))
}

pub(crate) fn print_counts(counts: &Counts, overtaken: Option<u64>) {
    let Counts { done, refused, uncertain, epochs, .. } = counts;
    println!(
        "\noperations: {} ({done} ok, {refused} refused, {uncertain} uncertain)",
        done + refused + uncertain
    );
    let mut reasons: Vec<_> = counts.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(MAX_REASONS) {
        println!("  {count:6}  {reason}");
    }
    let overtaken = overtaken.map_or_else(String::new, |overtaken| {
        format!("; requests to the store with an earlier epoch: {overtaken}")
    });
    println!("epochs of a key: {epochs}{overtaken}");
    println!(
        "longest unavailability: {:.2} s of all keys, {:.2} s of one key",
        counts.longest_gap.as_secs_f64(),
        counts.longest_gap_of_a_key.as_secs_f64()
    );
}

pub(crate) fn print_faults(happened: &[Happened]) {
    let count = |sort: &str| happened.iter().filter(|happened| happened.fault.sort() == sort).count();
    let counts = Fault::SORTS.iter().map(|sort| (sort, count(sort))).filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts.map(|(sort, count)| format!("{count} {sort}")).collect();
    println!("faults: {} ({})", happened.len(), counts.join(", "));
}

/// Losses that the faults explain, and others.
pub(crate) fn print_losses(explained: &[Loss], others: &[Loss]) {
    let slots = |losses: &[Loss], certain: bool| -> usize {
        losses.iter().filter(|loss| loss.certain == certain).map(|loss| loss.slots).sum()
    };
    let all = |certain| slots(explained, certain) + slots(others, certain);
    let keys = explained.iter().chain(others).flat_map(|loss| &loss.keys).collect::<BTreeSet<_>>().len();
    println!(
        "slots reported as lost: {} certain, {} not certain; {keys} keys are in them",
        all(true),
        all(false)
    );
    for loss in others {
        let Loss { keys, slots, certain, reported, .. } = loss;
        let (reported, certain) = (*reported as f64 / 1e9, if *certain { "" } else { "not " });
        println!("  {reported:.3} s: {slots} slots, {certain}certain, keys {keys:?}: no fault explains it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Request;

    fn operation(key: u32, returned: u64, outcome: Outcome) -> Operation {
        Operation { client: 0, key, request: Request::Read, outcome, invoked: returned - 1, returned }
    }

    #[test]
    fn operations_are_counted_by_outcome_and_gaps_are_between_those_that_were_done() {
        let ok = |epoch| Outcome::Ok { found: 0, epoch, node: 0 };
        let counts = Counts::of(&[
            operation(1, 10, ok(1)),
            operation(2, 20, ok(1)),
            operation(1, 25, Outcome::Uncertain { why: "node 3: timed out".into() }),
            operation(1, 26, Outcome::Refused { why: "epoch 7 was overtaken by 9".into(), owner: None }),
            operation(1, 40, ok(2)),
        ]);
        assert_eq!((counts.done, counts.refused, counts.uncertain, counts.epochs), (3, 1, 1, 2));
        assert_eq!(counts.longest_gap, Duration::from_nanos(20));
        assert_eq!(counts.longest_gap_of_a_key, Duration::from_nanos(30));
        let reasons: Vec<_> = counts.reasons.keys().map(String::as_str).collect();
        assert_eq!(reasons, ["refused: epoch was overtaken by", "uncertain: node timed out"]);
    }
}
