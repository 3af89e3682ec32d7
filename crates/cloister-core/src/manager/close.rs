//! Closes the links of an incarnation.

use std::time::Duration;

use cloister_net::links::Links;
use tracing::info;

use crate::telemetry::TARGET;

/// How long closing all links may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Closes all links, and the listening socket.
pub(super) async fn stop(links: &Links) {
    if tokio::time::timeout(CLOSE_LIMIT, links.stop()).await.is_err() {
        info!(target: TARGET, "closing all links took too long");
    }
}
