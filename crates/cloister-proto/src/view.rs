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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Before any view.
    pub const ZERO: Epoch = Epoch(0);

    /// How many of the low bits come from the proposer.
    const PROPOSER_BITS: u32 = 20;

    /// The epoch with this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The time part, in milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0 >> Self::PROPOSER_BITS
    }

    /// The least epoch of the proposer `incarnation` that is greater than `self` and not before `unix_ms`.
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

/// One member of a view: who it is, and the tags it started with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The life of the node.
    pub id: NodeId,
    /// What it was tagged with in its configuration; rings choose their members by tag.
    pub tags: Arc<BTreeSet<String>>,
}

impl Member {
    /// A member without tags.
    pub fn untagged(id: NodeId) -> Self {
        Self { id, tags: Arc::default() }
    }
}

/// The members that agreed to be one cluster, the oldest first, under one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    epoch: Epoch,
    members: Vec<Member>,
    size: usize,
}

impl View {
    /// The view of `members` under `epoch`; brings the members into order of age and drops repeated ones.
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
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of this view.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, the oldest first.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The lives of the members, the oldest first.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &NodeId> + Clone {
        self.members.iter().map(|member| &member.id)
    }

    /// Whether this very life is a member.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.members.binary_search_by(|member| member.id.cmp(id)).is_ok()
    }

    /// The sentry: the oldest member. `None` only for a view without members, which is never installed.
    pub fn sentry(&self) -> Option<&NodeId> {
        self.members.first().map(|member| &member.id)
    }
}
