//! The inboxes of other nodes, by the connection that they are reached by.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ractor::{ActorCell, ActorStatus};

/// How many are remembered. A connection that has ended leaves one behind.
const MAX_KNOWN: usize = 1_024;

/// The inboxes that were found: a table that is replaced as a whole, and read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Inboxes(ArcSwap<HashMap<u64, ActorCell>>);

impl Inboxes {
    /// The inbox of the node whose connection has this number, as far as `find` finds it or has found it.
    pub(crate) fn get(&self, number: u64, find: impl FnOnce() -> Option<ActorCell>) -> Option<ActorCell> {
        let lives = |actor: &&ActorCell| actor.get_status() < ActorStatus::Stopping;
        if let Some(known) = self.0.load().get(&number).filter(lives) {
            return Some(known.clone());
        }
        let found = find()?;
        self.0.rcu(|known| {
            let mut known: HashMap<u64, ActorCell> = match known.len() {
                MAX_KNOWN.. => HashMap::new(),
                _ => known.iter().filter(|(_, actor)| lives(actor)).map(|(n, a)| (*n, a.clone())).collect(),
            };
            known.insert(number, found.clone());
            Arc::new(known)
        });
        Some(found)
    }
}
