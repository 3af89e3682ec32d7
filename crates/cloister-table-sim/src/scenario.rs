//! What happens in a run.

use cloister_proto::SplitPolicy;
use cloister_sim::{Adversary, Fault, MS, Outcome, Scenario, World};
use cloister_table_proto::OnLoss;
use cloister_table_proto::rule::Rule;
use cloister_testkit::random::Rng;

use crate::node::TableNode;
use crate::oracle::{Oracle, Settings};

/// A kind of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Three to nine nodes, random faults, and adversaries that see rounds and what tables say.
    Adversarial,
    /// A cluster that is up, and faults one after the other with an adversary that sees what tables say.
    Aimed,
    /// View after view: faults several times a second, and adversaries that strike at nearly everything.
    Storm,
    /// One node at a time is killed, leaves, or stands still, and all copies are complete before the next: nothing is lost.
    OneByOne,
}

/// Runs the seed of a family, with a rule switched off or none.
pub fn run(family: Family, seed: u64, disabled_rule: Option<Rule>, traced: bool) -> (Outcome, Oracle) {
    let (scenario, settings) = scenario(family, seed, disabled_rule);
    // Over a restart of all nodes epochs rise as far as wall clocks do.
    let scenario = Scenario {
        skew_ms: 0,
        split: SplitPolicy::Majority,
        starts_anywhere: false,
        state_files: true,
        ..scenario
    };
    World::<TableNode>::run_with(scenario, Oracle::new(settings), traced)
}

fn scenario(family: Family, seed: u64, disabled_rule: Option<Rule>) -> (Scenario, Settings) {
    let mut rng = Rng::new(seed ^ 0x7ab1_e000);
    let settings = Settings {
        copies: 1 + rng.index(3),
        on_loss: if rng.percent(70) { OnLoss::Empty } else { OnLoss::Wait },
        chunk_bytes: *rng.pick(&[16, 64, 1 << 16]),
        lags: *rng.pick(&[0, 0, 10, 40]),
        drops: *rng.pick(&[0, 0, 10, 60]),
        // Not drawn: the runs of the other seeds stay as they were.
        commits_late: if seed % 8 == 6 { 40 } else { 0 },
        loses_nothing: false,
        disabled_rule,
    };
    match family {
        Family::Adversarial => {
            let hosts = 3 + rng.index(7);
            let mut scenario = Scenario::adversarial(seed, hosts);
            scenario.application_adversary = *rng.pick(&[0, 400, 150, 60]);
            (scenario, settings)
        }
        Family::Aimed => {
            let hosts = 3 + rng.index(4);
            let mut scenario = Scenario { may_misjudge: true, ..Scenario::calm(seed, hosts) };
            let mut at = 2_500 * MS;
            for _ in 0..2 + rng.index(5) {
                at += rng.between(20, 2_500) * MS;
                add_fault(&mut scenario, &mut rng, at);
            }
            scenario.quiet_at = at + rng.between(3_000, 9_000) * MS;
            scenario.application_adversary = *rng.pick(&[0, 200, 60, 20]);
            scenario.faults.sort_by_key(|(at, _)| *at);
            (scenario, settings)
        }
        Family::Storm => {
            let hosts = 3 + rng.index(3);
            let mut scenario = Scenario { may_misjudge: true, ..Scenario::calm(seed, hosts) };
            let mut at = 1_500 * MS;
            for _ in 0..8 + rng.index(14) {
                at += rng.between(100, 1_200) * MS;
                add_fault(&mut scenario, &mut rng, at);
            }
            scenario.quiet_at = at + rng.between(500, 5_000) * MS;
            scenario.adversary = *rng.pick(&[Adversary::None, Adversary::OneIn(12), Adversary::OneIn(4)]);
            scenario.application_adversary = *rng.pick(&[0, 40, 12, 4]);
            scenario.faults.sort_by_key(|(at, _)| *at);
            let (lags, drops) = (*rng.pick(&[0, 20, 60]), *rng.pick(&[0, 20, 100]));
            (scenario, Settings { lags, drops, ..settings })
        }
        Family::OneByOne => {
            let hosts = 3 + rng.index(3);
            let mut scenario = Scenario { may_misjudge: true, ..Scenario::calm(seed, hosts) };
            let mut at = 4_000 * MS;
            for _ in 0..3 + rng.index(3) {
                let one = rng.index(hosts);
                let fault = match rng.index(4) {
                    0 => Fault::Kill(one),
                    1 => Fault::Vanish(one),
                    2 => Fault::Leave(one),
                    _ => Fault::Pause(one, rng.between(500, 6_000) * MS),
                };
                scenario.faults.push((at, fault));
                // In half of the cases before the others have noticed.
                let back = if rng.percent(50) { rng.between(50, 1_500) } else { rng.between(4_500, 7_000) };
                scenario.faults.push((at + back * MS, Fault::Start(one)));
                // One that leaves takes up to 15 s.
                scenario.faults.push((at + 18_000 * MS, Fault::Start(one)));
                at += 24_000 * MS;
            }
            scenario.quiet_at = at;
            scenario.faults.sort_by_key(|(at, _)| *at);
            (scenario, Settings { copies: 2 + rng.index(2), lags: 0, loses_nothing: true, ..settings })
        }
    }
}

fn add_fault(scenario: &mut Scenario, rng: &mut Rng, at: u64) {
    let hosts = scenario.hosts;
    let one = rng.index(hosts);
    let other = (one + 1 + rng.index(hosts - 1)) % hosts;
    let mut add = |at: u64, fault: Fault| scenario.faults.push((at, fault));
    match rng.index(10) {
        0 | 1 => {
            add(at, Fault::Kill(one));
            add(at + rng.between(30, 4_000) * MS, Fault::Start(one));
        }
        2 => {
            add(at, Fault::Kill(one));
            add(at + rng.between(0, 600) * MS, Fault::Kill(other));
            add(at + rng.between(700, 4_000) * MS, Fault::Start(one));
            add(at + rng.between(700, 4_000) * MS, Fault::Start(other));
        }
        3 | 4 => {
            add(at, Fault::Leave(one));
            add(at + rng.between(500, 6_000) * MS, Fault::Start(one));
        }
        5 => add(at, Fault::Pause(one, rng.between(50, 7_000) * MS)),
        6 => add(at, Fault::Reset(one, other)),
        7 => {
            add(at, Fault::Cut(one, other));
            let both = rng.percent(60);
            if both {
                add(at, Fault::Cut(other, one));
            }
            let back = at + rng.between(50, 5_000) * MS;
            add(back, Fault::Heal(one, other));
            add(back, Fault::Heal(other, one));
        }
        8 => {
            // One node and what it owns are cut off from the rest.
            for host in (0..hosts).filter(|host| *host != one) {
                add(at, Fault::Cut(one, host));
                add(at, Fault::Cut(host, one));
            }
            add(at + rng.between(500, 6_000) * MS, Fault::HealAll);
        }
        _ => add(at, Fault::Hang(one, rng.between(100, 5_000) * MS)),
    }
}
