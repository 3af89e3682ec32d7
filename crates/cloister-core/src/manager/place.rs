//! One node per process: ractor's registries and process groups belong to the whole process, so two nodes would answer
//! for each other's actors.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ractor::{ActorCell, ActorStatus};

use super::close::stop;
use crate::error::AlreadyRunning;
use crate::handle::Shared;

/// How long a manager that is ending is waited for. One that failed ends within microseconds, one that leaves in seconds.
const ENDING: Duration = Duration::from_secs(1);

static PROCESS: Mutex<Process> = Mutex::new(Process { node: None, listened: BTreeSet::new() });

/// What the nodes of this process have in common.
struct Process {
    node: Option<Running>,
    /// Where nodes of this process have listened.
    listened: BTreeSet<SocketAddr>,
}

/// The last node that was started in this process.
#[derive(Clone)]
struct Running {
    manager: ActorCell,
    shared: Weak<Shared>,
}

fn process() -> MutexGuard<'static, Process> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `manager` the one of this process. Fails while another one runs or leaves.
pub(super) async fn take(manager: &ActorCell, shared: &Arc<Shared>) -> Result<(), AlreadyRunning> {
    while let Some(before) = try_take(manager, shared)? {
        // It failed or leaves, and its links may still be open.
        if before.manager.wait(Some(ENDING)).await.is_err() {
            return Err(before.refusal());
        }
        if let Some(shared) = before.shared.upgrade()
            && let Some(links) = shared.incarnation().links()
        {
            stop(links).await;
        }
    }
    Ok(())
}

/// Takes the place if it is free; else says which node is ending.
fn try_take(manager: &ActorCell, shared: &Arc<Shared>) -> Result<Option<Running>, AlreadyRunning> {
    let mut process = process();
    if let Some(before) = &process.node {
        let is_same = Weak::ptr_eq(&before.shared, &Arc::downgrade(shared));
        match before.manager.get_status() {
            ActorStatus::Stopped => {}
            // A supervisor hears of a failure before the actor is quite gone, and starts the same node again at once.
            ActorStatus::Stopping if is_same => {}
            ActorStatus::Stopping => return Ok(Some(before.clone())),
            _ => return Err(before.refusal()),
        }
    }
    process.node = Some(Running { manager: manager.clone(), shared: Arc::downgrade(shared) });
    Ok(None)
}

/// The refusal of a second node, if one runs.
fn refusal() -> Option<AlreadyRunning> {
    let process = process();
    let running = process.node.as_ref()?;
    (running.manager.get_status() != ActorStatus::Stopped).then(|| running.refusal())
}

impl AlreadyRunning {
    /// The refusal that a second node would get now; `None` if no node runs in this process.
    #[must_use]
    pub fn now() -> Option<Self> {
        refusal()
    }
}

impl Running {
    fn refusal(&self) -> AlreadyRunning {
        let shared = self.shared.upgrade();
        let node = shared.map(|shared| shared.snapshot().state().node.id.name().to_string());
        AlreadyRunning { node: node.unwrap_or_else(|| "a node".to_owned()) }
    }
}

/// A node of this process listens at `bind`.
pub(super) fn listens(bind: SocketAddr) {
    process().listened.insert(bind);
}

/// Whether a node of this process has listened at `bind`: then what is there now may be its own leftover.
pub(super) fn has_listened(bind: SocketAddr) -> bool {
    process().listened.contains(&bind)
}
