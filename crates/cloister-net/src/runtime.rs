//! The runtime of the node. What keeps its membership runs here, where no code of the application can hold it up.
//!
//! | here | on the application's runtime |
//! |---|---|
//! | monitor, timers, table of the links, acceptor, dialer, discovery of the seeds, the service, the admin server, the signal handler | the manager and its children, the actors of the application, its calls, its own strategies of discovery; ractor's node server and its sessions, with their sockets |
//!
//! ractor starts the task of an actor on the runtime that the call of `spawn` runs on, and so do the actors that it starts. A
//! message crosses by the mailbox, as between any two threads.
//!
//! There is one such runtime in a process, as there is one node. It starts with the first node and is never shut down: a
//! runtime must not be dropped inside of another one. While no node runs, its threads sleep.

mod application;
pub(crate) mod deadline;
mod log_forwarder;
mod watchdog;

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

pub use application::Application;
pub use application::OnApplication;
pub use watchdog::{Stall, Watchdog};

/// How many threads it has. All that runs here is short, and a second thread costs a wake-up each time that both have work. With two, fifty
/// nodes on two cores took half as long again to assemble (docs/decisions/007-two-runtimes.md).
const THREADS: usize = 1;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime of the node; starts it when it is needed first.
///
/// # Errors
///
/// The error of the system if it gives no threads.
pub fn handle() -> io::Result<Handle> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle().clone());
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let runtime = start()?;
            RUNTIME.get_or_init(|| runtime)
        }
    };
    Ok(runtime.handle().clone())
}

fn start() -> io::Result<Runtime> {
    log_forwarder::adopt();
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(THREADS).thread_name("cloister").on_thread_start(log_forwarder::begin);
    runtime.enable_all().build()
}

/// Does `work` on the runtime of the node. It is given up when this is dropped.
///
/// # Errors
///
/// The reason in words if the runtime cannot be started, or if `work` panicked.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let runtime = handle().map_err(|error| format!("the system gives no threads: {error}"))?;
    let mut work = GivenUp(runtime.spawn(work));
    (&mut work.0).await.map_err(|error| error.to_string())
}

/// Ends a task when it is dropped. One that has ended is past that.
struct GivenUp<T>(JoinHandle<T>);

impl<T> Drop for GivenUp<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_runs_here_goes_on_while_the_runtime_of_the_application_is_blocked() {
        let (done, was_done) = std::sync::mpsc::channel();
        handle().unwrap().spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            done.send(()).unwrap();
        });
        // This blocks the only thread of the runtime of the test.
        was_done.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn work_whose_caller_goes_away_is_given_up() {
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let work = run(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), work).await.is_err());
        assert_eq!(gone.recv().await, None);
    }
}
