//! The nodes whose tables are linked with this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use cloister_core::NodeId;
use cloister_core::internal::{self, PeerActor};
use cloister_table_proto::Event;

use super::Core;
use crate::message::TableMessage;
use crate::watching::Watching;

/// The nodes whose tables are linked.
#[derive(Debug, Default)]
pub(super) struct Links {
    actors: BTreeMap<NodeId, PeerActor>,
    by_incarnation: BTreeMap<u64, NodeId>,
    /// The incarnations that leave.
    leaving: BTreeSet<u64>,
    /// Those that know that this node leaves.
    informed: BTreeMap<NodeId, PeerActor>,
    /// The incarnation of this node that the shards are of.
    pub(super) me: Option<NodeId>,
}

impl Links {
    /// None yet.
    pub(super) fn of(me: &NodeId) -> Self {
        Self { me: Some(me.clone()), ..Self::default() }
    }
}

impl Core {
    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which nodes are linked, and whether this node has begun a new incarnation.
    pub(crate) fn look_at_links(&self) {
        let mut links = self.links();
        let me = self.cloister.node();
        if links.me.as_ref() != Some(&me) {
            self.begin_anew(&mut links, &me);
        }
        let now = internal::peer_actors(&self.cloister, &self.actor);
        let before = std::mem::replace(&mut links.actors, now.clone());
        if before != now {
            self.exchange.set_peers(now.clone());
        }
        links.by_incarnation = now.keys().map(|node| (node.incarnation().0, node.clone())).collect();
        for (node, _) in before.iter().filter(|(node, actor)| now.get(node) != Some(actor)) {
            self.handle(&Event::Unlinked(node.clone()));
        }
        for (node, _) in now.iter().filter(|(node, actor)| before.get(node) != Some(actor)) {
            self.handle(&Event::Linked(node.clone()));
            // What its table told before may be lost.
            if let Some(epoch) = self.view.epoch() {
                let unasked =
                    |(watch, watching): &(u64, &Watching)| self.ask(node, *watch, epoch, watching.filter());
                let mut watches = self.watches.lock();
                let unasked: Vec<_> =
                    watches.iter().filter(unasked).map(|(watch, _)| (watch, node.clone())).collect();
                watches.unasked(unasked);
            }
        }
        if !self.is_stopping() {
            return;
        }
        for (node, _) in now.iter().filter(|(node, actor)| links.informed.get(node) != Some(actor)) {
            let message = TableMessage::Leaves { from: me.incarnation().0 };
            // One that does not get it waits until `leave_timeout` if it leaves, too.
            let _ = self.cloister.cast_on(&self.actor, node, message);
        }
        links.informed = now;
        if links.informed.keys().all(|node| links.leaving.contains(&node.incarnation().0)) {
            // No node is there to take what this one has: there is none, or all of them leave.
            self.holds.clear();
        }
    }

    /// A node leaves: it takes no entries any more.
    pub(crate) fn peer_leaves(&self, incarnation: u64) {
        self.links().leaving.insert(incarnation);
        self.look_at_links();
    }

    /// The linked node of this incarnation.
    pub(super) fn peer(&self, incarnation: u64) -> Option<NodeId> {
        let known = self.links().by_incarnation.get(&incarnation).cloned();
        known.or_else(|| {
            self.look_at_links();
            self.links().by_incarnation.get(&incarnation).cloned()
        })
    }
}
