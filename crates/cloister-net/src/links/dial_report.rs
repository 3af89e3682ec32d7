//! What the dialer knows of an address, for reports.

use cloister_proto::{Address, NodeName};

/// How an address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialState {
    /// A link to the node there is open.
    Linked,
    /// It is being tried, or has not been tried yet.
    Connecting,
    /// It refuses connections: no process listens there.
    Refused,
    /// It does not answer.
    Unreachable,
    /// It is this very node.
    Local,
}

impl DialState {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DialState::Linked => "linked",
            DialState::Connecting => "dialling",
            DialState::Refused => "refused",
            DialState::Unreachable => "unreachable",
            DialState::Local => "self",
        }
    }
}

/// What the dialer knows of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialReport {
    /// The address.
    pub address: Address,
    /// The node that is or was last linked there.
    pub name: Option<NodeName>,
    /// How it answers.
    pub state: DialState,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}
