//! What listener actors hear: every step of the cluster, from the present state on, without a gap.
//!
//! - The first message is the present state; each later one has the next `seq`.
//! - Changes are the difference of two states, so ups and downs of one life alternate.
//! - A listener that is dead is dropped; a slow one delays no other's messages, since mailboxes take them without
//!   waiting. But a change that it has not read yet still carries its [`Hold`], and holds the round, `rehash_timeout` at
//!   most: a listener that moves no data is better off with [`observe`](crate::Cloister::observe).

mod listeners;

use std::fmt;
use std::sync::Arc;

use cloister_proto::{Change, ClusterState, Epoch, Move, Status};
use ractor::{ActorId, ActorRef, Message};

use crate::monitor::MonitorMessage;

pub(crate) use listeners::Listeners;

/// One step of the cluster as this node sees it.
///
/// ```
/// # extern crate cloister_core as cloister;
/// # use std::time::Duration;
/// use cloister::ractor::{Actor, ActorProcessingErr, ActorRef};
/// use cloister::ractor_cluster::RactorMessage;
/// use cloister::{Change, Move, StateChange};
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
///         if let Some(hold) = change.hold {
///             for lost in change.moved.iter().flat_map(|ring| &ring.lost) {
///                 send_away(lost).await;
///             }
///             drop(hold);
///         }
///         Ok(())
///     }
/// }
/// # async fn send_away(_: &Move) {}
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
    pub moved: Arc<[RingMoves]>,
    /// While the round waits for listeners: keep this (or a clone) for as long as the new view must not
    /// begin. `None` when nothing waits.
    pub hold: Option<Hold>,
}

/// The slots of one ring that this node takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingMoves {
    /// The name of the ring; `None` for the ring over all members.
    pub ring: Option<Arc<str>>,
    /// What this node takes, grouped by who gives.
    pub gained: Vec<Move>,
    /// What this node gives, grouped by who takes.
    pub lost: Vec<Move>,
}

/// Keeps a new view from beginning until it and all its clones are dropped, or `rehash_timeout` is over.
///
/// A listener that does not care drops it with its message; one that moves data keeps it while it works.
#[derive(Clone)]
pub struct Hold(Arc<Holding>);

struct Holding {
    epoch: Epoch,
    monitor: ActorRef<MonitorMessage>,
}

impl Hold {
    pub(crate) fn new(epoch: Epoch, monitor: ActorRef<MonitorMessage>) -> Self {
        Self(Arc::new(Holding { epoch, monitor }))
    }

    /// The epoch of the view that waits.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.epoch).finish()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // A monitor that is gone waits for nobody.
        let _ = self.monitor.cast(MonitorMessage::Unheld(self.epoch));
    }
}

/// Whether the rounds of the cluster wait for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The listener gets a [`Hold`].
    Holds,
    /// The listener gets none.
    Watches,
}

/// One actor that is told of every change.
pub(crate) struct Listener {
    id: ActorId,
    patience: Patience,
    tell: Box<dyn Fn(StateChange) -> Delivery + Send>,
}

/// Whether a listener took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Taken,
    Dead,
}

impl Listener {
    pub(crate) fn new<M>(actor: ActorRef<M>, patience: Patience) -> Self
    where
        M: Message + From<StateChange>,
    {
        let id = actor.get_id();
        let tell = move |change: StateChange| match actor.cast(M::from(change)) {
            Ok(()) => Delivery::Taken,
            Err(_) => Delivery::Dead,
        };
        Self { id, patience, tell: Box::new(tell) }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("id", &self.id).field("patience", &self.patience).finish()
    }
}
