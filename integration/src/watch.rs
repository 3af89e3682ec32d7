//! The claims of all nodes over time: no two nodes may claim one thing at one time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Claimed, Node, between, report};

/// What all incarnations of all nodes claimed.
#[derive(Debug, Default)]
pub struct Record {
    incarnations: Vec<(String, Vec<Claimed>)>,
}

impl Record {
    /// Adds what one incarnation of a node claimed.
    pub fn add(&mut self, name: &str, claimed: Vec<Claimed>) {
        self.incarnations.push((name.to_owned(), claimed));
    }

    /// Adds what the present incarnations of these nodes claimed.
    #[track_caller]
    pub fn add_all<'a>(&mut self, nodes: impl IntoIterator<Item = &'a mut Node>) {
        for node in nodes {
            let claimed = node.claimed();
            self.add(node.name(), claimed);
        }
    }

    /// No two incarnations claimed one key at one time, nor to be the sentry, not even for as long as one question takes. Prints how many
    /// answers say so, and how far apart they were.
    #[track_caller]
    pub fn check(&self) {
        let claims = self.all().filter(|(_, _, claimed)| claimed.sentry || !claimed.mine.is_empty());
        assert!(claims.count() > 0, "no node claimed anything, so nothing was compared");
        let samples: u64 = self.all().map(|(_, _, claimed)| claimed.samples).sum();
        let watched: u64 = self.all().map(|(_, _, one)| one.to.saturating_sub(one.from)).sum();
        let apart = self.all().map(|(_, _, one)| one.apart).max().unwrap_or_default();
        if let Some((one, other)) = self.overlap(|one, other| {
            (one.sentry && other.sentry) || one.mine.iter().any(|key| other.mine.contains(key))
        }) {
            panic!("claimed by two at one time:\n{one}\n{other}");
        }
        report(&format!(
            "    of {samples} answers, each {:.2} ms on average and {:.0} ms at most after the one before, no two claimed one \
             thing at one time",
            watched as f64 / samples as f64 / 1e6,
            apart as f64 / 1e6,
        ));
    }

    /// For how long at most two incarnations were up at one time in views of different epochs.
    pub fn both_up(&self) -> Duration {
        let mut longest = Duration::ZERO;
        self.overlap(|one, other| {
            if one.up && other.up && one.epoch != other.epoch {
                longest = longest.max(between(one.from.max(other.from), one.to.min(other.to)));
            }
            false
        });
        longest
    }

    /// Checks that the node of this name claimed nothing after a moment in a view of this epoch or an earlier one.
    #[track_caller]
    pub fn check_silent(&self, name: &str, epoch: u64, after: u64) {
        let asked = self.all().filter(|(_, its, one)| *its == name && one.to > after);
        let asked: Vec<_> = asked.map(|(_, _, one)| one).collect();
        assert!(!asked.is_empty(), "{name} was asked after that");
        for one in asked {
            let claims = one.sentry || !one.mine.is_empty();
            assert!(!claims || one.epoch > Some(epoch), "{name} claims, and may not: {one:?}");
        }
    }

    /// The names of those that were up all the time from one moment to another, as far as they were asked.
    pub fn up_throughout(&self, from: u64, to: u64) -> BTreeSet<&str> {
        let touched = |claimed: &Claimed| claimed.from < to && claimed.to > from;
        let incarnations = self.incarnations.iter().filter(|(_, incarnation)| {
            let mut seen = incarnation.iter().filter(|claimed| touched(claimed)).peekable();
            seen.peek().is_some() && seen.all(|claimed| claimed.up)
        });
        incarnations.map(|(name, _)| name.as_str()).collect()
    }

    fn all(&self) -> impl Iterator<Item = (usize, &str, &Claimed)> {
        let incarnations = self.incarnations.iter().enumerate();
        incarnations.flat_map(|(incarnation, (name, claimed))| {
            claimed.iter().map(move |one| (incarnation, name.as_str(), one))
        })
    }

    /// The first two stretches of different incarnations that overlap for sure and are as `conflict` says. A single answer, whose
    /// beginning is its end, overlaps what goes on from before its question until after it.
    fn overlap(&self, mut conflict: impl FnMut(&Claimed, &Claimed) -> bool) -> Option<(String, String)> {
        let begin = |one: &Claimed| one.from.min(one.to);
        let end = |one: &Claimed| one.from.max(one.to);
        let mut stretches: Vec<_> = self.all().collect();
        stretches.sort_by_key(|(_, _, one)| begin(one));
        let mut open: Vec<(usize, &str, &Claimed)> = Vec::new();
        for now @ (incarnation, name, one) in stretches {
            open.retain(|(_, _, other)| end(other) > begin(one));
            let meets = |other: &Claimed| one.from < other.to && other.from < one.to;
            let found = open
                .iter()
                .find(|(its, _, other)| *its != incarnation && meets(other) && conflict(one, other));
            if let Some((_, its, other)) = found {
                return Some((format!("{its}: {other:?}"), format!("{name}: {one:?}")));
            }
            open.push(now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(from: u64, to: u64, sentry: bool, mine: &[usize]) -> Claimed {
        Claimed { from, to, epoch: Some(from), up: true, sentry, mine: mine.to_vec(), samples: 1, apart: 0 }
    }

    fn record(one: Claimed, other: Claimed) -> Record {
        let mut record = Record::default();
        record.add("one", vec![one]);
        record.add("other", vec![other]);
        record
    }

    #[test]
    fn claims_one_after_the_other_are_fine() {
        let record = record(claimed(0, 10, true, &[1]), claimed(10, 20, true, &[1]));
        record.check();
        assert_eq!(record.both_up(), Duration::ZERO);
    }

    #[test]
    fn claims_at_one_time_of_different_things_are_fine() {
        let record = record(claimed(0, 10, true, &[1]), claimed(5, 20, false, &[2]));
        record.check();
        assert_eq!(record.both_up(), Duration::from_nanos(5));
    }

    #[test]
    #[should_panic(expected = "claimed by two at one time")]
    fn one_key_claimed_by_two_at_one_time_is_found() {
        record(claimed(0, 10, false, &[1, 2]), claimed(9, 20, true, &[2, 3])).check();
    }

    #[test]
    #[should_panic(expected = "claimed by two at one time")]
    fn two_sentries_at_one_time_are_found() {
        record(claimed(0, 10, true, &[]), claimed(2, 3, true, &[])).check();
    }

    #[test]
    #[should_panic(expected = "claimed by two at one time")]
    fn two_sentries_for_a_single_millisecond_of_an_hour_are_found() {
        const HOUR: u64 = 3_600_000_000_000;
        record(claimed(0, HOUR, true, &[]), claimed(HOUR - 1_000_000, 2 * HOUR, true, &[])).check();
    }

    #[test]
    #[should_panic(expected = "claimed by two at one time")]
    fn a_single_answer_in_the_middle_of_what_another_claims_is_found() {
        record(claimed(0, 10, false, &[7]), claimed(6, 5, false, &[7])).check();
    }

    #[test]
    #[should_panic(expected = "claimed by two at one time")]
    fn a_single_answer_is_compared_also_when_its_question_began_first() {
        let mut record = record(claimed(20, 3, false, &[1]), claimed(6, 5, true, &[]));
        record.add("third", vec![claimed(2, 30, false, &[1])]);
        record.check();
    }

    /// One question began before the other's claim did, or ended after it: the two need not have met.
    #[test]
    fn a_single_answer_at_the_edge_of_what_another_claims_proves_nothing() {
        record(claimed(5, 10, true, &[]), claimed(6, 4, true, &[])).check();
        record(claimed(5, 10, true, &[]), claimed(11, 9, true, &[])).check();
        record(claimed(9, 5, true, &[]), claimed(8, 6, true, &[])).check();
    }
}
