//! What the tests of several crates share. It is no part of what programs use.

#![allow(clippy::missing_panics_doc, reason = "all of it panics where a test cannot go on")]

#[cfg(feature = "certificates")]
pub mod certificates;
#[cfg(feature = "dns-server")]
pub mod dns_server;
#[cfg(feature = "cluster")]
pub mod laws;
pub mod loopback;
#[cfg(feature = "cluster")]
pub mod network;
pub mod obedient;
pub mod output;
pub mod process;
pub mod random;
pub mod relay;
#[cfg(feature = "cluster")]
pub mod universe;
pub mod wait;
