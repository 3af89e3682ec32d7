//! `cloister-bench`: one command that measures Cloister against its baseline and its bars.
//!
//! # Layout
//!
//! - `benchmarks`: what can be measured, and what it should come to;
//! - `measure`: how, one file for each family; `baseline`: nodes without Cloister, as processes of this same program;
//! - `record`: what was measured; `table`, `plot`, `page`: how it is shown; `progress`: what is being done;
//! - `rolling`: calls through restarts of all nodes, which is a test with a picture more than a measurement;
//! - `nodes`: builds the program that is measured.

mod baseline;
mod benchmarks;
mod measure;
mod nodes;
mod page;
mod plot;
mod progress;
mod record;
mod rolling;
mod table;

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use benchmarks::{ALL, Benchmark};
use measure::Measuring;
use page::Machine;
use progress::Progress;
use record::Results;

/// Measures Cloister on this machine, beside its baseline, and says whether it keeps to its bars.
#[derive(Debug, Parser)]
#[command(name = "cloister-bench", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what can be measured.
    List,
    /// Call by key at a steady rate while all nodes restart, one after the other, and the cluster is scaled.
    Rolling(rolling::Options),
    #[command(hide = true)]
    Baseline(baseline::Options),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// What to measure: names as `list` prints them, or `all`.
    #[arg(required = true, value_parser = known)]
    names: Vec<String>,
    /// How often each is repeated.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Only these sizes, of those that a measurement has.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// How many seconds nothing may happen in `calm`.
    #[arg(long, default_value_t = 300)]
    calm: u64,
    /// Writes one JSON object a line into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes `measurements.md` and its pictures into this directory.
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
}

/// Everything.
const EVERYTHING: &str = "all";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::List) => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Rolling(options)) => rolling::run(&options),
        Some(Command::Baseline(options)) => baseline::run(options).map(|()| ExitCode::SUCCESS),
        None => run(&cli.options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn known(name: &str) -> Result<String, String> {
    if name == EVERYTHING || benchmarks::find(name).is_some() {
        return Ok(name.to_owned());
    }
    Err("there is no such benchmark; `list` prints those there are".to_owned())
}

fn list() {
    for Benchmark { name, what, sizes, .. } in ALL {
        println!("{name:14}{what}; N = {sizes:?}");
    }
}

/// Measures what was asked for; fails if something could not be measured. A missed bar is a result and no failure.
fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: its figures say nothing. Use `cargo run --release`.");
    }
    nodes::build()?;
    let machine = Machine::here();
    let asked = |benchmark: &&Benchmark| {
        options.names.iter().any(|name| name == EVERYTHING || name == benchmark.name)
    };
    let sizes = |benchmark: &'static Benchmark| {
        let wanted = |n: &&usize| options.sizes.is_empty() || options.sizes.contains(n);
        benchmark.sizes.iter().filter(wanted).map(move |n| (benchmark, *n)).collect::<Vec<_>>()
    };
    let steps: Vec<_> = ALL.iter().filter(asked).flat_map(sizes).collect();
    let (mut results, progress) = (Results::default(), Progress::over(steps.len()));
    let mut failed = Vec::new();
    for (benchmark, n) in steps {
        let step = format!("{}, N = {n}", benchmark.name);
        progress.begin(&step);
        let mut measuring = Measuring {
            runs: options.runs.into(),
            calm: Duration::from_secs(options.calm),
            results: &mut results,
            progress: &progress,
            step: step.clone(),
        };
        // The harness of the tests panics when something goes wrong. The results keep what was measured before.
        if catch_unwind(AssertUnwindSafe(|| (benchmark.measure)(&mut measuring, n))).is_err() {
            progress.say(&format!("{step} went wrong"));
            failed.push(step);
        }
        progress.done();
    }
    progress.end();
    summarize(options, &machine, &results, &failed)?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summarize(
    options: &Options,
    machine: &Machine,
    results: &Results,
    failed: &[String],
) -> Result<(), Box<dyn Error>> {
    let mut lines = String::new();
    for benchmark in ALL {
        let records = table::records(benchmark, results);
        if !records.is_empty() {
            println!("{}", table::plain(benchmark, results));
        }
        for (_, record) in records {
            lines += &serde_json::to_string(&record)?;
            lines.push('\n');
        }
    }
    if let Some(file) = &options.json {
        fs::write(file, lines).map_err(|cause| format!("cannot write {}: {cause}", file.display()))?;
    }
    if let Some(directory) = &options.page {
        let failed: Vec<&str> = failed.iter().map(String::as_str).collect();
        for file in page::write(directory, machine, results, &failed)? {
            println!("wrote {}", file.display());
        }
    }
    for step in failed {
        println!("NOT MEASURED: {step}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_what_can_be_measured_can_be_asked_for() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("cloister-bench all"));
        assert!(parses("cloister-bench kill join --runs 9 --sizes 3,5"));
        assert!(parses("cloister-bench list"));
        assert!(!parses("cloister-bench everything"));
        assert!(!parses("cloister-bench"));
        assert!(!parses("cloister-bench kill --runs 0"));
    }

    #[test]
    fn what_needs_no_process_is_measured_in_its_smallest_form() {
        let (mut results, progress) = (Results::default(), Progress::over(1));
        for name in ["look-up", "ring", "round"] {
            let benchmark = benchmarks::find(name).unwrap();
            let n = benchmark.sizes[0];
            let mut measuring = Measuring {
                runs: 1,
                calm: Duration::ZERO,
                results: &mut results,
                progress: &progress,
                step: name.to_owned(),
            };
            (benchmark.measure)(&mut measuring, n);
            let records = table::records(benchmark, &results);
            let named: Vec<_> = records.iter().map(|(figure, _)| figure.name).collect();
            let all: Vec<_> = benchmark.figures.iter().map(|figure| figure.name).collect();
            assert_eq!(named, all, "every figure of {name}");
        }
        let figure = |name| results.record(name, 3, "").unwrap().median;
        assert_eq!(figure("whois-allocations"), 0.0);
        assert!((1.0..=1.06).contains(&figure("ring-balance")));
        let round = results.record("round", 5, "").unwrap();
        assert!((1.0..=26.0).contains(&round.median), "{round:?}");
    }
}
