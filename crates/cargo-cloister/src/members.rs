//! The answer of a node to `GET /members`.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::http::{self, HttpError, Url};

/// The cluster from the point of view of one node.
///
/// Only the name and the status of the node are required. A field that is missing or null is shown as `-`, and unknown fields are
/// ignored, so that the tool and the nodes may have different versions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Members {
    pub(crate) node: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) incarnation: Option<String>,
    /// A decimal number that may exceed 2^53.
    #[serde(default)]
    pub(crate) epoch: Option<String>,
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    #[serde(default)]
    pub(crate) consensus: Option<u64>,
    #[serde(default)]
    pub(crate) split: Option<Split>,
    /// Warnings of the node.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) sentry: Option<String>,
    #[serde(default)]
    pub(crate) is_sentry: Option<bool>,
    #[serde(default)]
    pub(crate) members: Vec<Member>,
    #[serde(default)]
    pub(crate) peers: Vec<Peer>,
    #[serde(default)]
    pub(crate) ring: Option<Ring>,
}

/// How the cluster handles a loss or a split.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Split {
    #[serde(default)]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) counted: Option<u64>,
    #[serde(default)]
    pub(crate) spare: Option<u64>,
}

/// A member of the installed view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) incarnation: Option<String>,
    #[serde(default)]
    pub(crate) started_at: Value,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) live: Option<bool>,
}

/// A peer, and the state of the connection to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Peer {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) address: Option<String>,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) last_error: Option<String>,
    #[serde(default)]
    pub(crate) last_heard_ms: Option<u64>,
    /// Settings that it has otherwise.
    #[serde(default)]
    pub(crate) differs: Vec<Difference>,
}

/// A setting that two nodes have differently.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) here: String,
    #[serde(default)]
    pub(crate) there: String,
}

/// How many slots of the ring the node owns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Ring {
    #[serde(default)]
    pub(crate) slots: Value,
    #[serde(default)]
    pub(crate) mine: Value,
}

/// Why there is no usable answer.
#[derive(Debug, Error)]
pub(crate) enum MembersError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url}/members answers with status {status}: is this the admin HTTP of a Cloister node?")]
    Status { url: String, status: u16 },
    #[error("{url}/members is not what a Cloister node says")]
    Json { url: String, source: serde_json::Error },
}

/// The body of `GET /members`, as it came.
pub(crate) async fn raw(url: &Url) -> Result<Vec<u8>, MembersError> {
    let answer = http::get(url, "/members").await?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(MembersError::Status { url: url.to_string(), status }),
    }
}

/// The cluster from the point of view of one node.
pub(crate) async fn members(url: &Url) -> Result<Members, MembersError> {
    let body = raw(url).await?;
    serde_json::from_slice(&body).map_err(|source| MembersError::Json { url: url.to_string(), source })
}

/// The part of `GET /readyz` that says why a node is not ready.
#[derive(Deserialize)]
struct Readiness {
    #[serde(default)]
    missing: Vec<String>,
}

/// Why the node is not ready, in its own words; none if it does not say.
pub(crate) async fn missing(url: &Url) -> Vec<String> {
    let Ok(answer) = http::get(url, "/readyz").await else { return Vec::new() };
    serde_json::from_slice(&answer.body).map_or_else(|_| Vec::new(), |readiness: Readiness| readiness.missing)
}
