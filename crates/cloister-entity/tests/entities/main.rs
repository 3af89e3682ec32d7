//! Entities, on a node that is alone and on a few nodes. One program holds all tests: it is linked once, and while one test waits another one
//! runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

mod alone;
mod cluster;
mod fenced;
mod hung;
mod later;
mod lazy;
mod longer;
mod repeats;
mod runtimes;
