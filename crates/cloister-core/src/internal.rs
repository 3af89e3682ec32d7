//! What other crates of Cloister use of this one: the admin server, the signal handler, tables and entities. The crate `cloister` does
//! not export it, and it may change in any release.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::NodeId;
use ractor::ActorCell;

use crate::error::{CallError, ExitReason};
use crate::handle::Cloister;
pub use crate::handle::Companion;
use crate::rpc;
pub use crate::rpc::{CallInProgress, PeerActor};

pub use cloister_net::links::descriptors;
pub use cloister_net::log_limiter::LogLimiter;
pub use cloister_net::{recorded, runtime};
pub use cloister_proto::backoff::exponential;
pub use cloister_proto::text;

/// The members of the present state, and whether this node hears each of them now.
pub async fn live(cloister: &Cloister) -> Vec<(NodeId, bool)> {
    let report = cloister.shared().incarnation().report().await;
    let state = cloister.state();
    let linked = |id: &NodeId| {
        let peers = report.iter().flat_map(|report| &report.peers);
        *id == state.node.id || peers.filter(|peer| peer.member.id == *id).any(|peer| peer.link.is_some())
    };
    state.members.iter().map(|member| (member.id.clone(), linked(&member.id))).collect()
}

/// Whether a task waits for [`Cloister::wait_stopped`] now.
#[must_use]
pub fn is_awaited(cloister: &Cloister) -> bool {
    cloister.shared().is_awaited()
}

/// Whether a task waited for [`Cloister::wait_stopped`] when this node ended, or calls it within `timeout` from now.
pub async fn was_awaited(cloister: &Cloister, timeout: Duration) -> bool {
    let mut progress = cloister.shared().progress();
    let awaited = progress.wait_for(|progress| progress.end_awaited);
    // The sender lives as long as the handle.
    matches!(tokio::time::timeout(timeout, awaited).await, Ok(Ok(_)))
}

/// Whether this node has ended, for whatever reason, and has not been started again.
#[must_use]
pub fn has_ended(cloister: &Cloister) -> bool {
    cloister.shared().progress().borrow().ended.is_some()
}

/// Waits until this node has left, and does not count as waiting for [`Cloister::wait_stopped`]. A node that failed may be started again
/// by its supervisor: that is not waited for here.
pub fn left(cloister: &Cloister) -> impl Future<Output = ()> + Send + use<> {
    let shared = Arc::clone(cloister.shared());
    async move {
        let mut progress = shared.progress();
        // The sender lives as long as `shared`.
        let _ = progress.wait_for(|progress| progress.ended == Some(ExitReason::Left)).await;
    }
}

/// Something that ends with this node: [`Cloister::leave`] returns when it is dropped, or after a second.
#[must_use]
pub fn companion(cloister: &Cloister) -> Companion {
    cloister.shared().companion()
}

/// The actors that linked nodes have registered under `name`.
#[must_use]
pub fn peer_actors(cloister: &Cloister, name: &str) -> BTreeMap<NodeId, PeerActor> {
    rpc::peer_actors(cloister, name)
}

/// Counts something that another node waits for until the result is dropped: this node does not leave before, for `timing.leave_timeout` at
/// most.
#[must_use]
pub fn begin_received_call(cloister: &Cloister) -> CallInProgress {
    cloister.shared().calls_in_progress().begin()
}

/// The same for something that this node waits for. What it begins while it stops is not counted.
#[must_use]
pub fn begin_own_call(cloister: &Cloister) -> Option<CallInProgress> {
    cloister.begin_own_call()
}

/// What the metrics of calls name an error.
#[must_use]
pub fn outcome_of(error: &CallError) -> &'static str {
    error.label()
}

/// Notifies `actor` when an actor is registered on any node, or is not any more: by a
/// [`SupervisionEvent`](ractor::SupervisionEvent).
pub fn monitor_registered(actor: ActorCell) {
    rpc::monitor_registered(actor);
}
