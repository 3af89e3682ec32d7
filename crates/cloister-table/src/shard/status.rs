//! How a shard stands.

use cloister_core::{Epoch, Slot};
use cloister_table_proto::ViewWait;

use super::Shard;
use crate::core::Core;
use crate::standing::ShardStatus;

impl Shard {
    /// How the shard stands, if each slot should have so many copies. Costs a pass over its slots, until all of them have all their copies.
    pub(crate) fn status(&mut self, copies: usize) -> ShardStatus {
        let mut status = ShardStatus { moving: self.table.fetching(), ..ShardStatus::default() };
        for (_, _, content) in self.table.held_slots() {
            status.rows += content.len();
            status.bytes += content.bytes();
        }
        let view = self.table.view().filter(|(_, up)| *up).map(|(epoch, _)| epoch);
        status.is_between_views = view.is_none();
        if view.is_none() || self.replicated == view {
            return status;
        }
        status.missing_nodes = copies.saturating_sub(self.table.copies());
        if status.missing_nodes > 0 {
            status.under_replicated = self.table.owned_slots().count();
            return status;
        }
        let owned = self.table.owned_slots().filter_map(|slot| self.table.slot_status(slot));
        status.under_replicated = owned.filter(|slot| slot.complete < slot.wanted || !slot.serves).count();
        self.replicated = view.filter(|_| status.under_replicated == 0);
        status
    }

    /// What the view that this node promised waits for here.
    pub(crate) fn view_wait(&self) -> Option<ViewWait> {
        self.table.view_wait()
    }

    /// Shows the rows of a slot that this node has. Returns how many there are.
    pub(crate) fn look_through(&self, slot: Slot, look: &mut dyn FnMut(&[u8], &[u8])) -> usize {
        let Some(content) = self.table.content(slot) else { return 0 };
        content.entries().for_each(|(key, row)| look(key, row));
        content.len()
    }

    /// How many entries the slots have that this node serves in the view of `epoch`; `None` if it does not serve all that it owns.
    pub(crate) fn count(&self, core: &Core, epoch: Epoch) -> Option<u64> {
        if core.claim() != Some(epoch) || self.table.view() != Some((epoch, true)) {
            return None;
        }
        let owned: Vec<Slot> = self.table.owned_slots().collect();
        if !owned.iter().all(|slot| self.table.slot_status(*slot).is_some_and(|slot| slot.serves)) {
            return None;
        }
        let held = self.table.held_slots().filter(|(slot, ..)| owned.binary_search(slot).is_ok());
        Some(held.map(|(_, _, content)| content.len() as u64).sum())
    }
}
