//! Runs many seeds and prints a summary, or one and prints what happened.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cloister_table_proto::rule::Rule;
use cloister_table_sim::{Family, run};

/// Tables on simulated clusters, under faults; the laws are checked at every answer.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds and prints how many broke a law.
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
    /// Which faults happen.
    #[arg(long, value_enum, default_value_t = FamilyName::Adversarial)]
    family: FamilyName,
    /// A rule to switch off, by its name in the code, or `all` for one after the other, each until a law is broken.
    #[arg(long)]
    without: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FamilyName {
    Adversarial,
    Aimed,
    Storm,
    OneByOne,
}

impl From<FamilyName> for Family {
    fn from(name: FamilyName) -> Self {
        match name {
            FamilyName::Adversarial => Family::Adversarial,
            FamilyName::Aimed => Family::Aimed,
            FamilyName::Storm => Family::Storm,
            FamilyName::OneByOne => Family::OneByOne,
        }
    }
}

/// Fails if a law was broken though every rule held.
fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Simulate { seeds, from, kind } => {
            let rules = match &kind.without {
                None => vec![None],
                Some(name) => {
                    let meant = |rule: &Rule| name == "all" || format!("{rule:?}") == *name;
                    Rule::ALL.into_iter().filter(meant).map(Some).collect()
                }
            };
            let mut failed = false;
            for rule in rules {
                failed |= simulate(kind.family.into(), from, seeds, rule) && rule.is_none();
            }
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Command::Trace { seed, kind } => {
            let rule = Rule::ALL.into_iter().find(|rule| Some(format!("{rule:?}")) == kind.without);
            let (outcome, _) = run(kind.family.into(), seed, rule, true);
            outcome.script.iter().for_each(|line| println!("{line}"));
            if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Runs the seeds; with a rule switched off up to the first that breaks a law. Returns whether one did.
fn simulate(family: Family, from: u64, seeds: u64, rule: Option<Rule>) -> bool {
    let began = Instant::now();
    let (mut broken, mut done, mut losses, mut unknown, mut uncertain) = (0, 0, 0, 0, 0);
    let mut longest = (0, from);
    for seed in from..from + seeds {
        let (outcome, oracle) = run(family, seed, rule, false);
        (done, losses, uncertain) =
            (done + oracle.done, losses + oracle.losses, uncertain + oracle.uncertain);
        unknown += oracle.unknown;
        longest = longest.max((oracle.longest_wait, seed));
        if let Some(violation) = outcome.violation {
            broken += 1;
            let what: String = violation.0.chars().take(300).collect();
            match rule {
                Some(rule) => {
                    println!("without {rule:?}: seed {seed}: {what}");
                    return true;
                }
                None if broken <= 10 => println!("seed {seed}: {what}"),
                None => {}
            }
        }
    }
    if let Some(rule) = rule {
        print!("without {rule:?}: ");
    }
    println!(
        "{seeds} runs, {broken} broke a law; {done} operations, {uncertain} uncertain, {losses} losses told, {unknown} of them not certain; a view waited {:.1} s for a table at most (seed {}); {:.1} s",
        longest.0 as f64 / 1e9,
        longest.1,
        began.elapsed().as_secs_f64()
    );
    broken > 0
}
