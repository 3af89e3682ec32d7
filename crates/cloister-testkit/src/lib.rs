//! What the tests of several crates share: a certificate authority and a DNS server. It is no part of what programs use.

#![allow(clippy::missing_panics_doc, reason = "all of it panics where a test cannot go on")]

pub mod certificates;
pub mod dns_server;
