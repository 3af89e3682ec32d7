//! Assembles [`ractor`] programs into a cluster.
//!
//! The same binary is one node on a laptop, with no socket opened; three nodes in `docker compose up --scale app=3`, which
//! found each other by the name of their service; and the same in Kubernetes or on fixed hosts.
//!
//! ```no_run
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Reads `cloister.toml` and CLOISTER__*, joins the others, and waits until enough of them are there.
//!     let cloister = cloister::start().await?;
//!     println!("{} is up beside {:?}", cloister.node(), cloister.siblings());
//!     if cloister.is_mine("user:42") {
//!         println!("user:42 lives here");
//!     }
//!     // SIGTERM and Ctrl-C leave the cluster in order.
//!     println!("{}", cloister.stopped().await);
//!     Ok(())
//! }
//! ```
//!
//! # What there is
//!
//! - [`start`] and [`start_with`]: join a cluster in one line. See [`Config`] for what can be configured.
//! - [`Cloister`]: the handle. Who owns a key, who is the sentry, who is there; send to the owner, to all; leave.
//! - [`StateChange`]: what listener actors hear, with a [`Hold`] for those that move data before a new view begins.
//! - [`ManagerActor`]: the same under a supervisor of your own.
//! - [`admin`]: the HTTP server that shows it all.
//!
//! # Messages
//!
//! This crate switches on the feature `cluster` of ractor, and with it the blanket implementation of `ractor::Message` is
//! gone **in your whole build**: derive `RactorMessage` for messages that stay in the process and
//! `RactorClusterMessage` for those that travel, or write `impl ractor::Message for MyMessage {}`. The derive macros
//! write `ractor::…`, so the crate `ractor` must be found by that name: depend on it, or `use cloister::ractor;` in the module
//! (and in the crate's root, `extern crate cloister as _`-free, for the travelling kind: `extern crate ractor`).

#[cfg(feature = "admin")]
pub mod admin;
pub mod signals;
mod start;

pub use cloister_core::*;
pub use start::{StartError, start, start_with};
