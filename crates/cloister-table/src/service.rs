//! What answers messages for keys at their owner, with rows of a table as its memory. Entities are made of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloister_core::{Cloister, Epoch, Slot};
use cloister_table_proto::Event;
use ractor::concurrency::oneshot;
use tokio::sync::broadcast;
use tokio::time::sleep;

use crate::core::Core;
use crate::delivery::Commit;
use crate::event::TableEvent;
use crate::holds::Waits;
use crate::message::{Answer, Outcome};
use crate::options::TableOptions;
use crate::reply::Reply;

pub use crate::blob::Blob;
pub use crate::delivery::{Accepted, Delivery, MessageId, ReplyTo};
pub use crate::error::{Destination, answered};
pub use crate::leaving::Leaving;
pub use crate::options::{decode, encode};
pub use cloister_table_proto::Bytes;

/// What answers messages for keys at their owner. Its methods are called under a lock of the table: they take note, and let tasks do
/// the work.
pub trait Service: Send + Sync + 'static {
    /// A message for a key that this node serves at this moment. It may have been committed before, and is sent again:
    /// [`ServiceTable::is_committed`].
    fn deliver(&self, table: &ServiceTable, delivery: Delivery);

    /// This node serves a slot from now on in its present view, with these rows. Those that are not looked at cost nothing.
    fn serves(&self, table: &ServiceTable, slot: Slot, rows: &mut dyn Iterator<Item = (&[u8], &[u8])>);

    /// A view has ended here: this node serves nothing until each slot is released.
    fn ended(&self);

    /// A table has heard that the view of `epoch` follows the view of `predecessor`, which may be later than the membership knew
    /// ([`StateChange::predecessor`](cloister_core::StateChange::predecessor)). Before that view begins here, or after.
    fn follows(&self, epoch: Epoch, predecessor: Epoch) {
        let _ = (epoch, predecessor);
    }

    /// Planned copies are being made for the next view. What is not written yet is written now; the round waits until `planned` is
    /// dropped.
    fn planned(&self, table: &ServiceTable, planned: Planned);

    /// What was planned is withdrawn: its round begins, or it comes to nothing.
    fn withdrawn(&self) {}

    /// This node leaves. It serves nothing any more, and stays linked until `leaving` is dropped, or `timing.leave_timeout` is over.
    fn leaves(&self, leaving: Leaving) {
        drop(leaving);
    }

    /// Whether a message whose answer was lost is sent again, which a table notices.
    fn repeats(&self) -> bool {
        true
    }

    /// This node begins a new incarnation, with an empty table.
    fn reset(&self);
}

/// What a table is for.
pub(crate) enum Purpose {
    /// The program reads and writes it.
    Table,
    /// It is the memory of a service.
    Service(Arc<dyn Service>),
}

impl Purpose {
    /// What nodes call it when they tell each other how it is defined.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Purpose::Table => "table",
            Purpose::Service(_) => "entity",
        }
    }

    /// What all nodes must define alike.
    pub(crate) fn definition(&self, options: &TableOptions) -> String {
        let definition = options.definition();
        match self {
            // One that sends nothing again has a store. A node without it would begin each state anew.
            Purpose::Service(service) if !service.repeats() => format!("{definition}, states in a store"),
            _ => definition,
        }
    }
}

/// An announced round, which waits until this is dropped.
#[derive(Debug)]
pub struct Planned {
    pub(crate) table: ServiceTable,
    pub(crate) number: u64,
}

impl Drop for Planned {
    fn drop(&mut self) {
        self.table.core.holds.release(Waits::Planned(self.number), Core::SERVICE);
    }
}

/// What became of a [`ServiceTable::commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// All copies have it. The answer is that of the first commit for this message.
    Done(Bytes),
    /// The row is not the expected one: nothing was done.
    Changed,
    /// The tables of this node have so many bytes, and may have no more than `max`. Nothing was done.
    Full {
        /// How many bytes they have, with copies.
        bytes: u64,
        /// How many they may have: `limits.table_bytes`.
        max: u64,
    },
    /// Nothing was done: this node does not serve the key at this moment.
    Refused(String),
    /// The view ended before all copies had it.
    Uncertain,
}

/// The table of a service, at this node; cheap to clone.
#[derive(Clone)]
pub struct ServiceTable {
    pub(crate) core: Arc<Core>,
}

impl fmt::Debug for ServiceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTable").field("name", &self.core.table).finish_non_exhaustive()
    }
}

impl ServiceTable {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.table
    }

    /// The cluster.
    #[must_use]
    pub fn cloister(&self) -> &Cloister {
        &self.core.cloister
    }

    /// What becomes of the copies from now on, as [`Table::events`](crate::Table::events).
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<TableEvent> {
        self.core.events.subscribe()
    }

    /// Accepts losses, as [`Table::accept_loss`](crate::Table::accept_loss).
    pub fn accept_loss(&self) {
        self.core.handle(&Event::AcceptLoss);
    }

    /// The row of a key, as all copies have it; `None` if this node does not serve the key at this moment.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Option<Option<Bytes>> {
        Some(self.core.read(key)?.map(|row| row.0))
    }

    /// Whether the message was committed before: [`commit`](Self::commit) gives its answer then.
    #[must_use]
    pub fn is_committed(&self, message: &Accepted) -> bool {
        message.request_ids().any(|id| self.core.has_answered(&message.key, id))
    }

    /// Gives the key of a message another row, if it still has the expected one, and keeps the answer for when its sender asks again.
    /// A message that was committed before is answered as it was then. `None` for a row is none.
    pub async fn commit(
        &self,
        message: &Accepted,
        expected: Option<Bytes>,
        new: Option<Bytes>,
        answer: Bytes,
    ) -> Committed {
        let (port, answered) = oneshot();
        let operation = Commit { expected, new, answer };
        self.core.commit(message, operation, Reply::from(port));
        match answered.await {
            Ok(Answer::Written(outcome)) => match decode(&outcome.0) {
                Ok(Outcome::Returned(answer)) => Committed::Done(answer.0),
                Ok(Outcome::Full { bytes, max }) => Committed::Full { bytes, max },
                Ok(Outcome::Failed(cause)) => Committed::Refused(cause),
                _ => Committed::Changed,
            },
            Ok(Answer::Refused(cause)) => Committed::Refused(cause),
            _ => Committed::Uncertain,
        }
    }

    /// Shows the rows of a slot that this node has, under a lock of the table, whether it serves them or not. Returns how many there are.
    pub fn look_through(&self, slot: Slot, look: &mut dyn FnMut(&[u8], &[u8])) -> usize {
        self.core.look_through(slot, look)
    }

    /// The keys of the rows whose owner is this node, encoded.
    pub fn local_keys(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.core.local_entries().map(|(key, _)| key)
    }

    /// Runs a task on the runtime that the table was started on. One of a caller may end before the table does. The task is dropped if
    /// that runtime has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.core.tasks.spawn(task);
    }

    /// Waits until this node may not act under this epoch any more.
    pub async fn claim_ends(&self, epoch: Epoch) {
        let mut view = self.core.view.subscribe();
        while let Some(claim) = self.core.cloister.claim().filter(|claim| claim.epoch() == epoch) {
            // The lease is renewed meanwhile, most of the time. That of a node which is alone has no end, but another node may join.
            tokio::select! {
                () = sleep(claim.left().max(Duration::from_millis(1))) => {}
                changed = view.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The epoch under which this node may act at this moment.
    #[must_use]
    pub fn claim(&self) -> Option<Epoch> {
        self.core.claim()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use cloister_core::{Config, ManagerArguments, NodeId, Ring};
    use cloister_table_proto::Placement;

    use super::*;

    /// Notes what it hears.
    #[derive(Default)]
    struct Notes(Mutex<Vec<&'static str>>);

    impl Notes {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Service for Notes {
        fn deliver(&self, _: &ServiceTable, _: Delivery) {}

        fn serves(&self, _: &ServiceTable, _: Slot, _: &mut dyn Iterator<Item = (&[u8], &[u8])>) {}

        fn ended(&self) {
            self.note("ended");
        }

        fn planned(&self, _: &ServiceTable, _: Planned) {
            self.note("planned");
        }

        fn withdrawn(&self) {
            self.note("withdrawn");
        }

        fn reset(&self) {}
    }

    #[test]
    fn a_service_hears_of_what_is_planned_and_that_it_is_withdrawn() {
        let arguments = ManagerArguments::new(Config::new("planned")).unwrap();
        let notes = Arc::<Notes>::default();
        let kind = Purpose::Service(Arc::clone(&notes) as _);
        let core = Core::new(&arguments, "planned", TableOptions::default(), kind);
        let members: Arc<[NodeId]> = [arguments.handle().node()].into();
        let replicas = Arc::new(Ring::new(members.iter()).replicas(1));
        let placement = Placement::new(Epoch::ZERO, Epoch::ZERO, members, replicas);
        core.plan(1, &Event::Planned(Some(placement)));
        core.plan(1, &Event::Planned(None));
        assert_eq!(*notes.0.lock().unwrap(), ["planned", "withdrawn"]);
    }
}
