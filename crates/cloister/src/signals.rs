//! SIGTERM and SIGINT: leaving in order, also as the first process of a container.

use cloister_core::Cloister;
use tracing::{error, info};

/// The status of a process that was asked to end a second time while it was leaving: as if the signal had ended it.
const IMPATIENT: i32 = 143;

/// Leaves the cluster at the first SIGTERM or SIGINT.
///
/// Then the process is ended with status 0 — unless somebody waits for [`Cloister::stopped`], who is then told,
/// and ends the program in his own way. A second signal ends the process at once. The first process of a container gets no default
/// action for signals from the system; this handler works there as anywhere.
pub fn leave_on_signal(cloister: &Cloister) {
    let cloister = cloister.clone();
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(cause) => return error!(%cause, "cannot listen to signals: SIGTERM will not leave in order"),
    };
    tokio::spawn(async move {
        let signal = signals.next().await;
        info!(node = %cloister.node(), cause = signal, "leaving");
        let awaited = cloister.is_awaited();
        tokio::select! {
            () = cloister.leave() => {}
            _ = signals.next() => std::process::exit(IMPATIENT),
        }
        if !awaited {
            std::process::exit(0);
        }
        signals.next().await;
        std::process::exit(IMPATIENT);
    });
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        // Without a handler nothing comes, which is the same as waiting.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
