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

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::routing::get;
use axum::serve::Listener;
use axum::{Extension, Router};
use cloister_core::{Cloister, Companion};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{error, info};

/// How long answers may take once the node has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves at `address` until this node has left; returns the address, of use if the port was 0. Fails
/// when it cannot listen there.
///
/// Then the port is free again. While a node that failed may be started again, its pages are there.
pub async fn serve(cloister: &Cloister, address: SocketAddr) -> io::Result<SocketAddr> {
    serve_until(cloister, address, cloister.left()).await
}

/// As [`serve`], until `ended`.
pub(crate) async fn serve_until(
    cloister: &Cloister,
    address: SocketAddr,
    ended: impl Future<Output = ()> + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = Door { listener: TcpListener::bind(address).await?, _open: cloister.companion() };
    let address = listener.local_addr()?;
    let (over, is_over) = watch::channel(false);
    let router = pages_until(cloister.clone(), Over(Some(is_over.clone())));
    info!(%address, "admin server listens");
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(Over(Some(is_over)).wait());
        let mut serving = pin!(serving.into_future());
        tokio::select! {
            served = &mut serving => if let Err(cause) = served {
                error!(%cause, "admin server ended");
            },
            () = ended => {
                over.send_replace(true);
                // The port is free at once; answers that are under way have a moment.
                let _ = tokio::time::timeout(LAST_ANSWERS, serving).await;
            }
        }
    });
    Ok(address)
}

/// The listener. A node has left when it is closed, so that the next one can have the port.
struct Door {
    listener: TcpListener,
    _open: Companion,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
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

/// The pages alone, to be placed into a server of your own.
pub fn router(cloister: Cloister) -> Router {
    pages_until(cloister, Over(None))
}

fn pages_until(cloister: Cloister, over: Over) -> Router {
    Router::new()
        .route("/livez", get(pages::livez))
        .route("/readyz", get(pages::readyz))
        .route("/members", get(pages::members))
        .route("/whois/{*key}", get(pages::whois))
        .route("/metrics", get(pages::metrics))
        .route("/events", get(events::events))
        .layer(Extension(over))
        .with_state(cloister)
}
