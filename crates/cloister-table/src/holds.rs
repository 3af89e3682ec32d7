//! What keeps a round waiting until every shard has done its part.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloister_core::Hold;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The view of this epoch, to begin.
    View(u64),
    /// The announced round of this number, to begin.
    Planned(u64),
    /// This node, which leaves, to stop.
    Leave,
}

impl Waits {
    fn is_like(self, other: Waits) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// The holds of the present rounds: one of each kind at most.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Held>>);

#[derive(Debug)]
struct Held {
    what: Waits,
    hold: Hold,
    since: Instant,
    /// It is logged that this takes long.
    is_logged: bool,
    /// The shards that have not done their part.
    missing: Vec<u8>,
}

impl Holds {
    /// Waits for these shards. A hold of the same kind is over.
    pub(crate) fn put(&self, what: Waits, hold: Hold, shards: impl Iterator<Item = u8>) {
        let before = self.take(|held| held.what.is_like(what));
        self.lock().push(Held {
            what,
            hold,
            since: Instant::now(),
            is_logged: false,
            missing: shards.collect(),
        });
        drop(before);
    }

    /// A shard has done its part.
    pub(crate) fn release(&self, what: Waits, shard: u8) {
        let done = {
            let mut all = self.lock();
            for held in all.iter_mut().filter(|held| held.what == what) {
                held.missing.retain(|missing| *missing != shard);
            }
            all.extract_if(.., |held| held.missing.is_empty()).map(|held| held.hold).collect::<Vec<_>>()
        };
        // What follows from it does not run under the lock.
        drop(done);
    }

    /// A view that has waited for longer than `limit`: for how long, and for which shards. Once for each.
    pub(crate) fn long_wait(&self, limit: Duration) -> Option<(Duration, Vec<u8>)> {
        let mut all = self.lock();
        let is_long = |held: &&mut Held| {
            matches!(held.what, Waits::View(_)) && held.since.elapsed() > limit && !held.is_logged
        };
        let held = all.iter_mut().find(is_long)?;
        held.is_logged = true;
        Some((held.since.elapsed(), held.missing.clone()))
    }

    /// Nothing of this node waits for the table any more.
    pub(crate) fn clear(&self) {
        drop(self.take(|_| true));
    }

    fn take(&self, mut is_meant: impl FnMut(&Held) -> bool) -> Vec<Held> {
        self.lock().extract_if(.., |held| is_meant(held)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
