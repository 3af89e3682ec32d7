//! The messages by key that this node has sent to its own inbox.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloister_proto::Slot;

/// What is for one key of one actor is in one lane, and stays in order. Others may be in it, too.
pub(crate) fn lane(slot: Slot, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (slot, name).hash(&mut hasher);
    hasher.finish()
}

/// The messages of this node that its own inbox has got, and no actor yet. As long as there is one in a lane, none of that lane goes past the
/// inbox: it would overtake.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnMessages(Arc<Lanes>);

#[derive(Debug, Default)]
struct Lanes {
    all: AtomicUsize,
    /// How many there are in each lane.
    numbers: Mutex<HashMap<u64, usize>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnMessage {
    lanes: Arc<Lanes>,
    lane: u64,
}

impl OwnMessages {
    /// A message for this actor and key goes to the inbox.
    pub(crate) fn begin(&self, name: &str, key: &[u8]) -> OwnMessage {
        let lane = lane(Slot::of(key), name);
        *self.0.numbers().entry(lane).or_default() += 1;
        self.0.all.fetch_add(1, Ordering::Release);
        OwnMessage { lanes: Arc::clone(&self.0), lane }
    }

    /// Whether there is one for this actor and key. Without any it costs one load.
    pub(crate) fn has(&self, name: &str, key: &[u8]) -> bool {
        // After the last has gone to its actor, what is sent now comes behind it.
        self.0.all.load(Ordering::Acquire) > 0 && self.0.has(lane(Slot::of(key), name))
    }
}

impl Lanes {
    #[cold]
    fn has(&self, lane: u64) -> bool {
        self.numbers().contains_key(&lane)
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnMessage {
    fn drop(&mut self) {
        if let Entry::Occupied(mut number) = self.lanes.numbers().entry(self.lane) {
            *number.get_mut() -= 1;
            if *number.get() == 0 {
                number.remove();
            }
        }
        self.lanes.all.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_the_way_of_its_own_lane_until_the_last_is_gone() {
        let own = OwnMessages::default();
        assert!(!own.has("cart", b"a"));
        let (first, second) = (own.begin("cart", b"a"), own.begin("cart", b"a"));
        assert!(!own.has("cart", b"b") && !own.has("till", b"a"));
        drop(first);
        assert!(own.has("cart", b"a"));
        drop(second);
        assert!(!own.has("cart", b"a") && own.0.numbers().is_empty());
    }
}
