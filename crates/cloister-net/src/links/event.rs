//! What the link layer reports.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloister_proto::{Address, Hello, LinkId, Member, Message, Time};

use super::error::LinkError;

/// What the link layer reports to the monitor.
#[derive(Debug)]
pub enum LinkEvent {
    /// A link is ready: both sides have authenticated and read each other's `Hello`.
    Linked {
        /// The number of the link, never used before.
        link: LinkId,
        /// The node at the other end, as ractor authenticated it.
        peer: Member,
        /// All that the peer sent about itself.
        hello: Hello,
    },
    /// A link is closed, by either end. Reported once for each link, as its last event.
    Unlinked {
        /// The number of the link.
        link: LinkId,
    },
    /// A message came in. Reported only between `Linked` and `Unlinked`.
    Received {
        /// By which link.
        link: LinkId,
        /// The message; never `Hello` nor `Refused`.
        message: Message,
    },
    /// An address refused a connection: no process listens there, or something refuses in its place.
    Refused {
        /// The address, as peers name it.
        address: Address,
        /// When the attempt began.
        began: Time,
    },
    /// What discovery found and the dialer made of it, reported when it changed.
    DiscoveryUpdate {
        /// The addresses named by discovery which are neither linked, nor refuse, nor are this node.
        unverified: BTreeSet<Address>,
        /// All addresses that discovery names, but for this node's own.
        named: BTreeSet<Address>,
        /// The addresses named by discovery which refuse.
        refusing: BTreeSet<Address>,
        /// Whether every strategy of discovery has answered once.
        complete: bool,
    },
    /// The link layer has ended by itself; nothing follows.
    Failed(LinkError),
}

/// Takes link events; must neither block nor panic. It is called by several actors.
pub type Sink = Arc<dyn Fn(LinkEvent) + Send + Sync>;
