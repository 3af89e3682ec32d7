//! The admin HTTP server: what a node sees, for people, probes and tools.
//!
//! | path | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process runs; says nothing of the cluster |
//! | `GET /readyz` | 200 when up, else 503 with who is missing and why |
//! | `GET /members` | everything this node knows of the cluster |
//! | `GET /whois/{key}` | who owns the key; 503 before the first view |
//! | `GET /events` | server-sent events: the present state, then every change |
//! | `GET /metrics` | a few gauges, as text |
//!
//! Epochs and incarnations are strings: they exceed 2^53, beyond which numbers of JSON are not exact everywhere. There is no
//! password: let it listen where only friends are.

mod events;
mod pages;

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use cloister_core::Cloister;
use tokio::net::TcpListener;
use tracing::{error, info};

/// Serves at `address` for as long as the process runs; returns the address, of use if the port was 0. Fails
/// when it cannot listen there.
pub async fn serve(cloister: &Cloister, address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = router(cloister.clone());
    info!(%address, "admin server listens");
    tokio::spawn(async move {
        if let Err(cause) = axum::serve(listener, router).await {
            error!(%cause, "admin server ended");
        }
    });
    Ok(address)
}

/// The pages alone, to be placed into a server of your own.
pub fn router(cloister: Cloister) -> Router {
    Router::new()
        .route("/livez", get(pages::livez))
        .route("/readyz", get(pages::readyz))
        .route("/members", get(pages::members))
        .route("/whois/{*key}", get(pages::whois))
        .route("/metrics", get(pages::metrics))
        .route("/events", get(events::events))
        .with_state(cloister)
}
