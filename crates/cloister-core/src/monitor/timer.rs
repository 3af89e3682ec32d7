//! The one timer of the monitor.

use cloister_proto::Time;
use ractor::ActorRef;
use tokio::task::AbortHandle;

use crate::messages::MonitorMessage;

/// Sends [`MonitorMessage::Tick`] at the time that was set last, or earlier: the core takes a tick at any time.
#[derive(Debug)]
pub(crate) struct Timer {
    monitor: ActorRef<MonitorMessage>,
    armed: Option<(Time, AbortHandle)>,
}

impl Timer {
    pub(crate) fn new(monitor: ActorRef<MonitorMessage>) -> Self {
        Self { monitor, armed: None }
    }

    /// The tick has come.
    pub(crate) fn fired(&mut self) {
        self.armed = None;
    }

    /// Sets the timer to `at`. One that is set to an earlier time is left as it is. The tick that it brings sets it anew, which costs less
    /// than a new task for every heartbeat.
    pub(crate) fn set(&mut self, now: Time, at: Option<Time>) {
        if let Some((armed, task)) = &self.armed {
            if at.is_some_and(|at| *armed <= at) {
                return;
            }
            task.abort();
            self.armed = None;
        }
        let Some(at) = at else { return };
        let monitor = self.monitor.clone();
        let span = at.since(now);
        let task = tokio::spawn(async move {
            tokio::time::sleep(span).await;
            // A monitor that is gone needs no tick.
            let _ = monitor.cast(MonitorMessage::Tick);
        });
        self.armed = Some((at, task.abort_handle()));
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.armed {
            task.abort();
        }
    }
}
