//! Which views this node was up in, one after the other without a gap: whether another node may have served a key meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloister_core::ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use cloister_core::{Cloister, Epoch, Message, NodeId, Ring, Slot, StateChange, Status};

/// How many views are remembered.
const MAX_VIEWS: usize = 64;

/// The last views that this node was up in, without a gap between them.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    views: VecDeque<(Epoch, Arc<Ring>)>,
    /// The last view of which a table has heard what it follows, and that.
    heard: Option<(Epoch, Epoch)>,
}

impl Known {
    /// If this node was up in the view that a table has heard of, and in another one before than that follows, another node may have served
    /// since.
    fn look_for_gap(&mut self) {
        let Some((epoch, predecessor)) = self.heard else { return };
        let Ok(at) = self.views.binary_search_by_key(&epoch, |(its, _)| *its) else { return };
        if at
            .checked_sub(1)
            .and_then(|before| self.views.get(before))
            .is_some_and(|(its, _)| *its < predecessor)
        {
            self.views.drain(..at);
        }
    }
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table has heard what the view of `epoch` follows: nodes that leave know of views that the membership does not.
    pub(crate) fn follows(&self, epoch: Epoch, predecessor: Epoch) {
        let mut known = self.lock();
        if known.heard.is_none_or(|(before, _)| before <= epoch) {
            known.heard = Some((epoch, predecessor));
        }
        known.look_for_gap();
    }

    /// This node is up in a view; before it, its members had installed `predecessor`.
    fn begin(&self, epoch: Epoch, predecessor: Option<Epoch>, ring: Arc<Ring>) {
        let mut known = self.lock();
        let views = &mut known.views;
        let last = views.back().map(|(epoch, _)| *epoch);
        if last == Some(epoch) {
            return;
        }
        if last != predecessor {
            views.clear();
        }
        if views.len() == MAX_VIEWS {
            views.pop_front();
        }
        views.push_back((epoch, ring));
        known.look_for_gap();
    }

    /// Whether a node has owned a slot in all views from one to another; `None` if this node is about to hear of the last one.
    pub(crate) fn has_owned(&self, node: &NodeId, slot: Slot, from: Epoch, to: Epoch) -> Option<bool> {
        let views = &self.lock().views;
        if views.back().is_none_or(|(last, _)| *last < to) {
            return None;
        }
        let mut since = views.iter().skip_while(|(epoch, _)| *epoch < from).peekable();
        let is_known = since.peek().is_some_and(|(first, _)| *first == from);
        Some(is_known && since.all(|(_, ring)| ring.owner(slot) == Some(node)))
    }
}

/// Hears of every view.
struct ViewActor;

#[derive(Debug, Message)]
#[message(local, crate = "cloister_core")]
struct Changed(StateChange);

impl From<StateChange> for Changed {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

/// Has views noted, under the manager.
pub(crate) async fn start(
    views: Arc<Views>,
    cloister: Cloister,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, ViewActor, views, supervisor).await?;
    cloister.subscribe_without_hold(&actor);
    Ok(actor.get_cell())
}

impl Actor for ViewActor {
    type Msg = Changed;
    type State = Arc<Views>;
    type Arguments = Arc<Views>;

    async fn pre_start(
        &self,
        _: ActorRef<Changed>,
        views: Arc<Views>,
    ) -> Result<Arc<Views>, ActorProcessingErr> {
        Ok(views)
    }

    async fn handle(
        &self,
        _: ActorRef<Changed>,
        Changed(change): Changed,
        views: &mut Arc<Views>,
    ) -> Result<(), ActorProcessingErr> {
        if let (Status::Up, Some(view), Some(ring)) = (change.to, &change.state.view, change.ring(None)) {
            views.begin(view.epoch(), change.predecessor(), ring);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cloister_core::Incarnation;

    use super::*;

    #[test]
    fn a_slot_was_owned_all_the_time_if_no_view_is_missing_and_none_gave_it_to_another_node() {
        let node = |host: &str| NodeId::new(format!("node@{host}:1").parse().unwrap(), Incarnation(1), 1);
        let (a, b) = (node("a"), node("b"));
        let alone = Arc::new(Ring::new([&a]));
        let both = Arc::new(Ring::new([&a, &b]));
        let [stays, moves] =
            [&a, &b].map(|node| Slot::all().find(|slot| both.owner(*slot) == Some(node)).unwrap());
        let epoch = Epoch::from_u64;
        let views = Views::default();
        let has_owned = |slot, from, to| views.has_owned(&a, slot, epoch(from), epoch(to));
        assert_eq!(has_owned(stays, 1, 1), None);
        views.begin(epoch(1), None, Arc::clone(&alone));
        views.begin(epoch(2), Some(epoch(1)), Arc::clone(&both));
        views.begin(epoch(2), Some(epoch(1)), both);
        views.begin(epoch(3), Some(epoch(2)), Arc::clone(&alone));
        assert_eq!(has_owned(stays, 1, 3), Some(true));
        assert_eq!(has_owned(moves, 1, 3), Some(false));
        assert_eq!(has_owned(moves, 3, 3), Some(true));
        assert_eq!(has_owned(stays, 1, 5), None, "it is to hear of that view");
        // Others have had a view without this node.
        views.begin(epoch(5), Some(epoch(4)), alone);
        assert_eq!(has_owned(stays, 3, 5), Some(false));
        assert_eq!(has_owned(stays, 5, 5), Some(true));
    }

    #[test]
    fn a_view_that_only_a_table_has_heard_of_is_a_gap() {
        let node = NodeId::new("node@a:1".parse().unwrap(), Incarnation(1), 1);
        let ring = Arc::new(Ring::new([&node]));
        let slot = Slot::all().next().unwrap();
        let epoch = Epoch::from_u64;
        for hears_first in [true, false] {
            let views = Views::default();
            let has_owned = |from, to| views.has_owned(&node, slot, epoch(from), epoch(to));
            views.begin(epoch(1), None, Arc::clone(&ring));
            views.begin(epoch(2), Some(epoch(1)), Arc::clone(&ring));
            // What is known already changes nothing.
            views.follows(epoch(2), epoch(1));
            assert_eq!(has_owned(1, 2), Some(true));
            // As far as the membership knows, the view 5 follows the view 2. A node that leaves was in the view 4.
            if hears_first {
                views.follows(epoch(5), epoch(4));
                assert_eq!(has_owned(1, 2), Some(true), "it has not begun");
            }
            views.begin(epoch(5), Some(epoch(2)), Arc::clone(&ring));
            if !hears_first {
                assert_eq!(has_owned(2, 5), Some(true));
                views.follows(epoch(5), epoch(4));
            }
            assert_eq!((has_owned(2, 5), has_owned(5, 5)), (Some(false), Some(true)), "{hears_first}");
            views.begin(epoch(6), Some(epoch(5)), Arc::clone(&ring));
            assert_eq!(has_owned(5, 6), Some(true));
        }
    }
}
