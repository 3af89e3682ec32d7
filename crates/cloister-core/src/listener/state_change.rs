//! What a listener is sent.

use std::sync::Arc;
use std::time::Duration;

use cloister_proto::{Change, ClusterState, Epoch, Ring, SlotTransfer, Status};

use super::hold::{Hold, HoldOffer};
use crate::placement::Rings;

/// For how long a round waits for a listener to take its [`Hold`], unless it was subscribed with another time.
pub const HOLD_GRACE: Duration = Duration::from_millis(200);

/// One step of the cluster as this node sees it.
///
/// ```standalone_crate
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
    /// The rings of the view that is being agreed on, or is installed.
    pub(super) rings: Option<Arc<Rings>>,
    pub(super) predecessor: Option<Epoch>,
    /// What the listener may hold the round with.
    pub(super) offer: Option<Arc<HoldOffer>>,
}

impl StateChange {
    /// The present state, in which nothing is different, without rings.
    pub(super) fn present(state: Arc<ClusterState>) -> Self {
        Self {
            seq: state.seq,
            from: state.status,
            to: state.status,
            changes: Arc::default(),
            state,
            moved: Arc::default(),
            rings: None,
            predecessor: None,
            offer: None,
        }
    }

    /// On [`Status::Rehashing`], makes the round wait: the new view does not begin before the hold and all its clones are dropped, or
    /// `rehash_timeout` is over. On [`Status::Stopping`], makes this node wait, which claims nothing any more and leaves: it stays
    /// linked until the hold is dropped, or `leave_timeout` is over.
    ///
    /// Take it when you begin to handle the change. `None` when nothing waits: the status is another one, or the round is over. A round
    /// also goes on if the hold was not taken within [`HOLD_GRACE`] (or the time given to
    /// [`subscribe_with_grace`](crate::Cloister::subscribe_with_grace)). A listener that remembers changes should remember their
    /// [`state`](Self::state). A change that is kept and never held is like one that was not read: every round waits for it that long.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.offer.as_ref()?.take()
    }

    /// The ring of this name, `None` for the ring over all members. While [`Status::Rehashing`] it is of the view that is being agreed on,
    /// else of the view that this node installed last. `None` without a view, and if no ring has the name.
    ///
    /// Unlike [`Cloister::whois`](crate::Cloister::whois) it tells the owners before the view begins:
    ///
    /// ```
    /// # use cloister_core::{NodeId, Slot, StateChange};
    /// # fn example(change: &StateChange, key: &[u8]) -> Option<NodeId> {
    /// let ring = change.ring(None)?;
    /// let copies = ring.owners_of(Slot::of(key), 2);
    /// # copies.first().map(|owner| (*owner).clone())
    /// # }
    /// ```
    #[must_use]
    pub fn ring(&self, name: Option<&str>) -> Option<Arc<Ring>> {
        self.rings.as_ref()?.shared(name)
    }

    /// What was agreed on before. It is the greatest epoch of the views that the members of [`ring`](Self::ring) had installed before.
    /// *Before* is the time at which the round of that ring came to this node. `None` if no member had installed any, or if there is no
    /// view.
    ///
    /// It is what the members have reported. A member that missed the last commit knows less than the others, so it is no proof
    /// that no later view was installed elsewhere.
    #[must_use]
    pub fn predecessor(&self) -> Option<Epoch> {
        self.predecessor
    }
}

/// What a change is about, besides the state: computed once for all listeners.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// The slots that this node takes and gives.
    pub(crate) moved: Vec<RingDiff>,
    /// The rings of the view that is being agreed on, or is installed.
    pub(crate) rings: Option<Arc<Rings>>,
    /// The greatest epoch that a member of that view had installed before it.
    pub(crate) predecessor: Option<Epoch>,
}

/// The slots of one ring that this node takes and gives.
///
/// [`StateChange`] has an example.
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
