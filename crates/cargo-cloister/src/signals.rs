//! The signals that ask this tool to stop.

use std::io;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for a graceful stop: the terminal's Ctrl-C, `kill`, and a terminal that goes away.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// The signal handlers could not be installed.
#[derive(Debug, Error)]
#[error("cannot listen for Ctrl-C and SIGTERM")]
pub(crate) struct SignalsError(#[from] io::Error);

impl Signals {
    /// Starts to listen: from here on none of them ends this process by itself.
    pub(crate) fn new() -> Result<Self, SignalsError> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and returns its name. Nothing is lost when the wait is given up.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }

    /// Waits for a Ctrl-C alone. `timeout` and service managers may send SIGTERM twice and mean it once.
    pub(crate) async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}
