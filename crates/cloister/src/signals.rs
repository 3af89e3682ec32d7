//! SIGTERM and SIGINT: leaving in order, also as the first process of a container.

mod attended;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cloister_core::Cloister;
use cloister_core::internal::{self, runtime};
use tokio::sync::{oneshot, watch};
use tracing::{debug, error};

use self::attended::Attended;

/// Signals within this time are one: `timeout` sends SIGTERM to its child and to the process group of both, and service managers do
/// the like.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// How long a program that does not wait for the end has to begin with it, once its node has left. A node may leave faster than the
/// system schedules a task that [`Cloister::wait_draining`] has woken.
const BEGIN_TO_WAIT: Duration = Duration::from_millis(250);

/// The status of a process that gets a second SIGTERM while it leaves: as if the signal had ended it.
const ENDED_BY_SIGTERM: i32 = 143;

/// The same for SIGINT.
const ENDED_BY_SIGINT: i32 = 130;

/// Leaves the cluster at the first SIGTERM or SIGINT, for as long as this node has not left.
///
/// Then the process ends with status 0. If the program waits for [`Cloister::wait_stopped`], that returns instead, and the process ends in its own
/// way. It may begin to wait while the node leaves, and until a quarter of a second after that. What takes longer belongs into a hook of
/// [`Cloister::on_drain`], for which the node waits. A second signal, more than a second after the first, ends the process at once. The first process of a container gets no default action for signals from the
/// system; this handler works there as anywhere.
///
/// Once the node has left, the handler is gone, and a signal ends the process at once, as it does in a program without handlers. One within a
/// second of the signal by which it left does not: it is the same request.
///
/// [`start`](crate::start) calls it. A program that starts its own manager does so:
///
/// ```no_run
/// # async fn example(arguments: cloister::ManagerArguments) -> Result<(), Box<dyn std::error::Error>> {
/// use cloister::ManagerActor;
/// use cloister::ractor::Actor;
///
/// let cloister = arguments.handle();
/// Actor::spawn(Some("cloister".to_owned()), ManagerActor, arguments).await?;
/// cloister::signals::leave_on_signal(&cloister);
/// # Ok(())
/// # }
/// ```
pub fn leave_on_signal(cloister: &Cloister) {
    attend(cloister, internal::left(cloister));
}

/// As [`leave_on_signal`], until `ended`.
pub(crate) fn attend(cloister: &Cloister, ended: impl Future<Output = ()> + Send + 'static) -> Ending {
    let ending = Ending::default();
    // On the runtime of the node: the program's may be blocked when a signal comes, and a second one must end the process then.
    let listening = runtime::handle().and_then(|runtime| {
        let _entered = runtime.enter();
        Ok((Signals::new()?, runtime.clone()))
    });
    match listening {
        Ok((signals, runtime)) => {
            // It goes with the program's runtime, too: then nothing is left that could leave.
            let (alive, gone) = oneshot::channel::<Infallible>();
            tokio::spawn(async move {
                let _alive = alive;
                ended.await;
            });
            let ended = async { drop(gone.await) };
            runtime.spawn(wait(signals, cloister.clone(), ended, ending.clone()));
        }
        Err(cause) => error!(error = %cause, "cannot listen to signals: SIGTERM will not leave in order"),
    }
    ending
}

async fn wait(
    mut signals: Signals,
    cloister: Cloister,
    ended: impl Future<Output = ()> + Send + 'static,
    ending: Ending,
) {
    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = ended => {
            // It may have come in between the end of the node and this moment.
            if let Some(status) = signals.attended.end() {
                std::process::exit(status);
            }
            return;
        }
    };
    if internal::has_ended(&cloister) {
        // It failed, and was not started again. Another node of this process may be running, and answers for itself.
        if signals.attended.is_last() {
            std::process::exit(signal.status);
        }
        return;
    }
    debug!(node = %cloister.node(), reason = signal.name, "leaving");
    let since = Instant::now();
    let second = async {
        loop {
            let signal = signals.next().await;
            if since.elapsed() > ONE_REQUEST {
                return signal;
            }
        }
    };
    let awaited = internal::is_awaited(&cloister);
    ending.set(if awaited { Decision::GoesOn } else { Decision::Leaves });
    tokio::select! {
        () = cloister.leave() => {}
        second = second => std::process::exit(second.status),
    }
    if awaited || internal::was_awaited(&cloister, BEGIN_TO_WAIT).await {
        ending.set(Decision::GoesOn);
        return;
    }
    ending.set(Decision::Ends);
    std::process::exit(0);
}

/// What becomes of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Decision {
    /// No signal has come.
    #[default]
    Runs,
    /// Its node leaves by a signal. Whether the process ends then is not decided.
    Leaves,
    /// The program ends it in its own way.
    GoesOn,
    /// The signal handler ends it.
    Ends,
}

/// Whether a signal ends the process once the node has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(watch::Sender<Decision>);

impl Ending {
    fn set(&self, decision: Decision) {
        self.0.send_replace(decision);
    }

    /// Whether the handler of a signal ends the process. If the node leaves by one, returns when that is decided.
    pub(crate) async fn ends_process(&self) -> bool {
        let mut decisions = self.0.subscribe();
        let decided = decisions.wait_for(|decision| *decision != Decision::Leaves).await;
        // The sender lives as long as `self`.
        decided.is_ok_and(|decision| *decision == Decision::Ends)
    }
}

/// A signal that came in.
#[derive(Clone, Copy)]
struct Signal {
    name: &'static str,
    /// The status of a process that it ends.
    status: i32,
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    attended: Attended,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            attended: Attended::new()?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        let signal = tokio::select! {
            _ = self.terminate.recv() => Signal { name: "SIGTERM", status: ENDED_BY_SIGTERM },
            _ = self.interrupt.recv() => Signal { name: "SIGINT", status: ENDED_BY_SIGINT },
        };
        self.attended.handled();
        signal
    }
}

#[cfg(not(unix))]
struct Signals {
    attended: Attended,
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { attended: Attended::new()? })
    }

    async fn next(&mut self) -> Signal {
        // Without a handler nothing comes, which is the same as waiting.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal { name: "Ctrl-C", status: ENDED_BY_SIGINT }
    }
}
