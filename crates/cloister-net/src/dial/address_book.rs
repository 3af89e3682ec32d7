//! The address book: which addresses to dial, when, and with what result. It opens no socket and reads no clock: the time and the
//! function that asks the routing table are arguments.

mod entry;
mod places;
mod queue;
mod survey;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use cloister_proto::backoff::exponential;
use cloister_proto::{Address, LinkId, Time};

pub(crate) use self::entry::Attempt;
use self::entry::{Entry, Last, Phase};
use self::places::Link;
use self::queue::DialQueue;
pub(crate) use self::survey::Survey;
use crate::discovered::Discovered;
use crate::jitter::Jitter;
use crate::telemetry::rejections::{self, Reason};

/// For how long the node with the lesser address waits for the other to dial, and the least of that for each address in the book. A node
/// with many addresses needs longer. After that it dials itself: the other node may be unable to dial us.
const DIAL_DEFER: Duration = Duration::from_millis(100);
const DIAL_DEFER_PER_ADDRESS: Duration = Duration::from_millis(10);

/// How often a dial that is held back looks again.
const RECHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The first and the longest wait between two attempts.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// By how much longer the node with the lesser address waits after a failed dial. A busy node authenticates
/// slowly, and if both dial at once again, each closes the other's connection again.
const DIAL_DEFER_FACTOR: u32 = 3;

/// A link that lived shorter than this was no success: its address is not dialled again without a wait.
const STABLE: Duration = Duration::from_secs(1);

/// How long a process that is killed may take to close all its sockets. Until then its listener may still accept, which proves nothing.
/// So after a lost link the address is probed again, at first very soon, until it refuses or this time has passed.
const EXIT_PROBE_WINDOW: Duration = Duration::from_millis(50);
const REPROBE_INTERVAL: Duration = Duration::from_millis(2);

/// The least time between two attempts, however urgently a peer is to be met.
const DIAL_MIN_GAP: Duration = Duration::from_millis(500);

/// The least time between two attempts, however often a node looks whether we are there; so many times longer as attempts
/// have failed, up to ten. Nodes that start together look for each other within the same millisecond.
const PROBE_MIN_GAP: Duration = Duration::from_millis(2);

/// How often an address that turned out to be ours is tried again: addresses move.
const SELF_RECHECK: Duration = Duration::from_secs(60);

/// For how long an address counts as named by discovery after the last answer that had it.
const DISCOVERED_TTL: Duration = Duration::from_secs(60);

/// For how long an address is kept that was learned from a peer, after its last success or mention.
const GOSSIPED_TTL: Duration = Duration::from_secs(3600);

/// How many addresses are kept in all: peers that make up others must not fill the memory, nor have us dial the world.
const MAX_ENTRIES: usize = 8192;

/// How many attempts may be under way at a time, from the connect to a link or a failure. Each takes a descriptor, and a name
/// server can list thousands of addresses.
pub(crate) const MAX_ATTEMPTS: usize = 64;

/// How many of these places addresses may take where no peer was linked yet, and how many those where one was. The look at a lost peer,
/// which tells a death from a silence, must not wait for a thousand unknown addresses. Nor must a new node wait for many dead ones.
const MAX_UNKNOWN_ATTEMPTS: usize = 48;
const MAX_KNOWN_ATTEMPTS: usize = 56;

/// By how much an address that does not answer comes after those that were not tried yet, while there are more to try than may
/// be tried. It is a handicap in time, so that nothing waits for ever.
const UNREACHABLE_PENALTY: Duration = Duration::from_secs(60);

/// An attempt that is to begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) target: SocketAddr,
    pub(crate) attempt: Attempt,
    /// Whether others wait for its place, so that it must not take long. An address where a peer was linked has its full time.
    pub(crate) hurried: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection was accepted.
    Connected,
    /// No process listens there.
    Refused,
    /// Anything else, in words.
    Failed(String),
}

impl Outcome {
    /// The label in metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Connected => "connected",
            Outcome::Refused => "refused",
            Outcome::Failed(_) => "failed",
        }
    }
}

/// The address that this machine would send from to reach another, if there is a route.
type SourceIpFor = fn(SocketAddr) -> Option<IpAddr>;

/// The address book of one node.
#[derive(Debug)]
pub(crate) struct AddressBook {
    me: Address,
    jitter: Jitter,
    source_ip_for: SourceIpFor,
    entries: BTreeMap<SocketAddr, Entry>,
    links: BTreeMap<LinkId, Link>,
    /// How many of the links cover an address.
    linked: BTreeMap<SocketAddr, u32>,
    /// Accepted connections that authenticate.
    pending: BTreeMap<LinkId, IpAddr>,
    complete: bool,
    /// When the last look was, if more was due at it than there were places for.
    at_capacity: Option<Instant>,
}

impl AddressBook {
    pub(crate) fn new(me: Address, jitter: Jitter, source_ip_for: SourceIpFor) -> Self {
        Self {
            me,
            jitter,
            source_ip_for,
            entries: BTreeMap::new(),
            links: BTreeMap::new(),
            linked: BTreeMap::new(),
            pending: BTreeMap::new(),
            complete: false,
            at_capacity: None,
        }
    }

    /// Discovery names these addresses. Further addresses of a node are dialled, too, and count as no node.
    pub(crate) fn discovered(&mut self, now: Instant, discovered: &Discovered) {
        self.complete |= discovered.complete;
        for address in &discovered.found {
            self.entry(now, *address).named = Some(now);
        }
        for address in &discovered.aliases {
            let entry = self.entry(now, *address);
            entry.named = None;
            entry.keep = entry.keep.max(now + DISCOVERED_TTL);
        }
        self.forget(now);
    }

    /// A peer should be met at this address.
    pub(crate) fn gossiped(&mut self, now: Instant, address: SocketAddr) {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&address) {
            rejections::count(Reason::AddressBookFull);
            return;
        }
        let entry = self.entry(now, address);
        entry.keep = entry.keep.max(now + GOSSIPED_TTL);
        let soonest = entry.attempted.map_or(now, |(at, _)| now.max(at + DIAL_MIN_GAP));
        if entry.last != Last::IsSelf
            && let Some((due, _)) = &mut entry.due
        {
            *due = soonest.min(*due);
        }
        self.forget(now);
    }

    /// A connection from `ip` is being introduced.
    pub(crate) fn pending(&mut self, link: LinkId, ip: IpAddr) {
        self.pending.insert(link, ip);
    }

    /// A connection ended before it was linked; `target` is what we dialled, if we did.
    pub(crate) fn ended(&mut self, now: Instant, link: LinkId, target: Option<SocketAddr>, error: String) {
        self.pending.remove(&link);
        if let Some(target) = target {
            self.failed(now, target, Last::Answered, error);
        }
    }

    /// The address turned out to be our own.
    pub(crate) fn mark_self(&mut self, now: Instant, target: SocketAddr) {
        let entry = self.entry(now, target);
        *entry = Entry {
            address: entry.address.clone(),
            phase: Phase::Idle,
            last: Last::IsSelf,
            due: Some((now + SELF_RECHECK, Attempt::Dial)),
            error: None,
            held: None,
            lost: None,
            failures: 0,
            peer: None,
            is_last: false,
            leads_here: false,
            ..*entry
        };
    }

    /// An attempt has ended. `began` is when it had begun.
    pub(crate) fn tried(&mut self, now: Instant, target: SocketAddr, attempt: Attempt, outcome: &Outcome) {
        if attempt == Attempt::Probe && *outcome != Outcome::Refused && self.peer_exiting(now, target) {
            return;
        }
        match (outcome, attempt) {
            (Outcome::Refused, _) => {
                self.failed(
                    now,
                    target,
                    Last::Refused,
                    "connection refused: no process listens there".to_owned(),
                );
            }
            (Outcome::Failed(error), _) => self.failed(now, target, Last::Unreachable, error.clone()),
            (Outcome::Connected, Attempt::Dial) => {
                let entry = self.entry(now, target);
                entry.phase = Phase::Authenticating;
                entry.last = Last::Answered;
            }
            (Outcome::Connected, Attempt::Probe) => {
                let dial_defer = if self.dials_first(&target) { Duration::ZERO } else { self.dial_defer() };
                let entry = self.entry(now, target);
                entry.phase = Phase::Idle;
                if matches!(entry.last, Last::Refused | Last::Unreachable) {
                    // It has come up: earlier failures do not count.
                    entry.failures = 0;
                }
                entry.last = Last::Answered;
                entry.lost = None;
                let wait = self.wait(target).max(dial_defer);
                self.entry(now, target).due = Some((now + wait, Attempt::Dial));
            }
        }
    }

    /// Whether the process at `target` may be closing its sockets just now; then the address is looked at again soon. A connect
    /// that meets the listener as it closes is accepted, or reset.
    fn peer_exiting(&mut self, now: Instant, target: SocketAddr) -> bool {
        let Some(entry) = self.entries.get_mut(&target) else { return false };
        let since = entry.lost.map(|lost| now.saturating_duration_since(lost));
        let Some(since) = since.filter(|since| *since < EXIT_PROBE_WINDOW) else { return false };
        entry.phase = Phase::Idle;
        entry.due = Some((now + since.max(REPROBE_INTERVAL), Attempt::Probe));
        true
    }

    /// Everything that is to be tried now, at most as much as there are places free. What finds none stays due.
    pub(crate) fn take_due(&mut self, now: Instant, clock: Time) -> Vec<Due> {
        let (mut known, mut unknown) =
            (DialQueue::new(MAX_KNOWN_ATTEMPTS), DialQueue::new(MAX_UNKNOWN_ATTEMPTS));
        for (address, entry) in &mut self.entries {
            let line = if entry.peer.is_some() { &mut known } else { &mut unknown };
            line.under_way += usize::from(entry.phase != Phase::Idle);
            let Some((at, attempt)) = entry.due else { continue };
            if at > now {
                continue;
            }
            if self.linked.contains_key(address) || entry.phase != Phase::Idle {
                entry.due = None;
                continue;
            }
            // A pending connection from there may be of the very node that is about to be dialled: it authenticates first.
            let is_pending = self.pending.values().any(|ip| *ip == address.ip());
            if attempt == Attempt::Dial && is_pending && entry.is_held(now) {
                entry.due = Some((now + RECHECK_INTERVAL, attempt));
                continue;
            }
            line.ready.push((entry.priority(at), *address, attempt));
        }
        let free = MAX_ATTEMPTS.saturating_sub(known.under_way + unknown.under_way);
        let peers_wait = known.keep(free);
        let others_wait = unknown.keep(free - known.ready.len());
        self.at_capacity = (peers_wait || others_wait).then_some(now);
        let known = known.ready.into_iter().map(|ready| (ready, false));
        let ready = known.chain(unknown.ready.into_iter().map(|ready| (ready, others_wait)));
        let mut attempts = Vec::new();
        for ((_, target, attempt), hurried) in ready {
            let Some(entry) = self.entries.get_mut(&target) else { continue };
            entry.due = None;
            entry.phase = Phase::Trying;
            entry.attempted = Some((now, clock));
            attempts.push(Due { target, attempt, hurried });
        }
        attempts
    }

    /// Whether a connection to `target` that was just made is still of use. It is not when the node there was
    /// faster: it is linked, or its connection authenticates. A node that yields has sent nothing yet: the two cannot both yield.
    pub(crate) fn still_wanted(&mut self, now: Instant, target: SocketAddr) -> bool {
        if self.is_linked(&target) {
            return false;
        }
        let is_pending = self.pending.values().any(|ip| *ip == target.ip());
        !(is_pending && self.entry(now, target).is_held(now))
    }

    /// A dial was not wanted any more.
    pub(crate) fn deferred(&mut self, now: Instant, target: SocketAddr) {
        let linked = self.is_linked(&target);
        let entry = self.entry(now, target);
        entry.phase = Phase::Idle;
        entry.last = Last::Answered;
        entry.due = (!linked).then_some((now + RECHECK_INTERVAL, Attempt::Dial));
    }

    /// A node at `ip` probed this one: it starts, and leaves the dial to us.
    pub(crate) fn on_probe(&mut self, now: Instant, ip: IpAddr) {
        let there: Vec<SocketAddr> =
            self.entries.keys().filter(|address| address.ip() == ip).copied().collect();
        for address in there {
            let first = self.dials_first(&address);
            let entry = self.entry(now, address);
            let pause = PROBE_MIN_GAP * entry.failures.clamp(1, 10);
            let soonest = entry.attempted.map_or(now, |(at, _)| now.max(at + pause));
            if let Some((due, attempt)) = &mut entry.due
                && first
                && entry.last != Last::IsSelf
            {
                (*due, *attempt) = ((*due).min(soonest), Attempt::Dial);
            }
        }
    }

    /// When [`AddressBook::take_due`] has something to give next. What found no place at the last look is left out: it gets one when an
    /// attempt ends, which is heard of.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| entry.due.map(|(at, _)| at));
        due.filter(|at| self.at_capacity.is_none_or(|looked| *at > looked)).min()
    }

    /// `target` as nodes write it.
    pub(crate) fn address(&self, target: SocketAddr) -> Address {
        self.entries.get(&target).map_or_else(|| Address::from(target), |entry| entry.address.clone())
    }

    fn is_linked(&self, address: &SocketAddr) -> bool {
        self.linked.contains_key(address)
    }

    /// Of two nodes the one with the greater address dials. Both sides compare what the other can see: an IP
    /// address. A node that is known by a host name is seen by the address it would send from.
    fn dials_first(&self, target: &SocketAddr) -> bool {
        let seen = match self.me.ip() {
            Some(_) => Some(self.me.clone()),
            None => {
                (self.source_ip_for)(*target).map(|ip| Address::from(SocketAddr::new(ip, self.me.port())))
            }
        };
        seen.is_none_or(|seen| seen > Address::from(*target))
    }

    /// The entry of `address`, made and scheduled if it is new.
    fn entry(&mut self, now: Instant, address: SocketAddr) -> &mut Entry {
        if !self.entries.contains_key(&address) {
            let mine = self.me.ip().is_some_and(|ip| SocketAddr::new(ip, self.me.port()) == address);
            // The lesser looks whether the greater is there. That wakes it, and then there is `DIAL_DEFER` for its dial.
            let attempt = if self.dials_first(&address) { Attempt::Dial } else { Attempt::Probe };
            let linked = self.is_linked(&address);
            let last = if mine { Last::IsSelf } else { Last::Nothing };
            let entry = Entry::new(now, Address::from(address), last, (!mine && !linked).then_some(attempt));
            self.entries.insert(address, entry);
        }
        self.entries.get_mut(&address).expect("invariant: it was just put in")
    }

    fn failed(&mut self, now: Instant, target: SocketAddr, last: Last, error: String) {
        let linked = self.is_linked(&target);
        let entry = self.entry(now, target);
        entry.failures = entry.failures.saturating_add(1);
        entry.phase = Phase::Idle;
        entry.held = None;
        entry.lost = None;
        entry.last = last;
        if entry.error.as_ref() != Some(&error) {
            entry.error = Some(error);
        }
        let mut wait = self.wait(target);
        if last == Last::Answered && !self.dials_first(&target) {
            wait = (wait * DIAL_DEFER_FACTOR).max(self.dial_defer());
        }
        // A node that comes up dials those with a lesser address itself. These only look whether it is there, so that the two do not dial
        // each other.
        let dial = last == Last::Answered || self.dials_first(&target);
        let attempt = if dial { Attempt::Dial } else { Attempt::Probe };
        self.entry(now, target).due = (!linked).then_some((now + wait, attempt));
    }

    fn dial_defer(&self) -> Duration {
        DIAL_DEFER.max(DIAL_DEFER_PER_ADDRESS * u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    /// How long to wait after as many failures as there were.
    fn wait(&mut self, target: SocketAddr) -> Duration {
        let failures = self.entries.get(&target).map_or(0, |entry| entry.failures);
        if failures == 0 {
            return Duration::ZERO;
        }
        self.jitter.around(exponential(MIN_BACKOFF, MAX_BACKOFF, failures))
    }

    fn forget(&mut self, now: Instant) {
        let linked = &self.linked;
        self.entries.retain(|address, entry| {
            entry.named = entry.named.filter(|named| now.saturating_duration_since(*named) < DISCOVERED_TTL);
            entry.named.is_some()
                || entry.keep > now
                || entry.phase != Phase::Idle
                || linked.contains_key(address)
        });
    }
}

#[cfg(test)]
mod tests;
