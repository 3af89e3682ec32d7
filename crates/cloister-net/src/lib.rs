//! The connections of a node, from a socket to a link that carries messages.
//!
//! This crate dials the addresses that discovery finds, accepts connections, authenticates both ends, and hands each connection to
//! ractor as a session. It reports links to the caller and carries its messages; it does not know what a view is.
//!
//! Programs use the crate `cloister`.
//!
//! # Layout
//!
//! - [`links`]: connections, sessions, the dialer, the accept loop.
//! - [`tls`]: mutual TLS.
//! - [`peer_check`]: what a peer would say to a node that dials it.
//! - [`runtime`]: the runtime of the node, and what the node uses of the application's.
//! - [`clock`]: the clock of this host.
//! - [`telemetry`]: names of what is logged and measured, and counters. [`recorded`]: what is recorded as it happens.

mod accept;
pub mod clock;
mod connection;
mod dial;
mod discovered;
mod discovery_loop;
pub mod files;
mod jitter;
pub mod links;
mod listen;
pub mod log_limiter;
mod messages;
pub mod peer_check;
pub mod recorded;
pub mod runtime;
mod session;
mod standby;
pub mod telemetry;
pub mod tls;

pub use listen::ListenError;

/// The most bytes that the arguments of a message to another node may have. A frame over 16 MiB would end the
/// connection at the receiver, so larger messages are refused by the sender.
///
/// ```
/// assert_eq!(cloister_net::MAX_MESSAGE_LEN, 15 * 1024 * 1024);
/// ```
pub const MAX_MESSAGE_LEN: usize = 15 << 20;
