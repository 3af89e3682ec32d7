//! How the process of a node ended.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::console::NodeNumber;

/// How the process of a node ended, in words for an operator.
#[derive(Debug)]
pub(crate) enum Exit {
    /// It never ran.
    NotStarted(io::Error),
    /// It ran, and has an exit status.
    Exited(ExitStatus),
    /// It ran, and its exit status could not be read.
    Unknown(io::Error),
}

impl Exit {
    /// Whether it ended with exit status 0.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Exit::Exited(status) if status.success())
    }

    /// Whether a signal ended it that a program does not send to itself when it fails.
    pub(crate) fn is_killed(&self) -> bool {
        let by_others = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
        let signal =
            |status: &ExitStatus| by_others.iter().any(|signal| status.signal() == Some(signal.as_raw()));
        matches!(self, Exit::Exited(status) if signal(status))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::NotStarted(error) => write!(f, "could not be started: {error}"),
            Exit::Unknown(error) => write!(f, "exit status unknown: {error}"),
            Exit::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit status {code}"),
                (None, Some(number)) => match signal_name(number) {
                    Some(name) => write!(f, "signal {number} ({name})"),
                    None => write!(f, "signal {number}"),
                },
                (None, None) => write!(f, "{status}"),
            },
        }
    }
}

/// Why a process was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitRequest {
    Stop,
    Kill,
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct NodeExit {
    pub(crate) number: NodeNumber,
    pub(crate) exit: Exit,
    /// What the tool had asked of it.
    pub(crate) asked: Option<ExitRequest>,
}

impl NodeExit {
    /// Whether the tool had asked for its end.
    pub(crate) fn is_on_request(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it stopped on request, with exit status 0.
    pub(crate) fn is_well(&self) -> bool {
        self.asked == Some(ExitRequest::Stop) && self.exit.is_success()
    }

    /// Whether it stopped well, left in order, or was killed by a command.
    pub(crate) fn is_in_order(&self) -> bool {
        self.exit.is_success() || self.asked == Some(ExitRequest::Kill)
    }
}

impl fmt::Display for NodeExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, exit, asked } = self;
        match (exit, asked) {
            (Exit::NotStarted(_), _) => write!(f, "{number} {exit}"),
            (_, Some(ExitRequest::Stop)) => write!(f, "{number} ended: {exit}"),
            (_, Some(ExitRequest::Kill)) => write!(f, "{number} was killed by command: {exit}"),
            (_, None) if exit.is_success() => write!(f, "{number} left: {exit}"),
            (_, None) if exit.is_killed() => write!(f, "{number} was killed from outside: {exit}"),
            (_, None) => write!(f, "{number} ended by itself: {exit}"),
        }
    }
}

/// How these nodes ended, each judged by its last process, and how many processes before that did not end in order.
pub(crate) fn summary<'a>(
    nodes: impl ExactSizeIterator<Item = &'a NodeNumber>,
    ended: &[NodeExit],
) -> String {
    let count = nodes.len();
    let last: Vec<_> =
        nodes.filter_map(|number| ended.iter().rposition(|ended| ended.number == *number)).collect();
    let (mut well, mut killed, mut before) = (0, 0, 0);
    for (at, exit) in ended.iter().enumerate() {
        match (last.contains(&at), exit.exit.is_success()) {
            (true, true) => well += 1,
            (true, false) => killed += usize::from(exit.is_in_order()),
            (false, _) => before += usize::from(!exit.is_in_order()),
        }
    }
    let killed = if killed == 0 { String::new() } else { format!(", {killed} killed by command") };
    let before = match before {
        0 => String::new(),
        1 => "; 1 process ended otherwise before".to_owned(),
        before => format!("; {before} processes ended otherwise before"),
    };
    format!("{well} of {count} nodes stopped well{killed}{before}")
}

/// The names of the signals that end programs.
fn signal_name(number: i32) -> Option<&'static str> {
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
    ];
    names.into_iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_names_its_status_or_its_signal() {
        let text = |wait_status| Exit::Exited(ExitStatus::from_raw(wait_status)).to_string();
        assert_eq!(text(0), "exit status 0");
        assert_eq!(text(3 << 8), "exit status 3");
        assert_eq!(text(9), "signal 9 (SIGKILL)");
        assert_eq!(text(15), "signal 15 (SIGTERM)");
        assert_eq!(text(6 | 0x80), "signal 6 (SIGABRT)");
    }

    #[test]
    fn only_exit_status_zero_is_a_success() {
        let success = |wait_status| Exit::Exited(ExitStatus::from_raw(wait_status)).is_success();
        assert!(success(0));
        assert!(!success(1 << 8) && !success(15));
        assert!(!Exit::NotStarted(io::ErrorKind::NotFound.into()).is_success());
    }

    #[test]
    fn the_summary_says_what_the_exit_status_of_the_tool_goes_by() {
        let ended = |number, wait_status, asked| NodeExit {
            number: NodeNumber(number),
            exit: Exit::Exited(ExitStatus::from_raw(wait_status)),
            asked,
        };
        let stopped = |number| ended(number, 0, Some(ExitRequest::Stop));
        let nodes = [1, 2, 3].map(NodeNumber);
        let text = |ended: &[NodeExit]| summary(nodes.iter(), ended);
        assert_eq!(text(&[stopped(1), stopped(2), stopped(3)]), "3 of 3 nodes stopped well");
        // Node 2 crashed and was started again: the exit status is 1.
        let crashed = [ended(2, 6, None), stopped(1), stopped(2), stopped(3)];
        assert_eq!(text(&crashed), "3 of 3 nodes stopped well; 1 process ended otherwise before");
        let killed = || ended(3, 9, Some(ExitRequest::Kill));
        let twice = [killed(), ended(2, 6, None), ended(2, 1 << 8, None), stopped(1), stopped(2), killed()];
        assert_eq!(
            text(&twice),
            "2 of 3 nodes stopped well, 1 killed by command; 2 processes ended otherwise before"
        );
    }
}
