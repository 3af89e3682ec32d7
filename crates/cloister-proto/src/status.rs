//! How far a node has come.

use std::fmt;

/// How far a node has come.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::Status;
///
/// assert_eq!(Status::default(), Status::Down);
/// assert_eq!(Status::Rehashing.as_str(), "rehashing");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// Not started.
    #[default]
    Down,
    /// Fewer nodes than consensus asks for, or this node is not in their view.
    Assembling,
    /// A new view is being agreed on; listeners may hold it.
    Rehashing,
    /// A view is installed and its lease is held: `whois`, `is_mine` and the sentry can be trusted.
    Up,
    /// On the way out, still linked so that the others can take over.
    Stopping,
    /// Out.
    Stopped,
}

impl Status {
    /// The lower-case name, as in logs, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Down => "down",
            Status::Assembling => "assembling",
            Status::Rehashing => "rehashing",
            Status::Up => "up",
            Status::Stopping => "stopping",
            Status::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
