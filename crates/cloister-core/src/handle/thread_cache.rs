//! A cache of the cluster for each thread, for programs that look up a million keys a second.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use cloister_proto::NodeId;

use crate::placement::{Rings, Snapshot};

thread_local! {
    /// Of the one node that a program has.
    static CACHE: RefCell<Option<ThreadCache>> = const { RefCell::new(None) };
}

/// What one thread has seen.
///
/// No thread waits for another here, nor for the cache line of another. Whether the snapshot that was seen last is still the present one is
/// a plain load; loading it anew takes two atomic exchanges. Ids are cloned from rings of the thread's own, because threads that count the
/// references to one id slow each other down to a quarter.
#[derive(Debug)]
pub(crate) struct ThreadCache {
    snapshot: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    /// The rings that were copied, and the copy.
    rings: Option<(Arc<Rings>, Rings)>,
}

impl ThreadCache {
    /// Shows `look` what this thread has seen; `None` if the thread is ending or is just looking.
    #[inline] // `is_mine` takes twice as long otherwise
    pub(crate) fn with<T>(
        present: &Arc<ArcSwap<Snapshot>>,
        look: impl FnOnce(&mut ThreadCache) -> T,
    ) -> Option<T> {
        let looked = CACHE.try_with(|seen| {
            let mut seen = seen.try_borrow_mut().ok()?;
            if !seen.as_ref().is_some_and(|seen| std::ptr::eq(seen.snapshot.arc_swap(), &**present)) {
                *seen = Some(ThreadCache { snapshot: Cache::new(Arc::clone(present)), rings: None });
            }
            seen.as_mut().map(look)
        });
        looked.ok().flatten()
    }

    /// The present snapshot.
    pub(crate) fn snapshot(&mut self) -> &Snapshot {
        self.snapshot.load()
    }

    /// The owner of `key`. Copies the ids of all members the first time after they have changed.
    pub(crate) fn owner(&mut self, ring: Option<&str>, key: &[u8]) -> Option<NodeId> {
        let present = self.snapshot.load().rings()?;
        let rings = match &mut self.rings {
            Some((of, rings)) if Arc::ptr_eq(of, present) => rings,
            seen => &mut seen.insert((Arc::clone(present), present.detached())).1,
        };
        rings.get(ring)?.owner_of(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::{ClusterState, Epoch, Incarnation, Member, View};

    use super::*;
    use crate::placement::RingPlan;

    fn member(number: u64) -> Member {
        let name = format!("shop@10.0.0.{number}:4370").parse().unwrap();
        Member::without_tags(NodeId::new(name, Incarnation(number), number))
    }

    /// The snapshot of a view of these members, with a ring named `some` over those that are tagged so.
    fn snapshot(epoch: u64, members: &[Member]) -> Arc<Snapshot> {
        let plan = RingPlan::new([("some", vec!["some".to_owned()])]);
        let view = Arc::new(View::new(Epoch::from_u64(epoch), members.to_vec()));
        let rings = Arc::new(Rings::new(&plan, view.members()));
        Arc::new(Snapshot::new(Arc::new(ClusterState::initial(member(1))), Some((view, rings))))
    }

    fn owner(present: &Arc<ArcSwap<Snapshot>>, ring: Option<&str>, key: &str) -> Option<NodeId> {
        ThreadCache::with(present, |seen| seen.owner(ring, key.as_bytes()))
            .expect("no other look-up is under way")
    }

    #[test]
    fn a_thread_that_has_looked_before_says_what_the_present_rings_say() {
        let tagged = Member::new(member(3).id, Arc::new(["some".to_owned()].into()));
        let (one, two, none) = ([member(1)], [member(2), tagged.clone()], []);
        let present = Arc::new(ArcSwap::new(snapshot(1, &one)));
        let elsewhere = Arc::new(ArcSwap::new(snapshot(1, &two)));
        assert_eq!(owner(&present, None, "key"), Some(member(1).id));
        assert_eq!(owner(&present, Some("some"), "key"), None);
        let as_the_snapshot_says = |present: &Arc<ArcSwap<Snapshot>>| {
            for key in (0..100).map(|key| key.to_string()) {
                let expected =
                    present.load().ring(None).and_then(|ring| ring.owner_of(key.as_bytes()).cloned());
                assert_eq!(owner(present, None, &key), expected);
            }
        };
        // The same members in a later view, others, none; then another node of this process in between.
        for next in [snapshot(2, &one), snapshot(3, &two), snapshot(4, &none), snapshot(5, &one)] {
            present.store(next);
            as_the_snapshot_says(&present);
        }
        for node in [&elsewhere, &present, &elsewhere] {
            as_the_snapshot_says(node);
        }
        present.store(snapshot(6, &two));
        assert_eq!(owner(&present, Some("some"), "key"), Some(tagged.id));
        assert_eq!(owner(&present, Some("other"), "key"), None);
        present.store(Arc::new(Snapshot::new(Arc::new(ClusterState::initial(member(1))), None)));
        assert_eq!(owner(&present, None, "key"), None);
    }

    #[test]
    fn a_lookup_within_a_lookup_is_refused() {
        let present = Arc::new(ArcSwap::new(snapshot(1, &[member(1)])));
        assert_eq!(ThreadCache::with(&present, |_| ThreadCache::with(&present, |_| ())), Some(None));
    }
}
