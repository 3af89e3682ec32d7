//! Each rule is needed: with one of them switched off, the simulator finds a run that breaks a law, or a course of a few messages ends
//! otherwise.

use std::collections::BTreeSet;

use cloister_table_proto::rule::Rule;
use cloister_table_sim::{Family, run};

/// How many seeds are tried before the rule counts as not needed.
const MAX_SEEDS: u64 = 10_000;

/// The family that finds each rule missing, and the first seed that did when this was written.
const CAUGHT: [(Rule, Family, u64); 10] = [
    (Rule::Fence, Family::Aimed, 220),
    (Rule::AskAll, Family::Aimed, 1),
    (Rule::Shadow, Family::Storm, 531),
    (Rule::Claim, Family::Aimed, 135),
    (Rule::WaitForCopies, Family::Storm, 61),
    (Rule::Seal, Family::Aimed, 0),
    (Rule::Inform, Family::Storm, 2),
    (Rule::DropBeforeLess, Family::Aimed, 1_559),
    (Rule::Once, Family::Storm, 4),
    (Rule::Settled, Family::Storm, 14),
];

/// The rules that random faults hardly ever miss, with the function in `cloister-table-proto/tests` that plays a course with the rule and
/// without it.
const BY_COURSE: [(Rule, &str); 11] = [
    (Rule::AskLeavers, "both_copies_leave"),
    (Rule::Candidate, "a_proposal_comes_to_nothing"),
    (Rule::Count, "a_copy_that_lacks_a_write_is_left"),
    (Rule::Proof, "a_view_begins_and_ends_unheard"),
    (Rule::SealStart, "a_shown_write_is_gone"),
    (Rule::KeepUntilComplete, "both_copies_move"),
    (Rule::Doubt, "a_view_is_known_to_nodes_that_ended"),
    (Rule::CatchUp, "a_copy_lags_at_the_beginning_of_a_view"),
    (Rule::Continuous, "a_write_is_lost_between_two_chunks"),
    (Rule::Remembered, "an_accepted_operation_is_done_elsewhere_and_lost"),
    (Rule::HeardOf, "views_without_a_client_are_known_to_a_leaver_only"),
];

#[test]
fn every_rule_is_missed_when_it_is_switched_off() {
    let mut not_missed = Vec::new();
    for (rule, family, first) in CAUGHT {
        // The seeds from the known one on, so that the test is quick while nothing has changed.
        let caught = (first..first + MAX_SEEDS).zip(1_u64..).find_map(|(seed, tried)| {
            let (outcome, _) = run(family, seed, Some(rule), false);
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

#[test]
fn a_rule_that_no_seed_misses_is_missed_by_a_course() {
    let path = format!("{}/../cloister-table-proto/tests", env!("CARGO_MANIFEST_DIR"));
    let courses = ["courses", "remembers"].map(|name| std::fs::read_to_string(format!("{path}/{name}.rs")));
    let courses = courses.map(|course| course.expect("the courses can be read")).concat();
    for (rule, course) in BY_COURSE {
        for call in [format!("{course}(None)"), format!("{course}(Some(Rule::{rule:?}))")] {
            assert!(courses.contains(&call), "no test in {path} calls {call}");
        }
    }
}

#[test]
fn the_tables_name_every_rule_once() {
    let by_seed = CAUGHT.iter().map(|(rule, ..)| *rule);
    let named: BTreeSet<String> =
        by_seed.chain(BY_COURSE.map(|(rule, _)| rule)).map(|rule| format!("{rule:?}")).collect();
    assert_eq!(named, Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect());
    assert_eq!(CAUGHT.len() + BY_COURSE.len(), Rule::ALL.len());
}
