//! A cache of peer deadlines, so that not every event needs a scan of all peers.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::time::Time;

/// When a peer has to be looked at again, because time has passed or something has happened.
///
/// It can be rebuilt from the peers, and its contents depend on the past. So it is no part of the identity of a node: it does not
/// contribute to the hash, and `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct PeerDeadlines {
    /// No peer has an earlier deadline that lies ahead. It may be too early, never too late.
    pub(crate) next: Time,
    /// Whether an event may have changed which nodes are reachable.
    reachability_changed: bool,
}

impl PeerDeadlines {
    /// A cache that requires a scan.
    pub(crate) fn new() -> Self {
        Self { next: Time::ZERO, reachability_changed: true }
    }

    /// A peer has a deadline at `at`.
    pub(crate) fn add_deadline(&mut self, at: Time) {
        self.next = self.next.min(at);
    }

    /// An event may have changed which nodes are reachable.
    pub(crate) fn mark_reachability_changed(&mut self) {
        self.reachability_changed = true;
    }

    /// Whether a deadline of a peer may have passed at `now`.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// Whether other nodes may be reachable `now`. Resets the flag.
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
