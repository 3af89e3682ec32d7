//! `GET /events`.

use serde::{Deserialize, Serialize};

/// One step of the cluster as a node sees it. The first of a stream is the present state, without changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The number of this step; the next event has the next number.
    pub seq: u64,
    /// When the node sent it, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub at: u64,
    /// The status before.
    pub from: String,
    /// The status now.
    pub to: String,
    /// The epoch of the view that the node installed last.
    #[serde(default)]
    pub epoch: Option<String>,
    /// What is different.
    #[serde(default)]
    pub changes: Vec<ChangeRow>,
    /// The name of the sentry (leader).
    #[serde(default)]
    pub sentry: Option<String>,
}

/// One difference. A change that is about several nodes is one row for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// `node_up`, `node_down`, `network_split`, `network_healed` or `sentry_changed`.
    pub kind: String,
    /// The name of the node; `null` when there is no sentry any more.
    #[serde(default)]
    pub node: Option<String>,
    /// Why a node is down: `left`, `crashed`, `unreachable` or `replaced`.
    #[serde(default)]
    pub reason: Option<String>,
}
