//! What the tests of several crates share: a certificate authority and a DNS server. It is no part of what programs use.

pub mod certificates;
pub mod dns_server;
