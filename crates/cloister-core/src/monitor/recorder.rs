//! Writes what the core would have to remember, beside everything else: a disk that is slow delays no heartbeat.

use std::sync::Arc;
use std::time::Duration;

use cloister_proto::Memory;
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::messages::MonitorMessage;
use crate::state_file::StateFile;
use crate::telemetry::TARGET;

/// After how long a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// After how long a write counts as one that fails, until it is done.
const SLOW: Duration = Duration::from_secs(2);

/// Where the core's memory goes. What is written when this is dropped is written to its end.
#[derive(Debug)]
pub(crate) struct Recorder {
    wanted: watch::Sender<Option<(u64, Arc<Memory>)>>,
}

impl Recorder {
    /// Writes for the incarnation with this number, on the runtime that this is called on.
    pub(crate) fn start(file: Arc<StateFile>, incarnation: u64, monitor: ActorRef<MonitorMessage>) -> Self {
        let wanted = watch::Sender::new(None);
        tokio::spawn(record(Task { file, incarnation, monitor, has_failed: false }, wanted.subscribe()));
        Self { wanted }
    }

    /// Writes this as soon as what is being written is. Only the last one that waits is written.
    pub(crate) fn record(&self, seq: u64, memory: Memory) {
        self.wanted.send_replace(Some((seq, Arc::new(memory))));
    }
}

struct Task {
    file: Arc<StateFile>,
    incarnation: u64,
    monitor: ActorRef<MonitorMessage>,
    has_failed: bool,
}

async fn record(mut task: Task, mut wanted: watch::Receiver<Option<(u64, Arc<Memory>)>>) {
    while wanted.changed().await.is_ok() {
        loop {
            let Some((seq, memory)) = wanted.borrow_and_update().clone() else { break };
            if task.write(seq, memory).await {
                break;
            }
            // The incarnation may be over meanwhile.
            if timeout(AGAIN, wanted.changed()).await.is_ok_and(|changed| changed.is_err()) {
                return;
            }
        }
    }
}

impl Task {
    /// Tells whether it is written.
    async fn write(&mut self, seq: u64, memory: Arc<Memory>) -> bool {
        let (file, incarnation) = (Arc::clone(&self.file), self.incarnation);
        let mut writing = spawn_blocking(move || file.write(incarnation, &memory));
        let outcome = tokio::select! {
            outcome = &mut writing => outcome,
            () = sleep(SLOW) => {
                self.fails(format!("state_file {}: a write takes longer than {SLOW:?}", self.file.path().display()));
                writing.await
            }
        };
        match outcome {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.has_failed) {
                    info!(target: TARGET, path = %self.file.path().display(), "the state file is written again");
                }
                self.send(MonitorMessage::Remembered(seq));
                true
            }
            Ok(Err(error)) => {
                self.fails(error.to_string());
                false
            }
            Err(error) => {
                self.fails(format!("state_file {}: {error}", self.file.path().display()));
                false
            }
        }
    }

    fn fails(&mut self, cause: String) {
        if !std::mem::replace(&mut self.has_failed, true) {
            warn!(
                target: TARGET, error = cause,
                "what this node must remember cannot be written: until it is, this node takes part in no further view"
            );
        }
        self.send(MonitorMessage::NotRemembered(cause));
    }

    fn send(&self, message: MonitorMessage) {
        // A monitor that is gone wants to know nothing.
        let _ = self.monitor.cast(message);
    }
}
