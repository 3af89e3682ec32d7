//! Clusters of real processes on this host, and what must be seen of them.
//!
//! A [`Plan`] says how a node is configured, a [`Node`] is its running process. The program of the process is
//! `integration-node`, which uses the crate `cloister` as any user would; it prints what its listeners hear as lines of
//! JSON ([`Line`]) and obeys commands on its standard input. Each test takes addresses of its own ([`Block`]), so that
//! tests run beside each other. The laws that hold for every listener ([`laws`]) are checked for every node that a
//! test has started, when its handle is dropped.
//!
//! `CLOISTER_TEST_PATIENCE` says how many times longer than its bar anything may take before a test fails (default 5): the
//! bars are meant for an idle machine. What was measured is printed beside the bar.

mod address;
mod bar;
mod cluster;
mod http;
pub mod laws;
mod line;
mod node;
mod output;
mod plan;
mod rate;

pub use address::Block;
pub use bar::{Bar, PATIENCE, eventually, median, report};
pub use cluster::{Agreement, agree, agreement, assembly_time, start_all};
pub use http::{Answer, get, send};
pub use line::{Changed, Heard, Line, Replied};
pub use node::{Node, between};
pub use output::Output;
pub use plan::Plan;
pub use rate::{Rate, in_turn, rate};
