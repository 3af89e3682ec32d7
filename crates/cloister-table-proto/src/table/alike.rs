//! Slots of which all nodes reported the same are decided alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::owned::Owned;
use crate::label::{Label, Seen};

/// How many decisions are remembered.
const MAX_DECISIONS: usize = 256;

/// After how many slots in a row that are like none before no like one is looked for any more.
const MAX_MISSES: usize = 128;

/// The decisions of a round that slots with the same reports and copies have in common.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// By what was reported of the slot, and where its copies are.
    decisions: BTreeMap<Vec<u32>, Decided>,
    /// That of the present slot.
    key: Vec<u32>,
    misses: usize,
}

/// What became of a slot that goes on with what this node has of it.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) owned: Arc<Owned>,
    pub(super) seen: Seen,
    /// The label of the content, and of its last write.
    pub(super) content: (Label, Label),
    pub(super) is_known: bool,
}

impl Alike {
    /// What became of a slot that is like this one in what was reported of it and where its copies are.
    pub(super) fn find(&mut self, key: impl Iterator<Item = u32>) -> Option<&Decided> {
        if self.misses > MAX_MISSES {
            return None;
        }
        self.key.clear();
        self.key.extend(key);
        let decided = self.decisions.get(&self.key);
        self.misses = if decided.is_some() { 0 } else { self.misses + 1 };
        decided
    }

    /// What became of the slot that none was found to be like.
    pub(super) fn remember(&mut self, decided: Option<Decided>) {
        if let Some(decided) =
            decided.filter(|_| self.misses <= MAX_MISSES && self.decisions.len() < MAX_DECISIONS)
        {
            self.decisions.insert(self.key.clone(), decided);
        }
    }
}
