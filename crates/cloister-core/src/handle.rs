//! What a program asks the cluster.

mod readiness;
mod ring;
mod shared;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{ClusterState, Epoch, NodeId, Slot, Status};
use ractor::{ActorRef, Message};

use crate::error::{Ended, NotUp};
use crate::listener::{Listener, Patience, StateChange};

pub use readiness::{Peer, PeerState, Readiness};
pub use ring::NamedRing;
pub(crate) use shared::{Life, Shared};

/// What a program asks the cluster; cheap to clone, and valid for as long as the program runs.
///
/// Everything synchronous reads one snapshot without a lock. [`is_mine`](Cloister::is_mine) and
/// [`is_sentry`](Cloister::is_sentry) compare the lease of this node with the clock at the call, so a process that wakes
/// from a long pause answers no. Between the answer and the act a process may pause still: give [`epoch`](Cloister::epoch)
/// to whatever store you write to, and let it refuse lower ones.
#[derive(Clone, Debug)]
pub struct Cloister {
    shared: Arc<Shared>,
}

impl Cloister {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How far this node has come.
    pub fn status(&self) -> Status {
        self.shared.snapshot().state().status
    }

    /// The cluster as this node sees it.
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(self.shared.snapshot().state())
    }

    /// This node; `app@nohost` until it knows its address.
    pub fn node(&self) -> NodeId {
        self.shared.snapshot().state().node.id.clone()
    }

    /// The other members, the oldest first.
    pub fn siblings(&self) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        let state = snapshot.state();
        state.members.iter().map(|member| &member.id).filter(|id| **id != state.node.id).cloned().collect()
    }

    /// The oldest member of the view; `None` while this node is in none.
    pub fn sentry(&self) -> Option<NodeId> {
        self.shared.snapshot().state().sentry.clone()
    }

    /// Whether this node is the sentry at this very moment. At most one node of the cluster says yes, if consensus
    /// is more than half of all nodes that ever run at once.
    pub fn is_sentry(&self) -> bool {
        self.shared.snapshot().is_sentry(self.shared.clock())
    }

    /// Who owns `key` in the view that this node installed last; `None` before the first. One hash and one look-up.
    pub fn whois(&self, key: impl AsRef<[u8]>) -> Option<NodeId> {
        self.shared.snapshot().ring(None)?.owner_of(key.as_ref()).cloned()
    }

    /// The owner of `key` and the members that come next, `n` at most: where replicas belong.
    pub fn owners(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        let ring = snapshot.ring(None);
        ring.map(|ring| ring.owners(key.as_ref(), n).into_iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether this node owns `key` at this very moment. For every key at most one node of the cluster says yes, if
    /// consensus is more than half of all nodes that ever run at once.
    pub fn is_mine(&self, key: impl AsRef<[u8]>) -> bool {
        self.shared.snapshot().is_mine(None, key.as_ref(), self.shared.clock())
    }

    /// The slot of `key`.
    pub fn slot(&self, key: impl AsRef<[u8]>) -> Slot {
        Slot::of(key.as_ref())
    }

    /// How many slots of the ring over all members this node owns. Costs a pass over all slots.
    pub fn share(&self) -> usize {
        let snapshot = self.shared.snapshot();
        snapshot.ring(None).map_or(0, |ring| ring.share(&snapshot.state().node.id))
    }

    /// The epoch of the view that this node installed last: a fencing token.
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.snapshot().epoch()
    }

    /// How many members a view needs.
    pub fn consensus(&self) -> usize {
        self.shared.consensus()
    }

    /// The ring of this name, if it is configured.
    pub fn ring(&self, name: &str) -> Option<NamedRing> {
        Some(NamedRing::new(Arc::clone(&self.shared), self.shared.plan().name(name)?))
    }

    /// Sends `actor` the present state, and every change from there on, until it ends.
    ///
    /// On [`Status::Rehashing`] the message carries a [`Hold`](crate::Hold); the new view begins when every listener has
    /// dropped his. That includes messages which still wait in a mailbox: for an actor that may be busy for long, and
    /// moves no data, use [`observe`](Cloister::observe).
    ///
    /// `M::from` runs in the monitor of the cluster: let it do no more than wrap the change.
    pub fn subscribe<M>(&self, actor: &ActorRef<M>)
    where
        M: Message + From<StateChange>,
    {
        self.shared.listeners().add(Listener::new(actor.clone(), Patience::Holds));
    }

    /// As [`subscribe`](Cloister::subscribe), but without holds: no round ever waits for this actor.
    pub fn observe<M>(&self, actor: &ActorRef<M>)
    where
        M: Message + From<StateChange>,
    {
        self.shared.listeners().add(Listener::new(actor.clone(), Patience::Watches));
    }

    /// Waits until this node is up, for `limit` at most. The error says who is missing and why. Ends early if
    /// this node cannot come up at all.
    pub async fn wait_until_up(&self, limit: Duration) -> Result<(), NotUp> {
        let mut progress = self.shared.progress();
        let reached = progress.wait_for(|progress| progress.status == Status::Up || progress.ended.is_some());
        let ended = match tokio::time::timeout(limit, reached).await {
            Ok(Ok(progress)) if progress.ended.is_none() => return Ok(()),
            Ok(Ok(progress)) => progress.ended.clone(),
            // The sender lives as long as this handle.
            Ok(Err(_)) | Err(_) => None,
        };
        let Readiness { status, missing } = self.readiness().await;
        Err(NotUp { limit, status, missing, ended })
    }

    /// Waits until this node has ended, and says why: [`Ended::Left`] after [`leave`](Cloister::leave).
    pub fn stopped(&self) -> impl Future<Output = Ended> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let waiting = shared.wait_for_end();
        async move {
            let mut progress = shared.progress();
            let ended = progress.wait_for(|progress| progress.ended.is_some()).await;
            drop(waiting);
            // The sender lives as long as `shared`.
            ended.ok().and_then(|progress| progress.ended.clone()).unwrap_or(Ended::Left)
        }
    }

    /// Whether anybody waits for [`stopped`](Cloister::stopped).
    pub fn is_awaited(&self) -> bool {
        self.shared.is_awaited()
    }

    /// Leaves the cluster: this node claims nothing from now on, the others take over while it is still linked, and then it
    /// stops. Returns when that is done, at the latest a few seconds after `leave_timeout`. Leaving twice is
    /// leaving once.
    pub async fn leave(&self) {
        self.shared.leave().await;
    }
}
