//! Whole clusters in one thread and in virtual time, over a network of one millisecond.

use std::time::Instant;

use cloister_proto::{Epoch, Status};
use cloister_sim::{Fault, MS, Notification, Outcome, Scenario, Traffic, World};

use super::Measuring;
use crate::record::Run;

/// Everything happens in nanoseconds of virtual time.
const SECOND: u64 = 1_000 * MS;

/// When something happens first: all is calm by then.
const FIRST: u64 = 6 * SECOND;

/// A node joins `n` others: from the proposal until all are up with a lease, and what that and a calm second cost.
pub(crate) fn round(measuring: &mut Measuring<'_>, n: usize) {
    measuring.each_run(|measuring, seed| {
        let mut scenario = scenario(seed, n + 1);
        delay(&mut scenario, n, FIRST);
        let quiet_at = FIRST + 2 * SECOND;
        scenario.quiet_at = quiet_at;
        let began = Instant::now();
        let outcome = finished(scenario);
        let took = began.elapsed();
        let joined = all_up(&outcome, n + 1, &[], FIRST).expect("it joins");
        let last = outcome.notifications.iter().rfind(|step| step.at == joined).and_then(|step| step.epoch);
        let proposed = proposed(&outcome, last, FIRST);
        measuring.note("round", n, ms(joined - proposed));
        let sent = sent(&outcome, proposed, joined);
        measuring.note("round-messages", n, sent.messages as f64 / (n + 1) as f64);
        measuring.note("round-bytes", n, sent.bytes as f64 / 1e3 / (n + 1) as f64);
        let calm = self::sent(&outcome, FIRST - 2 * SECOND, FIRST);
        measuring.note("calm-messages", n, calm.messages as f64 / 2.0 / n as f64);
        measuring.note("calm-bytes", n, calm.bytes as f64 / 1e3 / 2.0 / n as f64);
        // A run ends when its last view has lasted for two seconds.
        let ran = (quiet_at + 2 * SECOND) as f64 / SECOND as f64;
        measuring.note("simulated-second", n, took.as_secs_f64() * 1e3 / ran);
    });
}

/// `n` nodes boot; one joins; one is killed; the host of one is lost; the network is cut in halves, and healed. The halves
/// claim nothing: neither has consensus.
pub(crate) fn two_hundred(measuring: &mut Measuring<'_>, n: usize) {
    let (join, kill, lose) = (FIRST, FIRST + 3 * SECOND, FIRST + 9 * SECOND);
    let (cut, heal) = (FIRST + 18 * SECOND, FIRST + 26 * SECOND);
    measuring.each_run(|measuring, seed| {
        let mut scenario = scenario(seed, n + 1);
        delay(&mut scenario, n, join);
        scenario.consensus = n / 2 + 2;
        let (killed, lost) = (n / 3, n / 2);
        let mut add = |at: u64, fault: Fault| scenario.faults.push((at, fault));
        add(kill, Fault::Kill(killed));
        add(kill + 3 * SECOND, Fault::Start(killed));
        add(lose, Fault::Vanish(lost));
        add(lose + 6 * SECOND, Fault::Start(lost));
        for (one, other) in (0..n / 2).flat_map(|one| (n / 2..=n).map(move |other| (one, other))) {
            add(cut, Fault::Cut(one, other));
            add(cut, Fault::Cut(other, one));
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.quiet_at = heal;
        scenario.may_misjudge = true;
        let outcome = finished(scenario);
        let mut took = |figure: &'static str, size: usize, without: &[usize], from: u64| {
            let up = all_up(&outcome, size, without, from).expect("they agree");
            measuring.note(figure, n, (up - from) as f64 / SECOND as f64);
        };
        took("boot", n, &[n], 0);
        took("sim-join", n + 1, &[], join);
        took("sim-kill", n, &[killed], kill);
        took("sim-lost", n, &[lost], lose);
        took("sim-heal", n + 1, &[], heal);
    });
}

/// `hosts` processes that start within half a second, over a network of one millisecond.
fn scenario(seed: usize, hosts: usize) -> Scenario {
    let mut scenario = Scenario::calm(seed as u64, hosts);
    scenario.latency = (MS, MS + 1);
    scenario.weighed = true;
    scenario
}

/// One of them starts later.
fn delay(scenario: &mut Scenario, host: usize, until: u64) {
    for (at, fault) in &mut scenario.faults {
        if *fault == Fault::Start(host) {
            *at = until;
        }
    }
    scenario.faults.sort_by_key(|(at, _)| *at);
}

fn finished(scenario: Scenario) -> Outcome {
    let outcome = World::run(scenario, false);
    assert_eq!(outcome.violation, None);
    outcome
}

/// When all hosts but these were first up in one view of `size` members, not before `from`.
fn all_up(outcome: &Outcome, size: usize, without: &[usize], from: u64) -> Option<u64> {
    let mut last = std::collections::BTreeMap::<usize, &Notification>::new();
    for step in outcome.notifications.iter().filter(|step| !without.contains(&step.host)) {
        last.insert(step.host, step);
        let epoch = step.epoch;
        let is_in =
            |step: &&Notification| step.status == Status::Up && step.members == size && step.epoch == epoch;
        if step.at >= from && last.len() == size && last.values().all(is_in) {
            return Some(step.at);
        }
    }
    None
}

/// When the round of a view began: when its proposer, the first to do so, told its listeners of it.
fn proposed(outcome: &Outcome, epoch: Option<Epoch>, from: u64) -> u64 {
    let before =
        |step: &&Notification| step.at >= from && step.epoch != epoch && step.status == Status::Rehashing;
    outcome.notifications.iter().find(before).map_or(from, |step| step.at)
}

/// What was sent in the milliseconds from one moment to another.
fn sent(outcome: &Outcome, from: u64, to: u64) -> Traffic {
    let within = outcome.traffic.range(from / MS..=to / MS).map(|(_, sent)| sent);
    within.fold(Traffic::default(), |sum, sent| Traffic {
        messages: sum.messages + sent.messages,
        bytes: sum.bytes + sent.bytes,
    })
}

fn ms(nanos: u64) -> Run {
    Run::from(nanos as f64 / MS as f64)
}
