//! What this node knows of another.

use std::time::Duration;

use cloister_net::links::DialState;
use cloister_proto::{Address, Difference, NodeId};

/// What this node knows of another, or of an address where one may be.
///
/// [`Cloister::peers`](crate::Cloister::peers) has an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Its name, once it has said it.
    pub name: Option<String>,
    /// Where it is looked for.
    pub address: Option<Address>,
    /// How this node stands to it.
    pub state: PeerState,
    /// Why the last attempt to link it failed.
    pub last_error: Option<String>,
    /// How long ago its last byte came in.
    pub last_heard: Option<Duration>,
    /// The nodes that it reported last as reachable from it.
    pub reaches: Vec<NodeId>,
    /// The version of its application, while it is linked, from [`ManagerArguments::version`](crate::ManagerArguments::version).
    pub version: Option<String>,
    /// What it has configured otherwise than this node, while it is linked.
    pub differs: Vec<Difference>,
}

/// How this node stands to another.
///
/// [`Cloister::peers`](crate::Cloister::peers) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerState {
    /// Linked.
    Linked,
    /// An attempt is being made, or the next one is waited for.
    Connecting,
    /// Its address refuses connections, or it refused this node.
    Refused,
    /// It does not answer.
    Unreachable,
    /// It is this node.
    Local,
}

impl PeerState {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PeerState::Linked => "linked",
            PeerState::Connecting => "dialling",
            PeerState::Refused => "refused",
            PeerState::Unreachable => "unreachable",
            PeerState::Local => "self",
        }
    }
}

impl From<DialState> for PeerState {
    fn from(state: DialState) -> Self {
        match state {
            DialState::Linked => PeerState::Linked,
            DialState::Connecting => PeerState::Connecting,
            DialState::Refused => PeerState::Refused,
            DialState::Unreachable => PeerState::Unreachable,
            DialState::Local => PeerState::Local,
        }
    }
}
