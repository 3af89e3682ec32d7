//! Draining: what the program does before its node leaves, while the node is still up. First it serves for a while as before, for load
//! balancers; then its hooks run.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::Cloister;
use super::obstacle::Obstacle;
use super::shared::Shared;
use crate::error::ExitReason;
use crate::messages::MonitorMessage;
use crate::telemetry::TARGET;

/// The drain hooks of a program, and how far they have come.
#[derive(Debug)]
pub(crate) struct Drain {
    /// How long the node serves as before.
    delay: Duration,
    /// How long the hooks may take then.
    timeout: Duration,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// The node was not asked to leave yet.
    Waiting(Vec<Hook>),
    /// Load balancers have until then to notice that the node is not ready.
    Serving {
        until: Instant,
        hooks: Vec<Hook>,
    },
    /// The hooks of these names run. With none left, the others may still warm up for what they take over.
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
    pub(crate) fn new(delay: Duration, timeout: Duration) -> Self {
        Self { delay, timeout, stage: Mutex::new(Stage::Waiting(Vec::new())) }
    }

    /// The node begins again after it has left: hooks can be added for the next time.
    pub(crate) fn reset(&self) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Waiting(_)) {
            *stage = Stage::Waiting(Vec::new());
        }
    }

    /// How long draining takes at most.
    pub(crate) fn limit(&self) -> Duration {
        self.delay + self.timeout
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, hook: Hook) {
        if let Stage::Waiting(hooks) | Stage::Serving { hooks, .. } = &mut *self.stage() {
            return hooks.push(hook);
        }
        warn!(target: TARGET, hook = %hook.name, "a drain hook was added after the hooks of this node have begun: it does not run");
    }

    /// What this node, which was asked to leave, waits for.
    pub(crate) fn unfinished(&self) -> Option<Obstacle> {
        match &*self.stage() {
            Stage::Serving { until, .. } => {
                Some(Obstacle::DrainDelay { left: until.saturating_duration_since(Instant::now()) })
            }
            Stage::Running { since, names } => {
                let hooks = names.values().map(|name| name.to_string()).collect();
                Some(Obstacle::Draining { since: since.elapsed(), hooks })
            }
            Stage::Waiting(_) | Stage::Over => None,
        }
    }

    /// Waits until load balancers have noticed that this node is not ready.
    async fn delay(&self) {
        if self.delay.is_zero() {
            return;
        }
        let until = Instant::now() + self.delay;
        {
            let mut stage = self.stage();
            let Stage::Waiting(hooks) = &mut *stage else { return };
            *stage = Stage::Serving { until, hooks: std::mem::take(hooks) };
        }
        info!(target: TARGET, delay = ?self.delay, "not ready any more: this node serves as before until load balancers have noticed");
        sleep_until(until).await;
    }

    /// Runs all hooks side by side, until they have ended or their time is over.
    async fn run(&self) {
        let (Stage::Waiting(hooks) | Stage::Serving { hooks, .. }) =
            std::mem::replace(&mut *self.stage(), Stage::Over)
        else {
            return;
        };
        let mut tasks = JoinSet::new();
        let names: BTreeMap<Id, Arc<str>> =
            hooks.into_iter().map(|hook| (tasks.spawn(hook.work).id(), hook.name)).collect();
        if !names.is_empty() {
            info!(target: TARGET, hooks = list(&names), limit = ?self.timeout, "draining before this node leaves");
        }
        *self.stage() = Stage::Running { since: Instant::now(), names };
        let all = async {
            while let Some(ended) = tasks.join_next_with_id().await {
                let (id, panic) = match ended {
                    Ok((id, ())) => (id, None),
                    Err(error) => (error.id(), Some(error)),
                };
                let name = match &mut *self.stage() {
                    Stage::Running { names, .. } => names.remove(&id),
                    Stage::Waiting(_) | Stage::Serving { .. } | Stage::Over => None,
                };
                if let (Some(hook), Some(cause)) = (name, panic) {
                    error!(target: TARGET, %hook, error = %cause, "a drain hook panicked: this node leaves without what it was to do");
                }
            }
        };
        let in_time = timeout(self.timeout, all).await.is_ok();
        if let (false, Stage::Running { names, .. }) = (in_time, &mut *self.stage()) {
            let names = std::mem::take(names);
            warn!(
                target: TARGET, hooks = list(&names), limit = ?self.timeout,
                "drain hooks have not ended in time and are dropped: this node leaves; raise `drain_timeout` if they need longer"
            );
        }
    }

    /// The node may leave.
    fn end(&self) {
        *self.stage() = Stage::Over;
    }
}

fn list(names: &BTreeMap<Id, Arc<str>>) -> String {
    names.values().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

impl Shared {
    /// From now on this node drains: it is not ready any more, and otherwise as before. Returns when it may leave.
    pub(crate) async fn drain(&self) {
        self.begin_draining();
        let drain = self.drain_hooks();
        let program = async {
            drain.delay().await;
            self.end_new_work();
            drain.run().await;
        };
        let limit = drain.limit();
        let others_warm_up = async {
            let incarnation = self.incarnation();
            if let Some(monitor) = incarnation.monitor() {
                // A monitor that has ended has nothing to wait for, and one that is late is not waited for.
                let _ = monitor.call(MonitorMessage::Drain, Some(limit)).await;
            }
        };
        tokio::join!(program, others_warm_up);
        drain.end();
    }
}

impl Cloister {
    /// Runs `hook` when this node is asked to leave, before it does: by SIGTERM, by [`leave`](Cloister::leave), or by a stop of its
    /// manager. Meanwhile the node is a member, keeps its keys and answers calls, but is [not ready](Cloister::readiness), so a
    /// load balancer sends it nothing new. Hooks begin after `drain_delay` (none by default), which is for the load balancer to
    /// notice. All run side by side, for `drain_timeout` (10 s) at most. A hook that has not ended by then is dropped. `name` is for
    /// the log and for `/readyz`.
    ///
    /// The future is not polled before. It must not wait for [`leave`](Cloister::leave), which waits for it. A hook that is added
    /// after the hooks have begun does not run. A node that fails does not drain.
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
    /// A load balancer that asks `/readyz` every two seconds may send new connections for as long. `drain_delay = "5s"` keeps the
    /// server open meanwhile.
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

    /// Waits until the program should take no new work: this node was asked to leave, and `drain_delay` is over. It is still up then,
    /// and leaves when all [drain hooks](Cloister::on_drain) have ended.
    pub fn wait_draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(self.shared());
        async move {
            let mut progress = shared.progress();
            let has_begun = progress
                .wait_for(|progress| progress.no_new_work || progress.ended == Some(ExitReason::Left));
            // The sender lives as long as `shared`.
            let _ = has_begun.await;
        }
    }

    /// Whether this node was asked to leave. It is not ready from then on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared().progress().borrow().draining.is_some()
    }
}

#[cfg(test)]
mod tests {
    use cloister_config::Config;
    use cloister_proto::{Incarnation, Member, NodeId, Status};

    use super::*;
    use crate::placement::RingPlan;

    fn shared() -> Shared {
        let node = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1);
        Shared::new(Member::without_tags(node), RingPlan::default(), &Config::default())
    }

    /// Also before its hooks begin, and after they have ended: a load balancer that hears `200` in between sends more.
    #[tokio::test]
    async fn a_node_that_is_to_leave_is_not_ready_until_it_has_left() {
        let shared = shared();
        shared.announce(Status::Up);
        assert!(shared.drain_obstacle().is_none());
        shared.begin_draining();
        assert!(matches!(shared.drain_obstacle(), Some(Obstacle::Draining { .. })));
        shared.drain().await;
        assert!(matches!(shared.drain_obstacle(), Some(Obstacle::Draining { .. })));
        shared.announce(Status::Stopping);
        assert!(shared.drain_obstacle().is_none(), "its status says so");
    }

    #[tokio::test]
    async fn what_waits_for_an_owner_hears_of_the_end_of_the_node() {
        let shared = shared();
        let mut turns = shared.turns();
        turns.borrow_and_update();
        shared.end(ExitReason::Left);
        assert!(turns.has_changed().unwrap());
    }
}
