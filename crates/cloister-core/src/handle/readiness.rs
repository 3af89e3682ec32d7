//! What is missing, and why: one answer for errors, for `/readyz` and for people.

use std::time::Duration;

use cloister_proto::Status;

use super::obstacle::Obstacle;

/// Whether this node is ready, and if not, what is missing.
///
/// [`Cloister::readiness`](crate::Cloister::readiness) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether a load balancer should send requests to this node.
    ///
    /// It should if the node is up, was not asked to leave, and the runtime of the application answers. The same between two views, for at
    /// most `timing.rehash_timeout`: all nodes are there at the same time, and calls by key wait for the next view.
    pub is_ready: bool,
    /// How far this node has come.
    pub status: Status,
    /// What is missing, and why; empty when the node is up, was not asked to leave, and the runtime of the application answers.
    pub missing: Vec<Obstacle>,
    /// What does no harm yet: the next loss or split would. Each is a [`SplitWarning`](crate::SplitWarning) in words.
    pub warnings: Vec<String>,
    /// For how long the runtime of the application has not answered, if it is late: something blocks its threads.
    pub stalled: Option<Duration>,
}
