//! The rings of one view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_proto::{Member, NodeId, Ring};

use crate::listener::RingDiff;

/// Which rings there are besides the one over all members, and the tags that a member of each must have.
#[derive(Clone, Debug, Default)]
pub(crate) struct RingPlan {
    named: BTreeMap<Arc<str>, BTreeSet<String>>,
}

impl RingPlan {
    /// The plan of these rings.
    pub(crate) fn new<N, T>(rings: impl IntoIterator<Item = (N, T)>) -> Self
    where
        N: AsRef<str>,
        T: IntoIterator<Item = String>,
    {
        let named = rings
            .into_iter()
            .map(|(name, tags)| (name.as_ref().into(), tags.into_iter().collect()))
            .collect();
        Self { named }
    }

    /// The names of all rings, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.named.keys()
    }

    /// The shared name of a ring, if there is one of this name.
    pub(crate) fn name(&self, name: &str) -> Option<Arc<str>> {
        self.named.get_key_value(name).map(|(name, _)| Arc::clone(name))
    }
}

/// The ring over all members of a view, and the named rings over those that have all tags of the ring.
#[derive(Debug)]
pub(crate) struct Rings {
    all: Arc<Ring>,
    named: BTreeMap<Arc<str>, Arc<Ring>>,
}

impl Rings {
    /// Costs O(slots × members) for each ring.
    pub(crate) fn new(plan: &RingPlan, members: &[Member]) -> Self {
        let named = plan.named.iter().map(|(name, tags)| {
            let tagged = members.iter().filter(|member| tags.is_subset(&member.tags));
            (Arc::clone(name), Arc::new(Ring::new(tagged.map(|member| &member.id))))
        });
        let all = Ring::new(members.iter().map(|member| &member.id));
        Self { all: Arc::new(all), named: named.collect() }
    }

    /// The ring of this name, `None` for the ring over all members.
    pub(crate) fn get(&self, name: Option<&str>) -> Option<&Ring> {
        match name {
            None => Some(&self.all),
            Some(name) => self.named.get(name).map(AsRef::as_ref),
        }
    }

    /// The same, to keep.
    pub(crate) fn shared(&self, name: Option<&str>) -> Option<Arc<Ring>> {
        match name {
            None => Some(Arc::clone(&self.all)),
            Some(name) => self.named.get(name).cloned(),
        }
    }

    /// The same rings with ids of their own; see [`NodeId::detached`].
    pub(crate) fn detached(&self) -> Self {
        let named = self.named.iter().map(|(name, ring)| (Arc::clone(name), Arc::new(ring.detached())));
        Self { all: Arc::new(self.all.detached()), named: named.collect() }
    }

    /// What `me` takes and gives when `next` follows `before`.
    pub(crate) fn moves(me: &NodeId, before: Option<&Rings>, next: &Rings) -> Vec<RingDiff> {
        let empty = Ring::new([]);
        let names = std::iter::once(None).chain(next.named.keys().map(Some));
        names
            .filter_map(|name| {
                let key = name.map(AsRef::as_ref);
                let before = before.and_then(|rings| rings.get(key)).unwrap_or(&empty);
                let moves = before.transfers_of(me, next.get(key)?);
                let (gained, lost): (Vec<_>, Vec<_>) =
                    moves.into_iter().partition(|a_move| a_move.to.as_ref() == Some(me));
                (!gained.is_empty() || !lost.is_empty()).then(|| RingDiff {
                    ring: name.cloned(),
                    gained,
                    lost,
                })
            })
            .collect()
    }
}
