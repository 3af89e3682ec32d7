//! A cache that spares a node a look at every peer at every event.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::time::Time;

/// When a peer is to be looked at again, because of time alone or because of something that has happened.
///
/// It is a cache: all of it can be found out anew from the peers, and how much of it is found out when depends on the
/// past. So it is no part of what a node is: it has no hash of its own, and `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct PeerDeadlines {
    /// No limit of a peer that lies ahead ends before. It may be too early, never too late.
    pub(crate) next: Time,
    /// Whether something has happened, other than that time has passed, which may change whom this node hears.
    reachability_changed: bool,
}

impl PeerDeadlines {
    /// Everything is to be looked at.
    pub(crate) fn new() -> Self {
        Self { next: Time::ZERO, reachability_changed: true }
    }

    /// A limit of a peer ends at `at`.
    pub(crate) fn add_deadline(&mut self, at: Time) {
        self.next = self.next.min(at);
    }

    /// Something has happened that may change whom this node hears.
    pub(crate) fn mark_reachability_changed(&mut self) {
        self.reachability_changed = true;
    }

    /// Whether a limit of a peer may have been passed at `now`.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// Whether `now` this node may hear others than it did. Asked once for each answer.
    pub(crate) fn take_reachability_changed(&mut self, now: Time) -> bool {
        std::mem::take(&mut self.reachability_changed) || self.is_due(now)
    }
}

impl Hash for PeerDeadlines {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for PeerDeadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
