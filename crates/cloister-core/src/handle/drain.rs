//! Draining: what the program does before its node leaves, while the node is still up.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::Cloister;
use super::shared::Shared;
use crate::error::ExitReason;
use crate::messages::MonitorMessage;
use crate::telemetry::TARGET;

/// The drain hooks of a program, and how far they have come.
#[derive(Debug)]
pub(crate) struct Drain {
    /// How long the hooks may take.
    timeout: Duration,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// The node was not asked to leave yet.
    Waiting(Vec<Hook>),
    /// The hooks of these names run.
    Running {
        since: Instant,
        names: BTreeMap<Id, Arc<str>>,
    },
    Over,
}

struct Hook {
    name: Arc<str>,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.name).finish()
    }
}

impl Drain {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, stage: Mutex::new(Stage::Waiting(Vec::new())) }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, hook: Hook) {
        if let Stage::Waiting(hooks) = &mut *self.stage() {
            return hooks.push(hook);
        }
        warn!(target: TARGET, hook = %hook.name, "a drain hook was added after this node was asked to leave: it does not run");
    }

    /// For how long the hooks have run, and the names of those that still do.
    pub(crate) fn unfinished(&self) -> Option<(Duration, Vec<String>)> {
        match &*self.stage() {
            Stage::Running { since, names } => {
                Some((since.elapsed(), names.values().map(|name| name.to_string()).collect()))
            }
            Stage::Waiting(_) | Stage::Over => None,
        }
    }

    /// Runs all hooks side by side, until they have ended or their time is over.
    pub(crate) async fn run(&self) {
        let Stage::Waiting(hooks) = std::mem::replace(&mut *self.stage(), Stage::Over) else { return };
        if hooks.is_empty() {
            return;
        }
        let mut tasks = JoinSet::new();
        let names: BTreeMap<Id, Arc<str>> =
            hooks.into_iter().map(|hook| (tasks.spawn(hook.work).id(), hook.name)).collect();
        info!(target: TARGET, hooks = list(&names), limit = ?self.timeout, "draining before this node leaves");
        *self.stage() = Stage::Running { since: Instant::now(), names };
        let all = async {
            while let Some(ended) = tasks.join_next_with_id().await {
                let (id, panic) = match ended {
                    Ok((id, ())) => (id, None),
                    Err(error) => (error.id(), Some(error)),
                };
                let name = match &mut *self.stage() {
                    Stage::Running { names, .. } => names.remove(&id),
                    Stage::Waiting(_) | Stage::Over => None,
                };
                if let (Some(hook), Some(cause)) = (name, panic) {
                    error!(target: TARGET, %hook, %cause, "a drain hook panicked: this node leaves without what it was to do");
                }
            }
        };
        let in_time = timeout(self.timeout, all).await.is_ok();
        let stage = std::mem::replace(&mut *self.stage(), Stage::Over);
        if let (false, Stage::Running { names, .. }) = (in_time, stage) {
            warn!(
                target: TARGET, hooks = list(&names), limit = ?self.timeout,
                "drain hooks have not ended in time and are dropped: this node leaves; raise `drain_timeout` if they need longer"
            );
        }
    }
}

fn list(names: &BTreeMap<Id, Arc<str>>) -> String {
    names.values().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

impl Shared {
    /// From now on this node drains: it is not ready any more, and otherwise as before. Returns when it may leave.
    pub(crate) async fn drain(&self) {
        self.begin_draining();
        let limit = self.drain_hooks().timeout();
        let others_warm_up = async {
            let life = self.life();
            if let Some(monitor) = life.monitor() {
                // A monitor that has ended has nothing to wait for, and one that is late is not waited for.
                let _ = monitor.call(MonitorMessage::Drain, Some(limit)).await;
            }
        };
        tokio::join!(self.drain_hooks().run(), others_warm_up);
    }
}

impl Cloister {
    /// Runs `hook` when this node is asked to leave, before it does: by SIGTERM, by [`leave`](Cloister::leave), or by a stop of its
    /// manager. Meanwhile the node is a member, keeps its keys and answers calls, but is [not ready](Cloister::readiness), so a
    /// load balancer sends it nothing new. All hooks run side by side, for `drain_timeout` (10 s) at most. A hook that has not ended
    /// by then is dropped. `name` is for the log and for `/readyz`.
    ///
    /// The future is not polled before. It must not wait for [`leave`](Cloister::leave), which waits for it. A hook that is added
    /// after the node was asked to leave does not run. A node that fails does not drain.
    ///
    /// An HTTP server that answers what it has before its node leaves:
    ///
    /// ```
    /// # struct Server;
    /// # impl Server {
    /// #     async fn serve_until(self, signal: impl Future<Output = ()>) {
    /// #         signal.await;
    /// #     }
    /// # }
    /// # async fn example(cloister: &cloister_core::Cloister, server: Server) {
    /// // With axum: axum::serve(listener, app).with_graceful_shutdown(cloister.wait_draining())
    /// let server = tokio::spawn(server.serve_until(cloister.wait_draining()));
    /// cloister.on_drain("http", server);
    /// # }
    /// ```
    ///
    /// A load balancer that looks every few seconds only:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// cloister.on_drain("load balancer", async { tokio::time::sleep(Duration::from_secs(5)).await });
    /// # }
    /// ```
    pub fn on_drain<F>(&self, name: &str, hook: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let work = async move {
            // What it makes is of no use to this node.
            let _ = hook.await;
        };
        self.shared().drain_hooks().add(Hook { name: name.into(), work: Box::pin(work) });
    }

    /// Waits until this node is asked to leave. It is still up then, and leaves when all [drain hooks](Cloister::on_drain) have
    /// ended.
    pub fn wait_draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(self.shared());
        async move {
            let mut progress = shared.progress();
            let has_begun =
                progress.wait_for(|progress| progress.draining || progress.ended == Some(ExitReason::Left));
            // The sender lives as long as `shared`.
            let _ = has_begun.await;
        }
    }

    /// Whether this node was asked to leave.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared().progress().borrow().draining
    }
}
