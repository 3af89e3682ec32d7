//! What is watched from this node, and from others.

use cloister_core::{CallError, Epoch, NodeId};

use super::Core;
use crate::message::TableMessage;
use crate::watching::{Filter, Watched, Watcher};

fn is_overload(error: &CallError) -> bool {
    matches!(error, CallError::Overloaded { .. })
}

impl Core {
    /// The nodes that a watch asks.
    pub(crate) fn watched_nodes(&self) -> Vec<NodeId> {
        self.cloister.state().members.iter().map(|member| member.id.clone()).collect()
    }

    /// Asks all members for what a watch is about.
    pub(crate) fn ask_again(&self, watch: u64) {
        let (Some(epoch), Some(filter)) = (self.view.epoch(), self.watches.filter(watch)) else {
            return;
        };
        for node in self.watched_nodes() {
            if self.ask(&node, watch, epoch, &filter) {
                self.watches.lock().unasked([(watch, node)]);
            }
        }
    }

    /// Returns whether the node must be asked again, since too much waits to be sent to it.
    pub(super) fn ask(&self, node: &NodeId, watch: u64, epoch: Epoch, filter: &Filter) -> bool {
        let from = self.cloister.node().incarnation().0;
        let message = TableMessage::Watch { from, watch, epoch: epoch.as_u64(), filter: filter.clone() };
        // One whose table is not linked yet is asked when it is.
        self.cloister.cast_on(&self.actor, node, message).is_err_and(|error| is_overload(&error))
    }

    /// Asks the nodes to which too much waited to be sent.
    pub(super) fn ask_missed(&self) {
        for (watch, node) in self.watches.take_unasked() {
            if let (Some(epoch), Some(filter)) = (self.view.epoch(), self.watches.filter(watch))
                && self.ask(&node, watch, epoch, &filter)
            {
                self.watches.lock().unasked([(watch, node)]);
            }
        }
    }

    /// This node is up in a view: all watches ask anew.
    pub(crate) fn watch_again(&self, epoch: Epoch) {
        self.watches.begin(epoch).into_iter().for_each(|watch| self.ask_again(watch));
    }

    /// A node watches what is owned here.
    pub(crate) fn watch(&self, from: u64, watch: u64, epoch: Epoch, filter: Filter) {
        let me = self.cloister.node();
        let node = if me.incarnation().0 == from { Some(me) } else { self.peer(from) };
        let Some(node) = node else { return };
        let watcher = Watcher { node, watch, epoch, filter };
        self.all().for_each(|mut shard| shard.watch(self, watcher.clone()));
    }

    pub(crate) fn unwatch(&self, from: u64, watch: u64) {
        self.all().for_each(|mut shard| shard.unwatch(from, watch));
    }

    /// Notifies a watcher. Returns whether it must be notified again, since too much waits to be sent to its node.
    pub(crate) fn send_to_watcher(&self, node: &NodeId, watched: Watched) -> bool {
        match self.cloister.cast_on(&self.actor, node, TableMessage::Watched { watched }) {
            Err(error) if is_overload(&error) => true,
            Err(error @ CallError::TooLarge { .. }) => {
                self.exchange.too_large(&error);
                false
            }
            // A watcher that is not linked any more asks anew when it is.
            Ok(()) | Err(_) => false,
        }
    }
}
