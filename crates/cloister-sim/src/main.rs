//! Runs many seeds and prints a summary, or one and prints what happened.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use cloister_proto::SplitPolicy;
use cloister_proto::rule::Rule;
use cloister_sim::{Amnesia, Scenario, World};
use cloister_testkit::random::Rng;

/// Clusters of real cores in one thread, under faults; the laws are checked after every event.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds and prints how many broke a law, and how long healing took.
    Simulate {
        /// How many seeds to run.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[command(flatten)]
        kind: RunArgs,
    },
    /// Runs one seed and prints what happened.
    Trace {
        /// Which one.
        seed: u64,
        #[command(flatten)]
        kind: RunArgs,
    },
}

/// What kind of runs.
#[derive(Args)]
struct RunArgs {
    /// How many nodes; 3 to 10, by the seed, if left out.
    #[arg(long)]
    nodes: Option<usize>,
    /// Runs for the split policy `majority`: any number of nodes, any gate, scaling, restarts where the cluster is reachable.
    #[arg(long)]
    majority: bool,
    /// With `--majority`: processes also start and restart behind a cut.
    #[arg(long)]
    amnesia: bool,
    /// With `--majority`: processes restart behind a cut if they were members of a view; others start where nothing is cut.
    #[arg(long, conflicts_with = "amnesia")]
    restarts: bool,
    /// With `--majority`: each process keeps what it remembers over a restart.
    #[arg(long)]
    state_file: bool,
    /// Aim one fault at one rule in each run, instead of many random faults.
    #[arg(long)]
    aimed: bool,
    /// One course of the split policy `majority`, at moments that vary with the seed: `gone`, `handed-over`,
    /// `unheard-commit` or `scaled-down`.
    #[arg(long, conflicts_with_all = ["majority", "aimed"], value_parser = course)]
    course: Option<fn(u64) -> Scenario>,
    /// Start in 2028 with wall clocks that are up to two years from the truth.
    #[arg(long, conflicts_with = "aimed")]
    clocks_apart: bool,
    /// Which part goes on when the network splits.
    #[arg(long, default_value = "consensus", value_parser = policy)]
    split: SplitPolicy,
    /// A rule to switch off, by its name in the code, or `all` for one after the other.
    #[arg(long, value_parser = rules)]
    without: Option<Rules>,
}

/// The rules that are switched off, one after the other.
#[derive(Clone)]
struct Rules(Vec<Rule>);

fn policy(name: &str) -> Result<SplitPolicy, String> {
    let all = [SplitPolicy::Majority, SplitPolicy::Consensus, SplitPolicy::KeepOldest];
    let names = all.map(SplitPolicy::as_str).join(", ");
    all.into_iter().find(|policy| policy.as_str() == name).ok_or_else(|| format!("there are {names}"))
}

fn course(name: &str) -> Result<fn(u64) -> Scenario, String> {
    match name {
        "gone" => Ok(Scenario::gone),
        "handed-over" => Ok(Scenario::handed_over),
        "unheard-commit" => Ok(Scenario::unheard_commit),
        "scaled-down" => Ok(Scenario::scaled_down),
        _ => Err("there are gone, handed-over, unheard-commit, scaled-down".to_owned()),
    }
}

fn rules(name: &str) -> Result<Rules, String> {
    if name == "all" {
        return Ok(Rules(Rule::ALL.to_vec()));
    }
    let rule = Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == name);
    rule.map(|rule| Rules(vec![rule])).ok_or_else(|| format!("there are {:?}", Rule::ALL))
}

impl RunArgs {
    /// The rules to switch off in turn; `None` for none.
    fn disabled_rules(&self) -> Vec<Option<Rule>> {
        match &self.without {
            None => vec![None],
            Some(Rules(rules)) => rules.iter().copied().map(Some).collect(),
        }
    }

    fn scenario(&self, seed: u64, disabled_rule: Option<Rule>) -> Scenario {
        if let Some(course) = self.course {
            return Scenario { disabled_rule, state_files: self.state_file, ..course(seed) };
        }
        if self.majority {
            let amnesia = match (self.amnesia, self.restarts) {
                (true, _) => Amnesia::Anywhere,
                (_, true) => Amnesia::Restarts,
                _ => Amnesia::Never,
            };
            let state_files = self.state_file;
            let scenario = match self.aimed {
                true => Scenario::aimed_at_majority(seed, amnesia),
                false => Scenario::majority(seed, amnesia),
            };
            return Scenario { disabled_rule, state_files, ..scenario };
        }
        let split = self.split;
        if self.aimed {
            return Scenario { disabled_rule, split, ..Scenario::aimed(seed) };
        }
        let hosts = self.nodes.unwrap_or_else(|| 3 + Rng::new(seed).index(8));
        if self.clocks_apart {
            return Scenario { disabled_rule, split, ..Scenario::clocks_apart(seed, hosts) };
        }
        Scenario { disabled_rule, split, ..Scenario::adversarial(seed, hosts) }
    }
}

/// Fails if a law was broken though every rule held.
fn main() -> ExitCode {
    let mut failed = false;
    match CommandLine::parse().command {
        Command::Simulate { seeds, from, kind } => {
            for disabled_rule in kind.disabled_rules() {
                failed |= simulate(&kind, disabled_rule, from, seeds) > 0 && disabled_rule.is_none();
            }
        }
        Command::Trace { seed, kind } => {
            for disabled_rule in kind.disabled_rules() {
                let outcome = World::run(kind.scenario(seed, disabled_rule), true);
                outcome.script.iter().for_each(|line| println!("{line}"));
                failed |= outcome.violation.is_some() && disabled_rule.is_none();
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the seeds, and prints how many broke a law.
fn simulate(kind: &RunArgs, disabled_rule: Option<Rule>, from: u64, seeds: u64) -> u64 {
    let began = Instant::now();
    let (mut violations, mut apart, mut healed, mut events) = (0, 0, Vec::new(), 0);
    for seed in from..from + seeds {
        let outcome = World::run(kind.scenario(seed, disabled_rule), false);
        events += outcome.events;
        match outcome.violation {
            Some(violation) => {
                violations += 1;
                apart += u64::from(outcome.two_roots);
                // Five of each kind.
                let (of_kind, kind) = match outcome.two_roots {
                    true => (apart, "clusters that began apart"),
                    false => (violations - apart, "one cluster"),
                };
                if of_kind <= 5 {
                    println!("seed {seed}: {kind}: {}", violation.0);
                }
            }
            None => healed.extend(outcome.healed_after),
        }
    }
    healed.sort_unstable();
    let at = |share: usize| {
        healed.get(healed.len() * share / 100).or(healed.last()).map_or(0, |ns| ns / 1_000_000)
    };
    if let Some(rule) = disabled_rule {
        print!("without {rule:?}: ");
    }
    println!(
        "{seeds} runs, {violations} violations ({apart} by clusters that began apart), {events} events, {:.1} s; \
         one view after healing: median {} ms, 99 % {} ms, most {} ms",
        began.elapsed().as_secs_f64(),
        at(50),
        at(99),
        at(100)
    );
    violations
}
