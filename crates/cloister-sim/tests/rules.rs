//! Each rule is needed: with one of them switched off, the simulator finds a run that breaks a law.

use std::collections::BTreeSet;

use cloister_proto::rule::Rule;
use cloister_sim::{Amnesia, Scenario, World};

/// Which scenarios look for a missing rule.
#[derive(Clone, Copy, Debug)]
enum Family {
    /// Three nodes, random faults, and an adversary.
    Adversarial,
    /// One fault aimed at one rule.
    Aimed,
    /// Courses aimed at the parts of the split policy `majority`.
    Majority,
    /// Hosts that are gone for good.
    Gone,
    /// Clusters that are scaled down at once.
    ScaledDown,
    /// Goodbyes that are sent by stale reports.
    HandedOver,
    /// The same where members restart behind a cut, each with a state file.
    Restarts,
    /// Three nodes, random faults, and wall clocks that are years apart.
    ClocksApart,
    /// Machines that stand still with their clocks.
    Frozen,
    /// Nodes with different leases, and random faults.
    Mixed,
}

/// How many seeds are tried before the rule counts as not needed.
const MAX_SEEDS: u64 = 10_000;

/// The family that finds each rule missing, and the first seed that did when this was written.
const CAUGHT: [(Rule, Family, u64); 29] = [
    (Rule::BroadcastAtOnce, Family::Aimed, 11),
    (Rule::HungIsGone, Family::Aimed, 9),
    (Rule::Guard, Family::Aimed, 3),
    (Rule::ClosedIsNotExpired, Family::Aimed, 4),
    (Rule::CommonCandidate, Family::Aimed, 8),
    (Rule::EpochFromClock, Family::Aimed, 2),
    (Rule::ReleasedUpTo, Family::Aimed, 10),
    (Rule::SameView, Family::Adversarial, 3),
    (Rule::FreshGrants, Family::Aimed, 368),
    (Rule::Forgotten, Family::Adversarial, 40),
    (Rule::NewRound, Family::Aimed, 327),
    (Rule::VoidPromise, Family::Aimed, 8),
    (Rule::JudgeByEcho, Family::Aimed, 0),
    (Rule::LeaveAtOnce, Family::Adversarial, 23),
    (Rule::ExtendDeadlines, Family::Aimed, 6),
    (Rule::ReachableOnceHeartbeat, Family::Aimed, 9),
    (Rule::ChecksEveryLink, Family::Adversarial, 831),
    (Rule::MajorityOfMembers, Family::Majority, 10),
    (Rule::IncarnationsNotNames, Family::Majority, 359),
    (Rule::LeaversGrants, Family::Majority, 400),
    (Rule::RivalsCount, Family::Majority, 208),
    (Rule::NewerHandedOver, Family::HandedOver, 0),
    (Rule::AbortedReleased, Family::Gone, 3),
    (Rule::SizeReportedAnew, Family::ScaledDown, 2),
    (Rule::RestoresBaseViews, Family::Restarts, 25),
    (Rule::EpochSupportedByHalf, Family::ClocksApart, 16),
    (Rule::EpochWithinReach, Family::ClocksApart, 88),
    (Rule::JumpEndsLease, Family::Frozen, 1),
    (Rule::ShorterLease, Family::Mixed, 1804),
];

#[test]
fn every_rule_is_missed_when_it_is_switched_off() {
    let mut not_missed = Vec::new();
    for (rule, family, first) in CAUGHT {
        // The seeds from the known one on, so that the test is quick while nothing has changed.
        let caught = (first..MAX_SEEDS).chain(0..first).zip(1_u64..).find_map(|(seed, tried)| {
            let scenario = match family {
                Family::Adversarial => Scenario::adversarial(seed, 3),
                Family::Aimed => Scenario::aimed(seed),
                Family::Majority => Scenario::aimed_at_majority(seed, Amnesia::Never),
                Family::Gone => Scenario::gone(seed),
                Family::ScaledDown => Scenario::scaled_down(seed),
                Family::HandedOver => Scenario::handed_over(seed),
                Family::Restarts => {
                    Scenario { state_files: true, ..Scenario::aimed_at_majority(seed, Amnesia::Restarts) }
                }
                Family::ClocksApart => Scenario::clocks_apart(seed, 3),
                Family::Frozen => Scenario::frozen(seed),
                Family::Mixed => Scenario::mixed(seed, 3),
            };
            let outcome = World::run(Scenario { disabled_rule: Some(rule), ..scenario }, false);
            outcome.violation.map(|violation| (seed, tried, violation))
        });
        match caught {
            Some((seed, tried, violation)) => {
                let what: String = violation.0.chars().take(100).collect();
                println!("without {rule:?}: {family:?} seed {seed}, {tried} tried: {what}");
            }
            None => not_missed.push(rule),
        }
    }
    assert!(not_missed.is_empty(), "no seed of {MAX_SEEDS} needs {not_missed:?}");
}

/// The rules that no seed is known to miss: without them a cluster waits, or a second one may begin, in a course that a script
/// in `cloister-proto/tests/scripts` plays with the rule and without it.
const BY_SCRIPT: [(Rule, &str); 9] = [
    (Rule::MajorityOfSize, "majority-4-size.txt"),
    (Rule::LeaversDiscounted, "majority-ten-become-two-in-order.txt"),
    (Rule::GoodbyesSpread, "majority-goodbyes-are-passed-on.txt"),
    (Rule::BaseViewsHandedOver, "majority-2-a-view-unknown-here.txt"),
    (Rule::NewerSupersedes, "majority-an-older-view-is-superseded.txt"),
    (Rule::SizeInherited, "majority-4-size.txt"),
    (Rule::Objections, "majority-6-a-stray-node.txt"),
    (Rule::AckOncePersisted, "majority-a-state-file-acknowledges-late.txt"),
    (Rule::OwnSizeFirst, "majority-5-a-stale-report.txt"),
];

#[test]
fn a_rule_that_no_seed_misses_is_missed_by_a_script() {
    for (rule, script) in BY_SCRIPT {
        let path = format!("{}/../cloister-proto/tests/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
        let script = std::fs::read_to_string(&path).expect("a script can be read");
        let (with, without) = script.split_once("# Without the rule").expect("both courses");
        assert!(without.contains(&format!(" without {rule:?}\n")), "{path} does not switch {rule:?} off");
        let end = |course: &str| course.trim_end().rsplit("----").next().map(str::to_owned);
        assert_ne!(end(with), end(without), "{path} ends the same without {rule:?}");
    }
}

#[test]
fn the_tables_name_every_rule_once() {
    let by_seed = CAUGHT.iter().map(|(rule, ..)| *rule);
    let named: BTreeSet<String> =
        by_seed.chain(BY_SCRIPT.map(|(rule, _)| rule)).map(|rule| format!("{rule:?}")).collect();
    assert_eq!(named, Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect());
    assert_eq!(CAUGHT.len() + BY_SCRIPT.len(), Rule::ALL.len());
}
