//! A view: the members that agreed to be one cluster, under an epoch.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::name::{Incarnation, NodeId};

/// The number of an installed view: unique, and strictly rising, also over a restart of all nodes.
///
/// The upper 44 bits are at least the unix time in milliseconds at the proposer, the lower 20 bits come from
/// its incarnation. Usable as a fencing token: a store that remembers the greatest epoch it saw can refuse
/// a writer that was overtaken.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{Epoch, Incarnation};
///
/// let seen = Epoch::from_u64(7);
/// let next = seen.next(1_790_000_000_000, Incarnation(0xa1));
/// assert!(next > seen && next.as_u64() > 7);
/// assert_eq!(next.millis(), 1_790_000_000_000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Before any view.
    pub const ZERO: Epoch = Epoch(0);

    /// How many of the low bits come from the proposer.
    const PROPOSER_BITS: u32 = 20;

    /// The epoch with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The time part, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> Self::PROPOSER_BITS
    }

    /// The least epoch of the proposer `incarnation` that is greater than `self` and not before `unix_ms`.
    #[must_use]
    pub fn next(self, unix_ms: u64, incarnation: Incarnation) -> Epoch {
        let millis = unix_ms.max(self.millis().saturating_add(1)).min(u64::MAX >> Self::PROPOSER_BITS);
        let proposer = incarnation.0 & ((1 << Self::PROPOSER_BITS) - 1);
        Epoch(millis << Self::PROPOSER_BITS | proposer)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One member of a view: its id, and the tags it started with.
///
/// [`View`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "crate::serialize::MemberFields", into = "crate::serialize::MemberFields")
)]
#[non_exhaustive]
pub struct Member {
    /// The node, in this incarnation.
    pub id: NodeId,
    /// What it was tagged with in its configuration; rings choose their members by tag.
    pub tags: Arc<BTreeSet<String>>,
}

impl Member {
    /// A member with these tags.
    #[must_use]
    pub const fn new(id: NodeId, tags: Arc<BTreeSet<String>>) -> Self {
        Self { id, tags }
    }

    /// A member without tags.
    #[must_use]
    pub fn without_tags(id: NodeId) -> Self {
        Self { id, tags: Arc::default() }
    }
}

/// The members that agreed to be one cluster, the oldest first, under one epoch.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
///
/// use cloister::{Epoch, Incarnation, Member, NodeId, View};
///
/// let node = |n: u64| NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let cache = Arc::new(BTreeSet::from(["cache".to_owned()]));
/// let view = View::new(Epoch::from_u64(1), vec![Member::without_tags(node(2)), Member::new(node(1), cache)]);
/// assert_eq!(view.sentry(), Some(&node(1)));
/// assert!(view.contains(&node(2)));
/// assert_eq!((view.members().len(), view.size()), (2, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "crate::serialize::ViewFields", into = "crate::serialize::ViewFields")
)]
pub struct View {
    epoch: Epoch,
    members: Vec<Member>,
    size: usize,
}

impl View {
    /// The view of `members` under `epoch`; brings the members into order of age and drops repeated ones.
    #[must_use]
    pub fn new(epoch: Epoch, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members.dedup_by(|a, b| a.id == b.id);
        let size = members.len();
        Self { epoch, members, size }
    }

    /// The same view of a cluster that counts `size` nodes; never fewer than the members.
    #[must_use]
    pub fn with_size(mut self, size: usize) -> Self {
        self.size = size.max(self.members.len());
        self
    }

    /// How many nodes the cluster counts: the most members it had, less those that left in order. At least the number
    /// of members. Under the split policy `majority` a later view needs a majority of them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of this view.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, the oldest first.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The ids of the members, the oldest first.
    #[must_use]
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &NodeId> + Clone {
        self.members.iter().map(|member| &member.id)
    }

    /// Whether this node is a member, in this very incarnation.
    #[must_use]
    pub fn contains(&self, id: &NodeId) -> bool {
        self.members.binary_search_by(|member| member.id.cmp(id)).is_ok()
    }

    /// The sentry (leader): the oldest member. `None` only for a view without members, which is never installed.
    #[must_use]
    pub fn sentry(&self) -> Option<&NodeId> {
        self.members.first().map(|member| &member.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_the_time_and_then_the_lowest_bits_of_its_proposer() {
        let proposer = Incarnation(0xabcd_e123_4567);
        let after =
            |millis: u64, unix_ms: u64| Epoch::from_u64(millis << 20 | 0xfffff).next(unix_ms, proposer);
        assert_eq!(after(5, 9), Epoch::from_u64(9 << 20 | 0x3_4567));
        assert_eq!(after(5, 3), Epoch::from_u64(6 << 20 | 0x3_4567), "the clock is behind");
        assert_eq!(
            (after(5, 9).millis(), after(5, 9).to_string()),
            (9, (9_u64 << 20 | 0x3_4567).to_string())
        );
        let last = Epoch::from_u64(u64::MAX).next(u64::MAX, Incarnation(0));
        assert_eq!(last.millis(), u64::MAX >> 20, "no epoch after the last begins anew");
    }

    #[test]
    fn a_view_has_its_members_in_order_of_age_each_once_and_counts_no_fewer() {
        let member = |n: u64| {
            let name = format!("a@h{n}:1").parse().expect("a name");
            Member::without_tags(NodeId::new(name, Incarnation(n), n))
        };
        let view = View::new(Epoch::from_u64(1), vec![member(3), member(1), member(2), member(1)]);
        assert!(view.ids().eq([1, 2, 3].map(|n| member(n).id).iter()));
        assert_eq!((view.sentry(), view.size()), (Some(&member(1).id), 3));
        assert!(view.contains(&member(2).id) && !view.contains(&member(4).id));
        assert_eq!((view.clone().with_size(2).size(), view.with_size(5).size()), (3, 5));
    }
}
