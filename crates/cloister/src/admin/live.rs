//! `/`: a page for people that shows the cluster as this node sees it, and follows it.
//!
//! It is one file without requests to elsewhere. It reads `/members` and `/readyz` each second, and `/events`.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse};

const PAGE: &str = include_str!("live.html");

/// The page may load nothing, ask this node only, and not be framed: names of peers are shown in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                      form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // After an update of the program the page is the one of the new build.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_no_other_host_and_puts_no_markup_together_from_texts() {
        let namespace = "http://www.w3.org/2000/svg";
        assert!(!PAGE.replace(namespace, "").contains("://"));
        for call in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(call), "{call}");
        }
    }
}
