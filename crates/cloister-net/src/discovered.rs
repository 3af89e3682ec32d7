//! What the discovery loop reports.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// What discovery names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// The addresses at each of which a node may be.
    pub(crate) found: BTreeSet<SocketAddr>,
    /// Further addresses of these nodes.
    pub(crate) aliases: BTreeSet<SocketAddr>,
    /// Whether every seed has answered.
    pub(crate) complete: bool,
}
