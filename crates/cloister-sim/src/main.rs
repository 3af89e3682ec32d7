//! Runs many seeds and tells how they went.

use clap::Parser;
use cloister_proto::SplitPolicy;
use cloister_proto::rule::Rule;
use cloister_sim::{Rng, Scenario, World};

/// Simulates clusters under faults and checks the laws after every event.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many nodes; 3 to 10, by the seed, if left out.
    #[arg(long)]
    nodes: Option<usize>,
    /// Aim one fault at one rule in each run, instead of many random faults.
    #[arg(long)]
    aimed: bool,
    /// Who goes on when the network splits: `consensus`, `keep-majority` or `keep-oldest`.
    #[arg(long, default_value = "consensus")]
    split: String,
    /// A rule to switch off, by its name in the code, or `all` for one after the other.
    #[arg(long)]
    without: Option<String>,
    /// Run only one seed and print what happened.
    #[arg(long)]
    trace: Option<u64>,
}

fn main() {
    let arguments = Arguments::parse();
    let rules: Vec<Option<Rule>> = match arguments.without.as_deref() {
        None => vec![None],
        Some("all") => Rule::ALL.into_iter().map(Some).collect(),
        Some(name) => {
            let rule = Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == name);
            let Some(rule) = rule else {
                eprintln!("no rule is called `{name}`; there are {:?}", Rule::ALL);
                std::process::exit(2);
            };
            vec![Some(rule)]
        }
    };
    let mut failed = false;
    for rule in rules {
        failed |= run(&arguments, rule) > 0 && rule.is_none();
    }
    std::process::exit(i32::from(failed));
}

fn run(arguments: &Arguments, broken: Option<Rule>) -> u64 {
    let split = match arguments.split.as_str() {
        "keep-majority" => SplitPolicy::KeepMajority,
        "keep-oldest" => SplitPolicy::KeepOldest,
        _ => SplitPolicy::Consensus,
    };
    let scenario = |seed: u64| {
        if arguments.aimed {
            return Scenario { broken, split, ..Scenario::aimed(seed) };
        }
        let hosts = arguments.nodes.unwrap_or_else(|| 3 + Rng::new(seed).index(8));
        Scenario { broken, split, ..Scenario::adversarial(seed, hosts) }
    };
    if let Some(seed) = arguments.trace {
        let outcome = World::run(scenario(seed), true);
        outcome.script.iter().for_each(|line| println!("{line}"));
        return u64::from(outcome.violation.is_some());
    }
    let (mut violations, mut healed, mut events) = (0, Vec::new(), 0);
    for seed in arguments.from..arguments.from + arguments.seeds {
        let outcome = World::run(scenario(seed), false);
        events += outcome.events;
        match outcome.violation {
            Some(violation) => {
                violations += 1;
                if violations <= 5 {
                    println!("seed {seed}: {}", violation.0);
                }
            }
            None => healed.extend(outcome.healed_after),
        }
    }
    healed.sort_unstable();
    let at = |share: usize| {
        healed.get(healed.len() * share / 100).or(healed.last()).map_or(0, |ns| ns / 1_000_000)
    };
    println!(
        "without {broken:?}: {} runs, {violations} violations, {events} events; one view after healing: median {} ms, 99 % {} ms, most {} ms",
        arguments.seeds,
        at(50),
        at(99),
        at(100)
    );
    violations
}
