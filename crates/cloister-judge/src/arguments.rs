//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::sabotage::Sabotage;

/// Lets clients write to real nodes under faults, and has checkers judge what was answered.
///
/// Exit status: 0 if the history is legal, 1 if it is not, 2 if the run could not be judged.
#[derive(Debug, Parser)]
#[command(name = "cloister-judge", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node. The judge starts these, and configures them by their environment.
    #[command(hide = true)]
    Node,
}

/// One run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// For how many seconds clients write.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=3600))]
    pub(crate) seconds: u64,
    /// What decides which faults come when, and what clients ask.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many nodes there are.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=9))]
    pub(crate) nodes: u8,
    /// The rule to leave out. A judge that accepts such a run is worth nothing.
    #[arg(long, value_name = "RULE")]
    pub(crate) sabotage: Option<Sabotage>,
    /// Run the nodes as plain processes on addresses of the loopback device, without cuts of the network. Without root it is so anyway.
    #[arg(long)]
    pub(crate) plain: bool,
    /// For how many seconds each checker may think about one key.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) limit: u64,
    /// Where the history, the logs of the nodes and the picture of an illegal key are written. Default: a directory of the seed in
    /// `target/judge`, written only if the run is not legal.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
}

impl Run {
    /// For how long clients write.
    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// For how long each checker may think about one key.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Run, String> {
        let words = ["cloister-judge"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.run).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_it_is_a_minute_of_five_nodes() {
        let run = parse("").unwrap();
        assert_eq!((run.seconds, run.seed, run.nodes, run.sabotage, run.plain), (60, 1, 5, None, false));
    }

    #[test]
    fn every_rule_can_be_left_out_by_its_name() {
        for (name, sabotage) in [
            ("lease", Sabotage::Lease),
            ("fence", Sabotage::Fence),
            ("handover", Sabotage::Handover),
            ("ready", Sabotage::Ready),
        ] {
            assert_eq!(parse(&format!("--sabotage {name}")).unwrap().sabotage, Some(sabotage));
            assert_eq!(sabotage.name(), name);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_bound() {
        for (words, says) in [
            ("--seconds 5", "20..=3600"),
            ("--nodes 2", "3..=9"),
            ("--nodes 10", "3..=9"),
            ("--sabotage epoch", "possible values: lease, fence, handover, ready"),
            ("--seed x", "invalid digit"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.contains(says), "{words}: {error}");
        }
    }
}
