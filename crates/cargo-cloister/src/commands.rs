//! Commands to a running cluster, one a line: from a terminal, or with `--commands` from a pipe.

use std::io::{self, BufRead, IsTerminal, Read};
use std::str::FromStr;

use thiserror::Error;
use tokio::sync::mpsc;

use crate::console::NodeNumber;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 256;

/// What to type.
pub(crate) const HELP: &str = "\
k3 kills node 3, p3 pauses it or lets it go on, s3 stops it, r3 restarts it; + and - scale; l lists, q quits";

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// SIGKILL.
    Kill(NodeNumber),
    /// SIGSTOP, or SIGCONT if it is paused.
    Pause(NodeNumber),
    /// SIGTERM.
    Stop(NodeNumber),
    /// SIGTERM, and a new process at the same address; only the latter if it does not run.
    Restart(NodeNumber),
    /// One node more.
    Add,
    /// The last node stops.
    Remove,
    /// The table of nodes.
    List,
    Help,
    /// Stop all nodes.
    Quit,
}

/// A line that is no command.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("`{}` is no command: {HELP}", .0.escape_debug())]
pub(crate) struct CommandError(String);

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let line = line.trim();
        let unknown = || CommandError(line.to_owned());
        let (word, number) = line.split_at(line.find(|c: char| c.is_ascii_digit()).unwrap_or(line.len()));
        let node = || match number.parse() {
            Ok(number @ 1..) => Ok(NodeNumber(number)),
            _ => Err(unknown()),
        };
        let alone = |command| if number.is_empty() { Ok(command) } else { Err(unknown()) };
        match word.trim_end() {
            "k" | "kill" => node().map(Command::Kill),
            "p" | "pause" => node().map(Command::Pause),
            "s" | "stop" => node().map(Command::Stop),
            "r" | "restart" => node().map(Command::Restart),
            "+" => alone(Command::Add),
            "-" => alone(Command::Remove),
            "l" | "list" => alone(Command::List),
            "h" | "help" | "?" => alone(Command::Help),
            "q" | "quit" => alone(Command::Quit),
            _ => Err(unknown()),
        }
    }
}

/// The commands that come in.
pub(crate) struct Commands(Option<mpsc::Receiver<Result<Command, CommandError>>>);

impl Commands {
    /// Reads stdin if `asked` to, or if it is the terminal that this process is in the foreground of.
    pub(crate) fn start(asked: bool) -> Self {
        Self((asked || is_in_foreground()).then(|| {
            let (sender, receiver) = mpsc::channel(16);
            // A thread that nothing waits for: a read from a terminal cannot be given up.
            std::thread::spawn(move || read(io::stdin().lock(), &sender));
            receiver
        }))
    }

    /// Whether more may come.
    pub(crate) fn are_open(&self) -> bool {
        self.0.is_some()
    }

    /// The next one; `None` at the end of the input. It waits for ever if none is read.
    pub(crate) async fn next(&mut self) -> Option<Result<Command, CommandError>> {
        match &mut self.0 {
            Some(receiver) => receiver.recv().await,
            None => std::future::pending().await,
        }
    }
}

/// A process in the background is stopped by the system when it reads from its terminal.
fn is_in_foreground() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal()
        && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn read(mut input: impl BufRead, sender: &mpsc::Sender<Result<Command, CommandError>>) {
    loop {
        let mut line = Vec::new();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() && sender.blocking_send(line.parse()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_letter_or_a_word_and_the_number_of_a_node() {
        let node = NodeNumber(3);
        for (line, command) in [
            ("k3", Command::Kill(node)),
            ("kill 3", Command::Kill(node)),
            ("p3", Command::Pause(node)),
            (" s 3\r", Command::Stop(node)),
            ("restart 3", Command::Restart(node)),
            ("+", Command::Add),
            ("-", Command::Remove),
            ("?", Command::Help),
            ("q", Command::Quit),
        ] {
            assert_eq!(line.parse(), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_answered_with_those_that_are() {
        for line in ["k", "k0", "k-1", "+3", "kk3", "k3x", "3", "\x1b[A", "k99999999999999999999999"] {
            let error = line.parse::<Command>().unwrap_err().to_string();
            assert!(error.contains("k3 kills node 3") && !error.contains('\x1b'), "{error}");
        }
    }
}
