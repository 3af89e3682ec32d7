//! How a table stands, and which events of that its program gets.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use cloister_core::telemetry::TARGET;
use cloister_core::{NodeId, Slot};
use cloister_table_proto::ViewWait;
use tracing::{info, warn};

use super::{Core, CoreStatus, LONG_WAIT, Unlogged};
use crate::event::TableEvent;
use crate::shard::Losses;
use crate::standing::ShardStatus;
use crate::statistics;

impl Core {
    /// Shows the rows of a slot that this node has. Returns how many there are.
    pub(crate) fn look_through(&self, slot: Slot, look: &mut dyn FnMut(&[u8], &[u8])) -> usize {
        self.shard(Self::index_of(slot)).map_or(0, |shard| shard.look_through(slot, look))
    }

    /// Tells the program what a shard has lost, while the shard is locked: before it serves anything without that.
    pub(crate) fn report_losses(&self, losses: Losses) {
        let Losses { lost, waiting } = losses;
        if lost.is_empty() && waiting.is_empty() {
            return;
        }
        let (certain, doubtful): (Vec<_>, Vec<_>) = lost.into_iter().partition(|(_, certain)| *certain);
        {
            let mut status = self.status_mut();
            status.lost += (certain.len() + doubtful.len()) as u64;
            status.unlogged.certain += certain.len();
            status.unlogged.doubtful += doubtful.len();
            status.unlogged.waiting += waiting.len();
        }
        for (certain, lost) in [(true, certain), (false, doubtful)] {
            if !lost.is_empty() {
                let slots = lost.into_iter().map(|(slot, _)| slot).collect();
                // There may be no reader.
                let _ = self.events.send(TableEvent::Lost { slots, certain });
            }
        }
        if !waiting.is_empty() {
            let _ = self.events.send(TableEvent::WaitsForCopy { slots: waiting });
        }
    }

    /// Logs what was lost since the last tick: one line for all shards.
    pub(super) fn log_losses(&self) {
        let Unlogged { certain, doubtful, waiting } = std::mem::take(&mut self.status_mut().unlogged);
        let table = &self.table;
        if certain > 0 {
            warn!(
                target: TARGET, table, slots = certain,
                "all copies of slots of a table are gone, so they go on empty: load their entries again; more copies \
                 (`TableOptions::copies`) survive more losses at once",
            );
        }
        if doubtful > 0 {
            warn!(
                target: TARGET, table, slots = doubtful,
                "writes to slots of a table may be lost, and the slots go on with what there is: compare their entries with where \
                 they come from; more copies (`TableOptions::copies`) survive more losses at once",
            );
        }
        if waiting > 0 {
            warn!(
                target: TARGET, table, slots = waiting,
                "all copies of slots of a table are gone, and they wait: start a node that has a copy, or accept the loss by \
                 `accept_loss`",
            );
        }
    }

    /// Logs, once, what a view waits for if it has waited long.
    pub(crate) fn look_at_view(&self) {
        let Some((waited, shards)) = self.holds.long_wait(LONG_WAIT) else { return };
        let mut wait = ViewWait::default();
        for of_shard in shards
            .into_iter()
            .filter_map(|index| self.shard(index.into()).and_then(|shard| shard.view_wait()))
        {
            wait.add(of_shard);
        }
        let names = |nodes: &BTreeSet<NodeId>| {
            nodes.iter().map(|node| node.name().to_string()).collect::<Vec<_>>().join(" ")
        };
        info!(
            target: TARGET, table = self.table, ?waited, slots = wait.slots, asked = names(&wait.reports),
            fetched_from = names(&wait.sources), informed = names(&wait.informs),
            "a view waits for this table: nodes that were asked what they have, or are fetched from, have not answered yet",
        );
    }

    /// How many bytes this table has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.iter().map(|shard| shard.load(Ordering::SeqCst)).sum()
    }

    /// A value of this shard, which is locked, takes so many bytes more. Returns how many all tables of this node have and may have, if
    /// that is too much.
    pub(crate) fn grow(&self, shard: u8, more: usize) -> Result<(), (u64, u64)> {
        let (shard, more) = (&self.bytes[usize::from(shard)], more as u64);
        // Before it is looked how many there are: of two writes that fit one at a time, one sees the other.
        shard.fetch_add(more, Ordering::SeqCst);
        if let Some(max) = self.max_bytes {
            let bytes = statistics::bytes_of(&self.cloister);
            if bytes > max {
                shard.fetch_sub(more, Ordering::SeqCst);
                return Err((bytes - more, max));
            }
        }
        Ok(())
    }

    /// Looks how the table stands, and tells when that has changed.
    pub(crate) fn look_at_status(&self) {
        let mut now = ShardStatus::default();
        for (shard, bytes) in self.shards.iter().zip(&self.bytes) {
            let Ok(mut shard) = shard.lock() else { continue };
            let one = shard.status(self.options.copies);
            // While it is locked: what is written from now on comes on top.
            bytes.store(one.bytes as u64, Ordering::SeqCst);
            now.add(one);
        }
        let before = {
            let mut status = self.status_mut();
            if now.is_between_views {
                // As it was in the view before, until the next one says more.
                let ShardStatus { under_replicated, missing_nodes, .. } = status.all;
                now = ShardStatus { under_replicated, missing_nodes, ..now };
            }
            std::mem::replace(&mut status.all, now)
        };
        let (slots, missing_nodes) = (now.under_replicated, now.missing_nodes);
        if (before.under_replicated, before.missing_nodes) == (slots, missing_nodes) {
            return;
        }
        let table = &self.table;
        if missing_nodes > 0 {
            let (copies, members) = (self.options.copies, self.options.copies - missing_nodes);
            info!(
                target: TARGET, table, under_replicated = slots, copies, members,
                "there are fewer members than a table should have copies: start more nodes, or define it with fewer copies",
            );
        } else {
            info!(target: TARGET, table, under_replicated = slots, "copies of a table are being made");
        }
        let event = match slots {
            0 => TableEvent::Replicated,
            slots => TableEvent::UnderReplicated { slots, missing_nodes },
        };
        let _ = self.events.send(event);
    }

    pub(crate) fn status(&self) -> CoreStatus {
        *self.status_mut()
    }

    fn status_mut(&self) -> MutexGuard<'_, CoreStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
