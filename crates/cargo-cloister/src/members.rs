//! The answers of a node to `GET /members` and `GET /readyz`.
//!
//! Nodes may have another version than the tool: a field that is missing or null is shown as `-`.

use cloister_json::{Members, Readiness};
use thiserror::Error;

use crate::http::{self, HttpError, Url};

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

/// Why the node is not ready, in its own words; none if it does not say.
pub(crate) async fn missing(url: &Url) -> Vec<String> {
    let Ok(answer) = http::get(url, "/readyz").await else { return Vec::new() };
    serde_json::from_slice(&answer.body).map_or_else(|_| Vec::new(), |readiness: Readiness| readiness.missing)
}
