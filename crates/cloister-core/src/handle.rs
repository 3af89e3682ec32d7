//! What a program asks the cluster.

mod claim;
mod definitions;
mod drain;
mod inboxes;
mod incarnation;
mod inspect;
mod obstacle;
mod own_messages;
mod peer;
mod readiness;
mod registered;
mod ring;
mod shared;
mod thread_cache;
mod waiting;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{ClusterState, Epoch, NodeId, SplitReport, Status};
use ractor::{ActorRef, Message};

use crate::error::ExitReason;
use crate::listener::{HOLD_GRACE, HoldMode, Listener, StateChange};
use crate::messages::MonitorMessage;

pub use claim::Claim;
pub(crate) use incarnation::IncarnationState;
pub use obstacle::{NotUpError, Obstacle};
pub(crate) use own_messages::{OwnMessage, OwnMessages, lane};
pub use peer::{Peer, PeerState};
pub use readiness::Readiness;
pub(crate) use registered::{MessageType, Named};
pub use ring::NamedRing;
pub use shared::Companion;
pub(crate) use shared::Shared;
pub use waiting::WaitingLimit;
pub(crate) use waiting::{TooMany, WaitingCall, WaitingLimits};

/// What a program asks the cluster; cheap to clone, and valid for as long as the program runs.
///
/// Everything synchronous reads one snapshot without a lock. [`is_mine`](Cloister::is_mine) and
/// [`is_sentry`](Cloister::is_sentry) compare the lease of this node with the clock at the call, so a process that wakes
/// from a long pause answers no. Between the answer and the act a process may pause still: give [`epoch`](Cloister::epoch)
/// to whatever store you write to, and let it refuse lower ones.
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// use std::time::Duration;
///
/// use cloister::ractor::Actor;
/// use cloister::{Config, ExitReason, ManagerActor, ManagerArguments, Status};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = ManagerArguments::new(Config::new("shop"))?;
/// let cloister = arguments.handle();
/// assert_eq!(cloister.status(), Status::Down);
///
/// Actor::spawn(Some("cloister".into()), ManagerActor, arguments).await?;
/// cloister.wait_until_up(Duration::from_secs(10)).await?;
/// // Without seeds it is alone: the sentry, and the owner of every key.
/// assert!(cloister.is_sentry() && cloister.is_mine("user:42"));
/// assert_eq!(cloister.whois("user:42"), Some(cloister.node()));
/// assert!(cloister.siblings().is_empty());
///
/// cloister.leave().await;
/// assert!(!cloister.is_sentry() && !cloister.is_mine("user:42"));
/// assert_eq!(cloister.wait_stopped().await, ExitReason::Left);
/// # Ok(())
/// # }
/// ```
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
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.snapshot().state().status
    }

    /// The cluster as this node sees it.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// let state = cloister.state();
    /// println!("change {}: {} with {} members", state.seq, state.status, state.members.len());
    /// for member in &state.members {
    ///     println!("{} has tags {:?}", member.id.name(), member.tags);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(self.shared.snapshot().state())
    }

    /// This node; `app@nohost` until it knows its address.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.snapshot().state().node.id.clone()
    }

    /// The other members, the oldest first.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// for sibling in cloister.siblings() {
    ///     println!("{} is there, too", sibling.name());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn siblings(&self) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        let state = snapshot.state();
        state.members.iter().map(|member| &member.id).filter(|id| **id != state.node.id).cloned().collect()
    }

    /// The oldest member of the view; `None` while this node is in none.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// match cloister.sentry() {
    ///     Some(sentry) => println!("{} is the sentry", sentry.name()),
    ///     None => println!("there is none yet"),
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn sentry(&self) -> Option<NodeId> {
        self.shared.snapshot().state().sentry.clone()
    }

    /// Whether this node is the sentry at this very moment. Under the default split policy,
    /// [`Majority`](crate::SplitPolicy::Majority), at most one node of a cluster says yes, whatever is cut off, killed or scaled. The
    /// guide's chapter on limits has the exception: a second cluster that begins beside the first. Under
    /// [`Consensus`](crate::SplitPolicy::Consensus) it holds only if `consensus` is more than half of all nodes that ever run at once.
    ///
    /// Ask each time anew, right before the work. Let the store refuse an epoch lower than one that it has seen:
    ///
    /// ```
    /// # use cloister_core::{Cloister, Epoch};
    /// # fn clean_up(_: Epoch) {}
    /// # fn example(cloister: &Cloister) {
    /// if cloister.is_sentry()
    ///     && let Some(epoch) = cloister.epoch()
    /// {
    ///     clean_up(epoch); // … where the epoch is at least the greatest that the store has seen
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn is_sentry(&self) -> bool {
        self.shared.look(|snapshot| snapshot.is_sentry(self.shared.clock()))
    }

    /// What this node may do by the view that it is up in, as one value; `None` while it holds no lease.
    ///
    /// [`Claim`] has an example.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        Claim::now(Arc::clone(&self.shared.snapshot()), self.shared.clock())
    }

    /// The owner of `key` in the view that this node installed last; `None` before the first. Costs one hash and one look-up. After
    /// the members have changed, each thread copies their ids once.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// if let Some(owner) = cloister.whois("user:42") {
    ///     println!("user:42 lives on {}", owner.name());
    /// }
    /// # }
    /// ```
    pub fn whois(&self, key: impl AsRef<[u8]>) -> Option<NodeId> {
        self.shared.owner(None, key.as_ref())
    }

    /// The owner of `key` and the members that come next, `n` at most: where replicas belong.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// if let [owner, replicas @ ..] = cloister.owners("user:42", 3).as_slice() {
    ///     println!("{owner} has it, {replicas:?} have copies");
    /// }
    /// # }
    /// ```
    pub fn owners(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot();
        let ring = snapshot.ring(None);
        ring.map(|ring| ring.owners(key.as_ref(), n).into_iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether this node owns `key` at this very moment. For every key at most one node of the cluster says yes. The
    /// split policy bounds this promise as it bounds that of [`is_sentry`](Cloister::is_sentry).
    ///
    /// ```
    /// # fn serve(_: &str) {}
    /// # fn example(cloister: &cloister_core::Cloister, key: &str) {
    /// if cloister.is_mine(key) {
    ///     serve(key);
    /// } else if let Some(owner) = cloister.whois(key) {
    ///     println!("ask {owner}");
    /// }
    /// # }
    /// ```
    pub fn is_mine(&self, key: impl AsRef<[u8]>) -> bool {
        self.shared.look(|snapshot| snapshot.is_mine(None, key.as_ref(), self.shared.clock()))
    }

    /// How many slots of the ring over all members this node owns. Costs a pass over all slots.
    #[must_use]
    pub fn owned_slots(&self) -> usize {
        let snapshot = self.shared.snapshot();
        snapshot.ring(None).map_or(0, |ring| ring.slot_count(&snapshot.state().node.id))
    }

    /// How many slots of the ring over all members each member owns, the oldest first; empty before the first view. Costs a
    /// pass over all slots.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// for (node, slots) in cloister.slot_counts() {
    ///     println!("{} owns {slots} of {} slots", node.name(), cloister_core::SLOTS);
    /// }
    /// # }
    /// ```
    pub fn slot_counts(&self) -> Vec<(NodeId, usize)> {
        self.shared.snapshot().slot_counts(None)
    }

    /// The epoch of the view that this node installed last: a fencing token.
    ///
    /// It rises with every view, also when all nodes were restarted. A store that keeps the greatest one it has seen can
    /// refuse a writer that was overtaken while it paused:
    ///
    /// ```
    /// # use cloister_core::Epoch;
    /// struct Store {
    ///     greatest: Epoch,
    /// }
    ///
    /// impl Store {
    ///     fn write(&mut self, epoch: Epoch, _value: &str) -> Result<(), Epoch> {
    ///         if epoch < self.greatest {
    ///             return Err(self.greatest);
    ///         }
    ///         self.greatest = epoch;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut store = Store { greatest: Epoch::ZERO };
    /// assert!(store.write(Epoch::from_u64(8), "new").is_ok());
    /// assert!(store.write(Epoch::from_u64(7), "overtaken").is_err());
    /// ```
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.snapshot().epoch()
    }

    /// How many members a view needs. Without a configured one, a list counts this node besides its entries until the node
    /// knows which of them it is itself.
    #[must_use]
    pub fn consensus(&self) -> usize {
        self.shared.consensus()
    }

    /// How the cluster would take a loss or a split now; `None` while this node is in no view.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// if let Some(report) = cloister.split_report() {
    ///     println!("{report}"); // 3 members, counted 5: can lose none
    ///     for warning in report.warnings() {
    ///         eprintln!("{warning}");
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn split_report(&self) -> Option<SplitReport> {
        let snapshot = self.shared.snapshot();
        self.shared.split_report(snapshot.state())
    }

    /// All configured rings besides the one over all members, by name.
    pub fn rings(&self) -> Vec<NamedRing> {
        let names = self.shared.plan().names();
        names.map(|name| NamedRing::new(Arc::clone(&self.shared), Arc::clone(name))).collect()
    }

    /// The ring of this name, if it is configured.
    ///
    /// ```
    /// # fn example(cloister: &cloister_core::Cloister) {
    /// // [rings.cache]
    /// // tags = ["memory"]
    /// if let Some(cache) = cloister.ring("cache") {
    ///     println!("{:?} of {:?} caches user:42", cache.whois("user:42"), cache.members());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn ring(&self, name: &str) -> Option<NamedRing> {
        Some(NamedRing::new(Arc::clone(&self.shared), self.shared.plan().name(name)?))
    }

    /// Sends `actor` the present state, and every change from there on, until it ends.
    ///
    /// On [`Status::Rehashing`] the listener may [`hold`](StateChange::hold) the round while it moves its data: the new
    /// view begins when every hold is dropped. It has [`HOLD_GRACE`](crate::HOLD_GRACE) to read the message and take the
    /// hold; the round does not wait for a listener that is busy for longer than that.
    ///
    /// `M::from` runs in the monitor of the cluster: let it do no more than wrap the change.
    ///
    /// [`StateChange`] has an example.
    pub fn subscribe<M>(&self, actor: &ActorRef<M>)
    where
        M: Message + From<StateChange>,
    {
        self.subscribe_with_grace(actor, HOLD_GRACE);
    }

    /// As [`subscribe`](Cloister::subscribe), but the listener has `grace` to read the message and take the hold: each
    /// round that finds it busy waits that long, `rehash_timeout` at most. For a store that must not miss a hold, at the
    /// price that a slow message of it delays the whole cluster.
    pub fn subscribe_with_grace<M>(&self, actor: &ActorRef<M>, grace: Duration)
    where
        M: Message + From<StateChange>,
    {
        self.shared.listeners().add(Listener::new(actor.clone(), HoldMode::Holds(grace)));
    }

    /// As [`subscribe`](Cloister::subscribe), and the listener warms up before planned changes. Before a node joins or leaves in order, it
    /// gets the members to be (`change.state.planned`) while all nodes are still up. Meanwhile it may [`hold`](StateChange::hold) the
    /// round, for `rehash_timeout` at most. The round itself then has less to do. A loss overtakes it: the round begins at once.
    ///
    /// [`StateChange::ring`] and [`StateChange::moved`] are those of the members to be. While any listener of the cluster warms up, all
    /// listeners get what is planned. A node that leaves waits for it before it leaves, within `drain_delay` and `drain_timeout` together.
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// use cloister::StateChange;
    ///
    /// # async fn copy_what_is_to_come(_: &StateChange) {}
    /// async fn on_change(change: StateChange) {
    ///     if change.state.planned.is_some() {
    ///         if let Some(hold) = change.hold() {
    ///             tokio::select! {
    ///                 () = copy_what_is_to_come(&change) => {}
    ///                 end = hold.over() => println!("the round began before all was copied: {end:?}"),
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn subscribe_with_warm_up<M>(&self, actor: &ActorRef<M>)
    where
        M: Message + From<StateChange>,
    {
        self.shared.listeners().add(Listener::new(actor.clone(), HoldMode::WarmsUp(HOLD_GRACE)));
        let incarnation = self.shared.incarnation();
        if let Some(monitor) = incarnation.monitor() {
            // A monitor that has not started asks by itself; one that has ended tells nothing any more.
            let _ = monitor.cast(MonitorMessage::WarmsUp);
        }
    }

    /// As [`subscribe`](Cloister::subscribe), but without holds: no round ever waits for this actor, not even for a moment.
    pub fn subscribe_without_hold<M>(&self, actor: &ActorRef<M>)
    where
        M: Message + From<StateChange>,
    {
        self.shared.listeners().add(Listener::new(actor.clone(), HoldMode::Without));
    }

    /// Waits until this node is up, for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`NotUpError`] lists what is missing, and why. It comes early if this node cannot come up at all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn example(cloister: &cloister_core::Cloister) {
    /// if let Err(not_up) = cloister.wait_until_up(Duration::from_secs(30)).await {
    ///     // One sentence with everything that is missing; `not_up.missing` has them one by one.
    ///     eprintln!("{not_up}");
    /// }
    /// # }
    /// ```
    pub async fn wait_until_up(&self, timeout: Duration) -> Result<(), NotUpError> {
        let mut progress = self.shared.progress();
        let reached = progress.wait_for(|progress| progress.status == Status::Up || progress.ended.is_some());
        let ended = match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(progress)) if progress.ended.is_none() => return Ok(()),
            Ok(Ok(progress)) => progress.ended.clone(),
            // The sender lives as long as this handle.
            Ok(Err(_)) | Err(_) => None,
        };
        let Readiness { status, missing, .. } = self.readiness().await;
        Err(NotUpError { timeout, status, missing, ended })
    }

    /// Waits until this node has ended, and says why: [`ExitReason::Left`] after [`leave`](Cloister::leave).
    ///
    /// ```
    /// # use cloister_core::{Cloister, ExitReason};
    /// # async fn example(cloister: &Cloister) -> Result<(), ExitReason> {
    /// match cloister.wait_stopped().await {
    ///     ExitReason::Left => Ok(()),
    ///     failed => Err(failed),
    /// }
    /// # }
    /// ```
    pub fn wait_stopped(&self) -> impl Future<Output = ExitReason> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let waiting = shared.wait_for_end();
        async move {
            let mut progress = shared.progress();
            let ended = progress.wait_for(|progress| progress.ended.is_some()).await;
            drop(waiting);
            // The sender lives as long as `shared`.
            ended.ok().and_then(|progress| progress.ended.clone()).unwrap_or(ExitReason::Left)
        }
    }

    /// Leaves the cluster. First this node drains: the [hooks](Cloister::on_drain) of the program run, and it serves as before. Then it
    /// claims nothing, the others take over while it is still linked, and it stops. Returns when that is done, at the latest a few seconds
    /// after `drain_delay`, `drain_timeout` and `leave_timeout` together. Leaving twice is leaving once.
    ///
    /// ```
    /// # async fn example(cloister: &cloister_core::Cloister) {
    /// cloister.leave().await;
    /// assert!(!cloister.is_mine("user:42"));
    /// # }
    /// ```
    pub async fn leave(&self) {
        self.shared.leave().await;
    }
}
