//! One address of the book.

use std::time::{Duration, Instant};

use cloister_proto::{Address, NodeId, Time};

/// How long a connection that is being introduced can hold back a dial to where it came from.
const MAX_HOLD: Duration = Duration::from_secs(1);

/// What to do about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Connect, and let ractor introduce us.
    Dial,
    /// Connect only to see whether a process listens.
    Probe,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// A connect is under way.
    Trying,
    /// Connected by a dial; the sessions have it, and report the result.
    Authenticating,
}

/// The last result at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Nothing,
    Answered,
    Refused,
    Unreachable,
    IsSelf,
}

/// An address, and what is known of it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The address as nodes write it.
    pub(super) address: Address,
    /// When discovery named it last. An answer may leave out what the one before it had, and the one after it
    /// has again: so it counts as named for a while.
    pub(super) named: Option<Instant>,
    /// Until when it is kept if it is not named.
    pub(super) keep: Instant,
    /// The node that was linked here last, unless its host name is known to lead elsewhere.
    pub(super) peer: Option<NodeId>,
    /// Whether the last link with a node of that name was here.
    pub(super) is_last: bool,
    /// Whether the host name of that node leads here, by the last answer of a name server.
    pub(super) leads_here: bool,
    pub(super) phase: Phase,
    pub(super) last: Last,
    pub(super) failures: u32,
    pub(super) due: Option<(Instant, Attempt)>,
    /// Since when its dial is held back by a connection from there.
    pub(super) held: Option<Instant>,
    /// When the last link with it was lost, as long as the process there may be dying.
    pub(super) lost: Option<Instant>,
    pub(super) attempted: Option<(Instant, Time)>,
    pub(super) error: Option<String>,
}

impl Entry {
    /// An address of which nothing is known but whether it is ours, and what is to be done about it.
    pub(super) fn new(now: Instant, address: Address, last: Last, due: Option<Attempt>) -> Self {
        Self {
            address,
            named: None,
            keep: now,
            peer: None,
            is_last: false,
            leads_here: false,
            phase: Phase::Idle,
            last,
            failures: 0,
            due: due.map(|attempt| (now, attempt)),
            held: None,
            lost: None,
            attempted: None,
            error: None,
        }
    }

    /// The address as the node there calls it, if it is known; else as it is.
    pub(super) fn called(&self) -> &Address {
        self.peer.as_ref().and_then(|peer| peer.name().address()).unwrap_or(&self.address)
    }

    /// This node is linked, and can be reached here.
    pub(super) fn cover(&mut self, peer: &NodeId) {
        let is_known = self.peer.as_ref().is_some_and(|known| known.name() == peer.name());
        self.leads_here &= is_known;
        self.is_last &= is_known;
        self.peer = Some(peer.clone());
        self.phase = Phase::Idle;
        self.last = Last::Answered;
        self.due = None;
        self.held = None;
        self.lost = None;
        self.error = None;
    }

    /// Where it stands in the line of those that are to be tried, if it is due `at` then.
    pub(super) fn priority(&self, at: Instant) -> Instant {
        let fails = self.last == Last::Unreachable || (self.last == Last::Answered && self.failures > 0);
        if fails && self.peer.is_none() { at + super::UNREACHABLE_PENALTY } else { at }
    }

    /// Whether a connection from there may hold a dial back, once more.
    pub(super) fn is_held(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(*self.held.get_or_insert(now)) < MAX_HOLD
    }
}
