//! `GET /whois/{key}`.

use serde::{Deserialize, Serialize};

/// Which node owns a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whois {
    /// The key that was asked for.
    pub key: String,
    /// The slot of the key.
    pub slot: u16,
    /// The name of the owner; `null` before the first view.
    #[serde(default)]
    pub owner: Option<String>,
    /// Whether the node that answers is the owner, by a lease that it holds.
    pub is_mine: bool,
    /// The epoch of the view that this is so by.
    #[serde(default)]
    pub epoch: Option<String>,
}
