//! What the shell tells the core.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::hello::PeerTerms;
use crate::message::Message;
use crate::name::Address;
use crate::time::Time;
use crate::view::{Epoch, Member};

/// One authenticated connection to one life of a peer. The shell numbers them and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What the shell tells the core.
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A link is ready: both sides know each other's cookie and have read each other's `Hello`.
    Linked {
        /// The number of the link.
        link: LinkId,
        /// Who is at the other end.
        peer: Member,
        /// What its `Hello` says of how it claims and of its address.
        terms: PeerTerms,
    },
    /// A link is closed, by whomever.
    Unlinked {
        /// The number of the link.
        link: LinkId,
        /// When that was noticed: an attempt to connect that began later and is refused proves that the peer is gone,
        /// also if the core hears late of the close.
        at: Time,
    },
    /// A message came in.
    Received {
        /// By which link.
        link: LinkId,
        /// What it says.
        message: Message,
    },
    /// The last byte of anything came in by this link at this time. Fed before every [`Event::Tick`].
    BytesReceived {
        /// By which link.
        link: LinkId,
        /// When.
        at: Time,
    },
    /// The wall clock, read just now. Fed before every [`Event::Tick`], so that a clock that is set is noticed.
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
    /// What discovery found and the dialler made of it.
    DiscoveryUpdate {
        /// The addresses that discovery names which are neither linked, nor refuse, nor are this node: behind
        /// each of them may be a node that this one does not know of.
        unverified: BTreeSet<Address>,
        /// The addresses that discovery names which refuse.
        refusing: BTreeSet<Address>,
        /// All addresses that discovery names, but for those that are known to be this node.
        named: BTreeSet<Address>,
        /// Whether every strategy of discovery has answered, be it that there is nothing.
        complete: bool,
    },
    /// No listener holds the view of this epoch any more.
    HoldReleased {
        /// The epoch of the view.
        epoch: Epoch,
    },
    /// The memory with this number is kept: it would be found after a restart.
    Persisted {
        /// The number that [`Action::Persist`](crate::Action::Persist) gave.
        seq: u64,
    },
    /// What the node would have to remember cannot be kept now. The shell goes on trying.
    PersistFailed {
        /// Why, for people.
        cause: String,
    },
    /// The wall clock of this machine ran ahead of its monotonic clock by more than the machine may owe it: the machine stood
    /// still meanwhile (paused, migrated, restored from a snapshot), or somebody set the wall clock.
    ClockJumped {
        /// By how much.
        by: Duration,
    },
    /// The program wants to leave.
    Leave,
    /// The time that [`Node::next_timeout`](crate::Node::next_timeout) asked for has come.
    Tick,
}
