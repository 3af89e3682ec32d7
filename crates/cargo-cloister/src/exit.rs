//! How the process of a node ended.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

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
}
