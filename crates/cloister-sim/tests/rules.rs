//! Each rule is needed: with one of them switched off, the simulator finds a run that breaks a law.

use cloister_proto::rule::Rule;
use cloister_sim::{Scenario, World};

/// Which scenarios look for a missing rule.
#[derive(Clone, Copy, Debug)]
enum Family {
    /// Three nodes, random faults, and an adversary.
    Adversarial,
    /// One fault aimed at one rule.
    Aimed,
}

/// How many seeds are tried before the rule counts as not needed.
const MOST: u64 = 10_000;

/// The family that finds each rule missing, and the first seed that did when this was written.
const CAUGHT: [(Rule, Family, u64); 17] = [
    (Rule::TellAtOnce, Family::Aimed, 11),
    (Rule::HungIsGone, Family::Aimed, 9),
    (Rule::Guard, Family::Aimed, 3),
    (Rule::ClosedIsNotExpired, Family::Aimed, 4),
    (Rule::CommonTarget, Family::Aimed, 8),
    (Rule::EpochFromClock, Family::Aimed, 2),
    (Rule::RetiredUpTo, Family::Aimed, 10),
    (Rule::SameView, Family::Adversarial, 3),
    (Rule::FreshGrants, Family::Aimed, 368),
    (Rule::Forgotten, Family::Adversarial, 40),
    (Rule::NewRound, Family::Aimed, 73),
    (Rule::VoidPromise, Family::Aimed, 8),
    (Rule::JudgeByEcho, Family::Aimed, 0),
    (Rule::LeaveAtOnce, Family::Adversarial, 23),
    (Rule::ForgiveLateness, Family::Aimed, 6),
    (Rule::HeardOnceSpoken, Family::Aimed, 9),
    (Rule::NobodyHides, Family::Adversarial, 831),
];

#[test]
fn every_rule_is_missed_when_it_is_switched_off() {
    let mut not_missed = Vec::new();
    for (rule, family, first) in CAUGHT {
        // The seeds from the known one on, so that the test is quick while nothing has changed.
        let caught = (first..MOST).chain(0..first).zip(1_u64..).find_map(|(seed, tried)| {
            let scenario = match family {
                Family::Adversarial => Scenario::adversarial(seed, 3),
                Family::Aimed => Scenario::aimed(seed),
            };
            let outcome = World::run(Scenario { broken: Some(rule), ..scenario }, false);
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
    assert!(not_missed.is_empty(), "no seed of {MOST} needs {not_missed:?}");
}

#[test]
fn the_table_names_every_rule_once() {
    let named: Vec<Rule> = CAUGHT.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(named, Rule::ALL);
}
