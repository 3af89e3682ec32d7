//! What the shell feeds into the core.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::change::Held;
use crate::hello::PeerTerms;
use crate::message::Message;
use crate::name::Address;
use crate::time::Time;
use crate::view::Member;

/// One authenticated connection to one incarnation of a peer. The shell numbers them and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What the shell feeds into the core.
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A link is ready: both sides know each other's cookie and have read each other's `Hello`.
    Linked {
        /// The number of the link.
        link: LinkId,
        /// The peer.
        peer: Member,
        /// Its lease and its address, by its `Hello`.
        terms: PeerTerms,
    },
    /// A link is closed, by either end.
    Unlinked {
        /// The number of the link.
        link: LinkId,
        /// When the close was noticed. A connection attempt that began later and is refused proves that the peer has exited, even if
        /// the core learns of the close later.
        at: Time,
    },
    /// A message came in.
    Received {
        /// By which link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// When the last byte of any kind came in by this link. Fed before every [`Event::Tick`].
    BytesReceived {
        /// By which link.
        link: LinkId,
        /// When.
        at: Time,
    },
    /// The wall clock, read just now. Fed before every [`Event::Tick`], so that a change of the clock is noticed.
    WallClock {
        /// Milliseconds since the Unix epoch.
        unix_ms: u64,
    },
    /// An address refused a connection: no process listens there, or something refuses in its place.
    Refused {
        /// The address, as peers name it.
        address: Address,
        /// When the attempt began.
        began: Time,
    },
    /// What discovery found, and what the dialler found at these addresses.
    DiscoveryUpdate {
        /// The discovered addresses that are not linked, do not refuse, and are not this node. A node that this one does not know may
        /// be behind each of them.
        unverified: BTreeSet<Address>,
        /// The discovered addresses that refuse connections.
        refusing: BTreeSet<Address>,
        /// All discovered addresses except those of this node.
        named: BTreeSet<Address>,
        /// Whether every strategy of discovery has answered, even with nothing.
        complete: bool,
    },
    /// No listener holds this any more.
    HoldReleased {
        /// What listeners may hold, by [`Transition::hold`](crate::Transition::hold).
        held: Held,
    },
    /// Whether listeners of this node warm up before a planned change of the membership. Not before the first such event.
    WarmsUp(bool),
    /// This node wants to leave, and goes on as before until [`Action::LeavePrepared`](crate::Action::LeavePrepared).
    Drain,
    /// The memory with this number is persisted: it would be found after a restart.
    Persisted {
        /// The number that [`Action::Persist`](crate::Action::Persist) gave.
        seq: u64,
    },
    /// The memory cannot be persisted now. The shell goes on trying.
    PersistFailed {
        /// Why, as text.
        cause: String,
    },
    /// The wall clock ran ahead of the monotonic clock by more than rounding. The machine stood still meanwhile (paused, migrated,
    /// restored from a snapshot), or the wall clock was set.
    ClockJumped {
        /// By how much.
        by: Duration,
    },
    /// The application asks the node to leave.
    Leave,
    /// The time of [`Node::next_timeout`](crate::Node::next_timeout) has come.
    Tick,
}
