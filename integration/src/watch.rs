//! Who claimed what, when: whether two nodes ever claimed one thing at one time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Claimed, between, report};

/// What all lives of all nodes claimed.
#[derive(Debug, Default)]
pub struct Record {
    lives: Vec<(String, Vec<Claimed>)>,
}

impl Record {
    /// Adds what one life of a node claimed.
    pub fn add(&mut self, name: &str, claimed: Vec<Claimed>) {
        self.lives.push((name.to_owned(), claimed));
    }

    /// How often the nodes were asked.
    pub fn samples(&self) -> u64 {
        self.all().map(|(_, _, claimed)| claimed.samples).sum()
    }

    /// No two lives claimed one key at one time, nor to be the sentry; tells how many answers say so.
    #[track_caller]
    pub fn check(&self) {
        let samples = self.samples();
        assert!(samples > 0, "somebody was asked");
        let claims = self.all().filter(|(_, _, claimed)| claimed.sentry || !claimed.mine.is_empty());
        assert!(claims.count() > 0, "somebody claimed something");
        if let Some((one, other)) = self.overlap(|one, other| {
            (one.sentry && other.sentry) || one.mine.iter().any(|key| other.mine.contains(key))
        }) {
            panic!("claimed by two at one time:\n{one}\n{other}");
        }
        report(&format!("    of {samples} answers no two claimed one thing at one time"));
    }

    /// For how long at most two lives were up at one time in views of different epochs.
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

    /// Nobody of this name claimed anything in a view of this epoch, or of one before it, when asked after a moment.
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
        let lives = self.lives.iter().filter(|(_, life)| {
            let mut seen = life.iter().filter(|claimed| touched(claimed)).peekable();
            seen.peek().is_some() && seen.all(|claimed| claimed.up)
        });
        lives.map(|(name, _)| name.as_str()).collect()
    }

    fn all(&self) -> impl Iterator<Item = (usize, &str, &Claimed)> {
        let lives = self.lives.iter().enumerate();
        lives.flat_map(|(life, (name, claimed))| claimed.iter().map(move |one| (life, name.as_str(), one)))
    }

    /// The first two stretches of different lives that overlap for sure and are as `conflict` says.
    fn overlap(&self, mut conflict: impl FnMut(&Claimed, &Claimed) -> bool) -> Option<(String, String)> {
        let mut stretches: Vec<_> = self.all().filter(|(_, _, one)| one.from < one.to).collect();
        stretches.sort_by_key(|(_, _, one)| one.from);
        let mut open: Vec<(usize, &str, &Claimed)> = Vec::new();
        for now @ (life, name, one) in stretches {
            open.retain(|(_, _, other)| other.to > one.from);
            let other = open.iter().find(|(its, _, other)| *its != life && conflict(one, other));
            if let Some((_, its, other)) = other {
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
        Claimed { from, to, epoch: Some(from), up: true, sentry, mine: mine.to_vec(), samples: 1 }
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
}
