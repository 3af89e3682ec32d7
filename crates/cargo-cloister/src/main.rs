//! `cargo cloister`: runs, tests and inspects a cluster of Cloister nodes on one machine.
//!
//! # Layout
//!
//! The commands, one file each:
//! - `run`: builds a program once and starts it N times, each process a node of one cluster;
//! - `test`: the same, then checks that the cluster comes up, agrees and stops well;
//! - `status`: shows the cluster from the point of view of one node;
//! - `doctor`: checks what a node that starts here would meet;
//! - `init`: writes a commented `cloister.toml`, a `compose.yaml` and a `Dockerfile`.
//!
//! Shared by the commands:
//! - `launch` (the options that `run` and `test` share), `env` (variables with the number of the node);
//! - `executable` (asks cargo for the program), `plan` (addresses and environment of each node);
//! - `commands` (what is typed to a running cluster), `fleet` (the running processes), `exit` (how a process ended);
//! - `reaper` (stops them when this tool is killed), `signals` (requests to stop);
//! - `colour`, `console` (one line at a time, with a coloured prefix), `lines` (bounded lines out of a pipe);
//! - `http` (a small client), `members` (what `/members` answers), `table`.

#[cfg(not(unix))]
compile_error!(
    "cargo-cloister ends nodes by Unix signals and process groups: use it on Linux, macOS or in WSL"
);

mod colour;
mod commands;
mod console;
mod doctor;
mod env;
mod executable;
mod exit;
mod fleet;
mod http;
mod init;
mod launch;
mod lines;
mod members;
mod plan;
mod reaper;
mod run;
mod signals;
mod status;
mod table;
mod test;

use std::error::Error;
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Runs, tests and inspects a cluster of Cloister nodes on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo-cloister", bin_name = "cargo cloister", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Options),
    Test(test::Options),
    Status(status::Options),
    Doctor(doctor::Options),
    Init(init::Options),
    /// Stop the processes named on stdin when stdin closes.
    #[command(hide = true, name = reaper::COMMAND)]
    Reaper {
        millis: u64,
    },
}

fn main() -> ExitCode {
    match Cli::parse_from(without_cargos_word(std::env::args_os())).command {
        Command::Run(options) => ended(on_runtime(run::run(options))),
        Command::Test(options) => ended(on_runtime(test::test(options))),
        Command::Status(options) => ended(on_runtime(status::status(options))),
        Command::Doctor(options) => ended(on_runtime(doctor::doctor(options))),
        Command::Init(options) => ended(init::init(options)),
        Command::Reaper { millis } => {
            let reaped = reaper::reap(io::stdin().lock(), Duration::from_millis(millis));
            ended(reaped.map(|()| ExitCode::SUCCESS))
        }
    }
}

/// The arguments as typed: cargo calls `cargo cloister run` as `cargo-cloister cloister run`.
fn without_cargos_word(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "cloister") {
        args.remove(1);
    }
    args
}

/// One thread is plenty: the nodes are processes of their own.
fn on_runtime<T>(command: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: this process may open a handful of descriptors");
    runtime.block_on(command)
}

/// Prints an error with all its causes, and returns exit code 1.
fn ended<E: Error>(result: Result<ExitCode, E>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let mut text = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        // Stderr may have no reader any more; the exit code reports the error as well.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::FAILURE
    })
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
    fn cargo_and_the_shell_may_both_start_it() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let typed = words("cargo-cloister run -n 2");
        assert_eq!(without_cargos_word(words("cargo-cloister cloister run -n 2")), typed);
        assert_eq!(without_cargos_word(typed.clone()), typed);
    }

    #[test]
    fn features_may_be_given_several_times_as_to_cargo() {
        let parsed = Cli::try_parse_from(["cargo-cloister", "run", "-F", "a,b", "-F", "c"]);
        assert!(parsed.is_ok(), "{:?}", parsed.err());
    }

    #[test]
    fn a_cluster_has_between_one_and_two_hundred_nodes() {
        for (count, fits) in [("0", false), ("1", true), ("200", true), ("201", false), ("-3", false)] {
            let parsed = Cli::try_parse_from(["cargo-cloister", "run", &format!("-n={count}")]);
            assert_eq!(parsed.is_ok(), fits, "-n {count}");
        }
    }
}
