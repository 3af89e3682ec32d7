//! What the manager is told by its own parts.

use ractor::{ActorCell, SpawnErr};

use super::identity::Identity;
use crate::error::Ended;

/// What the manager is told by its own parts.
#[derive(Debug)]
pub(crate) enum Order {
    /// Find out who this node is, and begin a life.
    Identify,
    /// It is known who this node is.
    Identified(Identity),
    /// The node is up.
    Up,
    /// This node cannot go on.
    Failed(Ended),
    /// Start a child again.
    StartChild {
        /// Its number.
        child: usize,
    },
    /// A child has started, or not.
    ChildStarted {
        /// Its number.
        child: usize,
        /// The actor.
        started: Result<ActorCell, SpawnErr>,
    },
}
