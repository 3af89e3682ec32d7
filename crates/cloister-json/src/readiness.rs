//! `GET /readyz`.

use serde::{Deserialize, Serialize};

/// Whether a node is ready, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// How far the node has come, such as `up`.
    #[serde(default)]
    pub status: String,
    /// What is missing, and why: one sentence each. Empty while the node is up and ready; between two views it says what the round waits for.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What the next loss or split would do: one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// For how many milliseconds the runtime of the program has not answered. Left out while it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
}
