//! The options that `run` and `test` share: what to start, how often, and where.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloister_config::Config;

use crate::colour::Colour;
use crate::console::{Console, Printer, Style};
use crate::env::Variable;
use crate::executable::{self, BuildError, Target};
use crate::fleet::{Fleet, Program};
use crate::plan::{Plan, PlanError};
use crate::reaper::{Reaper, ReaperError};
use crate::signals::{Signals, SignalsError};

use thiserror::Error;

/// What to start, how often, and where.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// How many nodes to start, 1 to 200.
    #[arg(short = 'n', long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
    nodes: u8,

    #[command(flatten)]
    target: Target,

    /// Start this executable instead of building one; useful in CI.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["example", "bin", "package", "release", "features"])]
    exe: Option<PathBuf>,

    /// The cluster port of the nodes; 4370, or the next free one, if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// The port of the nodes' admin HTTP; 8400, or the next free one, if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: Option<u16>,

    /// Set a variable in the environment of every node; may be repeated, and wins over what is set here. Braces hold a sum or
    /// product of the number n of the node, as in PORT={3000+n}.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    env: Vec<Variable>,

    /// How long a node may take to stop after SIGTERM before it is killed. It should be more than the node may drain (10 s by
    /// default), leave (15 s) and end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    stop_timeout: Duration,

    #[command(flatten)]
    colour: Colour,

    /// Arguments for the program, after `--`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Why no node was started.
#[derive(Debug, Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Signals(#[from] SignalsError),
    #[error(transparent)]
    Reaper(#[from] ReaperError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A cluster that was just started, and what it takes to watch and to stop it.
pub(crate) struct Launched {
    pub(crate) fleet: Fleet,
    pub(crate) plan: Plan,
    pub(crate) signals: Signals,
    pub(crate) console: Console,
    pub(crate) printer: Printer,
}

impl Launch {
    /// Builds the program, chooses the addresses, prints the table of nodes and starts them.
    pub(crate) async fn launch(self) -> Result<Launched, LaunchError> {
        // First of all, because cargo may be about to replace our own executable.
        let reaper = Reaper::start(self.stop_timeout)?;
        let mut signals = Signals::new()?;
        let path = match self.exe {
            Some(path) => executable::prebuilt(&path)?,
            None => executable::build(&self.target, &mut signals).await?,
        };
        // What is wrong with the configuration is reported by the nodes.
        let state_file = Config::load().ok().and_then(|config| config.state_file);
        let plan =
            Plan::new(usize::from(self.nodes), self.port, self.admin_port)?.with_state_file(state_file);
        let coloured = self.colour.is_wanted();
        let (console, printer) = Console::start(Style::new(coloured, plan.nodes.len()));
        let program = Program { path, args: self.args, env: self.env, stop_timeout: self.stop_timeout };
        let fleet = Fleet::start(program, plan.clone(), &console, &reaper);
        // Nothing of the nodes is printed before: their output is read by tasks, which have not begun.
        console.raw(fleet.table());
        for note in &plan.notes {
            console.say(note);
        }
        Ok(Launched { fleet, plan, signals, console, printer })
    }
}

/// A length of time on the command line, such as `10s`, `500ms` or `1m30s`; more than nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than nothing: write 10s, 500ms or 1m30s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_and_is_positive() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "-1s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
