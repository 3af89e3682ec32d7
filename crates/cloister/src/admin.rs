//! The admin HTTP server: what a node sees, for people, probes and tools.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | a page that shows all of this, and follows it |
//! | `GET /livez` | 200 while the runtime of the program answers, else 503; says nothing of the cluster |
//! | `GET /readyz` | 200 when the node is up, does not drain and is not blocked, also between two views for at most `timing.rehash_timeout`; else 503 with what is missing and why; in both cases with `warnings` |
//! | `GET /members` | everything this node knows of the cluster |
//! | `GET /whois/{key}` | the owner of the key, with `?ring=` in a named ring; 503 before the first view |
//! | `GET /tables` | how the tables and entities of this node stand, as it looked within the last second |
//! | `GET /events` | server-sent events: the present state, then every change |
//! | `GET /metrics` | gauges, counters and histograms, for Prometheus |
//!
//! The server runs on the runtime of the node, so it answers while the program blocks its own.
//!
//! Epochs and incarnations are strings: they exceed 2^53, beyond which numbers of JSON are not exact everywhere. The answers are types
//! of [`json`], which programs that read them can use, too: the crate `cloister-json` depends on serde alone.
//!
//! There is no password: let it listen only where trusted clients reach it. What clients can take of the process is bounded:
//!
//! - 64 connections, fewer where the process may have few file descriptors. A new one evicts the one that has waited longest for a request.
//! - 5 s for the head of a request, and between two requests.
//! - 16 streams of events, and half of the connections at most. The answer to any more is 503. A client that reads so slowly that 256
//!   changes wait for it loses its connection.
//! - A request whose `Host` is a public name of another machine gets 421. A page on the internet must not read these pages through the
//!   browser of a visitor.

mod connections;
mod events;
mod host;
mod live;
mod metrics;
mod pages;
mod server;

use std::io;
use std::net::SocketAddr;

pub use axum;
use axum::extract::FromRef;
use axum::routing::get;
use axum::{Extension, Router};
use cloister_core::{Cloister, internal};
pub use cloister_json as json;
use tokio::sync::watch;

use self::events::Streams;
pub(crate) use self::server::Listener;

/// Serves at `address` until this node has left; returns the address, of use if the port was 0. Then the port is free again.
/// While a node that failed may be started again, its pages are there.
///
/// # Errors
///
/// When it cannot listen there.
///
/// ```
/// # use cloister::Config;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cloister = cloister::start_with(Config::new("shop")).await?;
/// let address = cloister::admin::serve(&cloister, "127.0.0.1:0".parse()?).await?;
/// println!("http://{address}/members");
/// # cloister.leave().await;
/// # Ok(())
/// # }
/// ```
pub async fn serve(cloister: &Cloister, address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = Listener::bind(address)?;
    let address = listener.address();
    listener.serve(cloister, None, internal::left(cloister));
    Ok(address)
}

/// Whether the node that is served has ended; never for pages in a server of the program's own.
#[derive(Clone)]
struct Over(Option<watch::Receiver<bool>>);

impl Over {
    async fn wait(self) {
        match self.0 {
            // Without its sender the server is gone.
            Some(mut over) => drop(over.wait_for(|over| *over).await),
            None => std::future::pending().await,
        }
    }
}

/// The pages alone, to be placed into a server of your own. Its limits and its check of the `Host` are yours; at most 16 clients
/// read `/events` of one router and its clones.
///
/// ```no_run
/// use cloister::Cloister;
/// use cloister::admin::axum::Router;
///
/// fn pages(cloister: &Cloister) -> Router {
///     Router::new().nest("/cluster", cloister::admin::router(cloister.clone()))
/// }
/// ```
pub fn router(cloister: Cloister) -> Router {
    pages_until(cloister, Over(None))
}

fn pages_until(cloister: Cloister, over: Over) -> Router {
    Router::new()
        .route("/", get(live::page))
        .route("/livez", get(pages::livez))
        .route("/readyz", get(pages::readyz))
        .route("/members", get(pages::members))
        .route("/whois/{*key}", get(pages::whois))
        .route("/tables", get(pages::tables))
        .route("/metrics", get(metrics::metrics))
        .route("/events", get(events::events))
        .layer(Extension(over))
        .with_state(Pages { cloister, streams: Streams::new(connections::max()) })
}

/// What the pages share.
#[derive(Clone)]
struct Pages {
    cloister: Cloister,
    streams: Streams,
}

impl FromRef<Pages> for Cloister {
    fn from_ref(pages: &Pages) -> Self {
        pages.cloister.clone()
    }
}
