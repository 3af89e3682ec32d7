//! The actors of a table at one node.
//!
//! ```text
//!  peers' tables ──▶ TableActor ──▶ shard 0 … 3 ◀── Table (local operations)
//!  StateChange ───▶ ChangeActor ──▶   ▲
//!  every 200 ms ─────────────────────┘
//!  manager ──▶ GuardActor: a vital child, which ends when the table does
//! ```
//!
//! The children of a manager are stopped when a node begins to leave. The table must go on until the others have what it had, so only the
//! guard is a child.

use std::sync::Arc;
use std::time::Duration;

use cloister_core::{Message, StateChange, internal};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tracing::error;

use crate::changes::Changes;
use crate::core::Core;
use crate::message::TableMessage;
use crate::statistics;

/// How often what was not answered is sent again.
const TICK: Duration = Duration::from_millis(200);

/// Every how many ticks it is looked how the table stands.
const STATUS_TICKS: u64 = 5;

/// How long an actor of an incarnation before may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Starts a table under the manager; returns its guard.
pub(crate) async fn start(core: Arc<Core>, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (guard, _) = Actor::spawn_linked(None, GuardActor, core, supervisor).await?;
    Ok(guard.get_cell())
}

/// Watches over the actors of a table for the manager.
struct GuardActor;

#[derive(Debug, Message)]
#[message(local, crate = "cloister_core")]
struct NoMessage;

impl Actor for GuardActor {
    type Msg = NoMessage;
    type State = ();
    type Arguments = Arc<Core>;

    async fn pre_start(
        &self,
        myself: ActorRef<NoMessage>,
        core: Arc<Core>,
    ) -> Result<(), ActorProcessingErr> {
        // A manager that has failed leaves the table of its incarnation behind, and a node that has left ends its own a moment later.
        let leftover = core.exchange.runs(None).or_else(|| statistics::leftover(&core)?.exchange.runs(None));
        if let Some(before) = leftover {
            // One that does not end in time keeps its name, and then this start fails.
            let _ = before.stop_and_wait(None, Some(STOP_LIMIT)).await;
        }
        core.tasks.run_here();
        core.reset();
        let (table, _) = Actor::spawn(None, TableActor, Arc::clone(&core)).await?;
        myself.get_cell().monitor(table.get_cell());
        if let Err(error) = core.cloister.register(&core.actor, &table) {
            table.stop(None);
            return Err(error.into());
        }
        core.exchange.runs(Some(table.get_cell()));
        statistics::add(&core);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NoMessage>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(..) => Err("the table has ended".into()),
            SupervisionEvent::ActorFailed(_, cause) => Err(cause),
            _ => Ok(()),
        }
    }
}

/// Takes what other nodes send to a table.
struct TableActor;

struct TableState {
    core: Arc<Core>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for TableState {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.core.cloister.unregister(&self.core.actor);
        self.core.holds.clear();
        if self.core.is_stopping() {
            self.core.watches.end();
        }
    }
}

impl Actor for TableActor {
    type Msg = TableMessage;
    type State = TableState;
    type Arguments = Arc<Core>;

    async fn pre_start(
        &self,
        myself: ActorRef<TableMessage>,
        core: Arc<Core>,
    ) -> Result<TableState, ActorProcessingErr> {
        internal::monitor_registered(myself.get_cell());
        let (changes, _) =
            Actor::spawn_linked(None, ChangeActor, Arc::clone(&core), myself.get_cell()).await?;
        core.cloister.subscribe_with_warm_up(&changes);
        let ticks = tokio::spawn(tick(Arc::clone(&core), myself.clone()));
        // A node that has left needs its table no more, nor does one whose manager has failed.
        let left = internal::left(&core.cloister);
        let ends = tokio::spawn(async move {
            left.await;
            myself.stop(None);
        });
        Ok(TableState { core, tasks: vec![ticks, ends] })
    }

    async fn handle(
        &self,
        _: ActorRef<TableMessage>,
        message: TableMessage,
        state: &mut TableState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TableMessage::Packet { from, packet } => state.core.receive(from, packet),
            TableMessage::Count { epoch, reply } => {
                let count = state.core.count(cloister_core::Epoch::from_u64(epoch));
                // The caller may have given up.
                let _ = reply.send(count);
            }
            TableMessage::Watch { from, watch, epoch, filter } => {
                state.core.watch(from, watch, cloister_core::Epoch::from_u64(epoch), filter);
            }
            TableMessage::Unwatch { from, watch } => state.core.unwatch(from, watch),
            TableMessage::Watched { watched } => state.core.watches.take(watched),
            TableMessage::Leaves { from } => state.core.peer_leaves(from),
            TableMessage::Flush => state.core.exchange.flush(),
            TableMessage::Turn { reply } => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<TableMessage>,
        event: SupervisionEvent,
        state: &mut TableState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ProcessGroupChanged(change) if change.get_group() == state.core.actor => {
                state.core.look_at_links();
                Ok(())
            }
            SupervisionEvent::ActorFailed(_, cause) => Err(cause),
            _ => Ok(()),
        }
    }
}

/// Tells the table that time passes, and ends it when a shard has panicked.
async fn tick(core: Arc<Core>, actor: ActorRef<TableMessage>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0_u64.. {
        interval.tick().await;
        // While there is much to take in, what is not answered may be among it.
        if actor.call(|reply| TableMessage::Turn { reply }, None).await.is_err() {
            return;
        }
        core.tick();
        if number % STATUS_TICKS == 0 {
            core.look_at_status();
            core.look_at_view();
        }
        if core.has_failed() {
            error!(
                target: cloister_core::telemetry::TARGET, table = core.table,
                "a table has panicked: this node begins anew, and copies its entries from the others"
            );
            actor.kill();
            return;
        }
    }
}

/// Hears of every change of the cluster. It is an actor of its own, so that messages of other tables do not delay a round.
struct ChangeActor;

#[derive(Debug, Message)]
#[message(local, crate = "cloister_core")]
struct Changed(StateChange);

impl From<StateChange> for Changed {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for ChangeActor {
    type Msg = Changed;
    type State = Changes;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, _: ActorRef<Changed>, core: Arc<Core>) -> Result<Changes, ActorProcessingErr> {
        Ok(Changes::new(core))
    }

    async fn handle(
        &self,
        _: ActorRef<Changed>,
        Changed(change): Changed,
        changes: &mut Changes,
    ) -> Result<(), ActorProcessingErr> {
        changes.take(&change);
        Ok(())
    }
}
