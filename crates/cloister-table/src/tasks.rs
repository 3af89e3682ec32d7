//! Where the tasks of a table run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

/// The runtime that a table was started on. Operations come from any thread: of that runtime, of another one that may end before the table
/// does, or of none.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<Option<Handle>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Option<Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on tasks run on the runtime that this is called on.
    pub(crate) fn run_here(&self) {
        *self.lock() = Some(Handle::current());
    }

    /// Runs a task. It is dropped if the table has not been started, or its runtime has ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // What is dropped may use the table, so not under the lock.
        let runtime = self.lock().clone();
        if let Some(runtime) = runtime {
            drop(runtime.spawn(task));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_task_runs_where_the_table_was_started_whichever_thread_gives_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let tasks = Tasks::default();
        runtime.block_on(async { tasks.run_here() });
        let (sender, ran) = channel();
        // No runtime is here.
        tasks.spawn(async move {
            sender.send(thread::current().id()).unwrap();
        });
        let there = ran.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_ne!(there, thread::current().id());
    }

    #[test]
    fn a_task_that_cannot_run_is_dropped() {
        let (sender, ran) = channel::<()>();
        Tasks::default().spawn(async move {
            sender.send(()).unwrap();
        });
        assert!(ran.recv().is_err());
    }
}
