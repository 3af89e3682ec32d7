//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::sabotage::Sabotage;
use crate::schedule::Faults;

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
    /// Judge a table with so many copies of each entry, at most one for each node, instead of a register.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9))]
    pub(crate) copies: Option<u8>,
    /// Let more nodes of a table fail at a time than it has further copies. Without it, that happens only with `--sabotage loss`.
    #[arg(long, requires = "copies")]
    pub(crate) losses: bool,
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
    /// What cannot be meant, beside what the parser finds.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.copies.is_some_and(|copies| copies > self.nodes) {
            return Some(format!("--copies: {} nodes cannot have more than {0} copies", self.nodes));
        }
        let rule = self.sabotage?;
        match self.copies {
            None if !rule.is_of_register() => Some(format!("--sabotage {}: needs --copies", rule.name())),
            Some(_) if rule.rule_of_table().is_none() => {
                Some(format!("--sabotage {}: a table has no such rule", rule.name()))
            }
            _ => None,
        }
    }

    /// Which faults may come together.
    pub(crate) fn faults(&self) -> Faults {
        match self.copies {
            None => Faults::OfRegister,
            Some(copies) if self.losses || self.sabotage == Some(Sabotage::Loss) => {
                Faults::Losing { copies: copies.into(), alone: !self.losses }
            }
            Some(_) if self.sabotage == Some(Sabotage::Fence) => Faults::Joining,
            Some(copies) => Faults::Spaced { absent: usize::from(copies) - 1 },
        }
    }

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
        let run = Arguments::try_parse_from(words).map(|arguments| arguments.run);
        let run = run.map_err(|error| error.to_string())?;
        run.fault().map_or(Ok(run), Err)
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
            ("copies", Sabotage::Copies),
            ("loss", Sabotage::Loss),
        ] {
            let of_table = if sabotage.is_of_register() { "" } else { "--copies 2" };
            assert_eq!(parse(&format!("{of_table} --sabotage {name}")).unwrap().sabotage, Some(sabotage));
            assert_eq!(sabotage.name(), name);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_bound() {
        for (words, says) in [
            ("--seconds 5", "20..=3600"),
            ("--nodes 2", "3..=9"),
            ("--nodes 10", "3..=9"),
            ("--sabotage epoch", "possible values: lease, fence, handover, ready, copies, loss"),
            ("--sabotage loss", "needs --copies"),
            ("--copies 2 --sabotage ready", "a table has no such rule"),
            ("--copies 4 --nodes 3", "more than 3 copies"),
            ("--losses", "--copies"),
            ("--seed x", "invalid digit"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.contains(says), "{words}: {error}");
        }
    }
}
