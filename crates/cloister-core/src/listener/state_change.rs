//! What a listener is sent.

use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{Change, ClusterState, SlotTransfer, Status};

use super::hold::{Hold, HoldOffer};

/// For how long a round waits for a listener to take its [`Hold`], unless it was subscribed with another time.
pub const HOLD_GRACE: Duration = Duration::from_millis(200);

/// One step of the cluster as this node sees it.
///
/// ```
/// # extern crate cloister_core as cloister;
/// # use std::time::Duration;
/// use cloister::ractor::{Actor, ActorProcessingErr, ActorRef};
/// use cloister::ractor_cluster::RactorMessage;
/// use cloister::{Change, SlotTransfer, StateChange};
/// # use cloister::{Config, ManagerActor, ManagerArguments};
///
/// struct Store;
///
/// #[derive(RactorMessage)]
/// enum StoreMessage {
///     Changed(StateChange),
/// }
///
/// impl From<StateChange> for StoreMessage {
///     fn from(change: StateChange) -> Self {
///         Self::Changed(change)
///     }
/// }
///
/// impl Actor for Store {
///     type Msg = StoreMessage;
///     type State = ();
///     type Arguments = ();
///
///     async fn pre_start(&self, _: ActorRef<StoreMessage>, (): ()) -> Result<(), ActorProcessingErr> {
///         Ok(())
///     }
///
///     async fn handle(
///         &self,
///         _: ActorRef<StoreMessage>,
///         StoreMessage::Changed(change): StoreMessage,
///         (): &mut (),
///     ) -> Result<(), ActorProcessingErr> {
///         for change in change.changes.iter() {
///             match change {
///                 Change::NodeUp { node } => println!("{node} came"),
///                 Change::NodeDown { node, reason } => println!("{node} went: {reason}"),
///                 other => println!("{other:?}"),
///             }
///         }
///         // As long as this is held, no node is up in the new view, for `rehash_timeout` at most.
///         if let Some(hold) = change.hold() {
///             for lost in change.moved.iter().flat_map(|ring| &ring.lost) {
///                 send_away(lost).await;
///             }
///             drop(hold);
///         }
///         Ok(())
///     }
/// }
/// # async fn send_away(_: &SlotTransfer) {}
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let arguments = ManagerArguments::new(Config::new("shop"))?;
/// # let cloister = arguments.handle();
/// # Actor::spawn(None, ManagerActor, arguments).await?;
/// let (store, _) = Actor::spawn(None, Store, ()).await?;
/// cloister.subscribe(&store);
/// # cloister.wait_until_up(Duration::from_secs(10)).await?;
/// # cloister.leave().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StateChange {
    /// The number of this change; equals `state.seq`. The next message has the next number.
    pub seq: u64,
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
    /// What is different. Empty in the first message a listener gets.
    pub changes: Arc<[Change]>,
    /// The state now.
    pub state: Arc<ClusterState>,
    /// The slots that this node takes and gives, per ring: as planned while [`Status::Rehashing`], as done when
    /// the new view is [`Status::Up`]. Rings without a move are not named.
    pub moved: Arc<[RingDiff]>,
    /// What the listener may hold the round with.
    pub(super) offer: Option<Arc<HoldOffer>>,
}

impl StateChange {
    /// Makes the round wait: the new view does not begin before the hold and all its clones are dropped, or
    /// `rehash_timeout` is over.
    ///
    /// Take it when you begin to handle the change. `None` when no round waits: the status is not
    /// [`Status::Rehashing`], the round is over, or it went on because the hold was not taken within
    /// [`HOLD_GRACE`] (or the time given to [`subscribe_with_grace`](crate::Cloister::subscribe_with_grace)). A listener that
    /// remembers changes remembers their [`state`](Self::state): a change that is kept and never held is like one that was
    /// not read, and every round waits for it that long.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.offer.as_ref()?.take()
    }
}

/// The slots of one ring that this node takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingDiff {
    /// The name of the ring; `None` for the ring over all members.
    pub ring: Option<Arc<str>>,
    /// What this node takes, grouped by the node that gives.
    pub gained: Vec<SlotTransfer>,
    /// What this node gives, grouped by the node that takes.
    pub lost: Vec<SlotTransfer>,
}
