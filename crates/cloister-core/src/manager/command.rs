//! What the manager is told by its own parts.

use std::net::IpAddr;

use ractor::ActorCell;

use super::identity::Identity;
use crate::error::ExitReason;

/// What the manager is told by its own parts.
#[derive(Debug)]
pub(crate) enum Command {
    /// Find out who this node is, and begin a life.
    Identify,
    /// It is known who this node is.
    Identified(Identity),
    /// The address that this node is known by is no longer this machine's.
    Moved(IpAddr),
    /// The node is up.
    Up,
    /// This node cannot go on.
    Failed(ExitReason),
    /// Start a child again.
    StartChild {
        /// Its number.
        child: usize,
    },
    /// A child has started, or not.
    ChildStarted {
        /// Its number.
        child: usize,
        /// The actor, or why there is none.
        started: Result<ActorCell, String>,
    },
}
