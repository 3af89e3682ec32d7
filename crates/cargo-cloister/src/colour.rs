//! Whether to colour, and the colours of what is well and what is not.

use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};

/// The option `--color`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Colour {
    /// Colour the output; `auto` asks whether stdout is a terminal and NO_COLOR is not set.
    #[arg(long = "color", value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    when: When,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Whether to colour stdout (<https://no-color.org>).
    pub(crate) fn is_wanted(self) -> bool {
        match self.when {
            When::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            When::Always => true,
            When::Never => false,
        }
    }
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Mood {
    /// The text in its colour, if there is to be one.
    pub(crate) fn paint(self, text: &str, coloured: bool) -> String {
        let style = match self {
            Mood::Plain => Style::new(),
            Mood::Good => AnsiColor::Green.on_default(),
            Mood::Doubtful => AnsiColor::Yellow.on_default(),
            Mood::Bad => AnsiColor::Red.on_default().bold(),
        };
        if coloured && self != Mood::Plain { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
