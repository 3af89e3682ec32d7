//! Clusters of real processes on this host, for the integration tests.
//!
//! A [`Plan`] says how a node is configured, a [`Node`] is its running process. The program of the process is `integration-node`, which
//! uses the crate `cloister` as any user would. It prints what its listeners hear as lines of JSON ([`Line`]) and obeys commands on its
//! standard input. Each test takes addresses of its own ([`Block`]), so that tests run beside each other. The laws that hold for every
//! listener ([`laws`]) are checked for every node that a test has started, when its handle is dropped.
//!
//! Where a fault is one of the network, nodes run on machines of their own ([`Topology`]), a network namespace each. A bridge ([`Bridge`])
//! between them drops packets ([`PacketLoss`]), or a relay delays them ([`Relay`]). That needs root ([`required`]). What a node claims is
//! watched by the node itself, and compared with what others claimed ([`Record`]).
//!
//! What goes on for minutes runs only if `CLOISTER_TEST_REQUIRE` lists `time`, and for its full length only with
//! `CLOISTER_TEST_LONG=1` ([`lasting`]).
//!
//! `CLOISTER_TEST_PATIENCE` says how many times longer than its bar anything may take before a test fails (default 2): the
//! bars are meant for an idle machine. What was measured is printed beside the bar. Where a bar is shorter than a busy machine may stand
//! still, the time in which nodes waited for a processor does not count ([`RunDelay`]).

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "all of it panics or fails where a test cannot go on"
)]

mod bridge;
mod browser;
mod budget;
mod cluster;
mod content;
mod example;
pub mod http;
pub mod laws;
mod line;
mod machine;
mod node;
mod packet_loss;
mod plan;
mod random;
mod rate;
mod required;
mod run_delay;
mod topology;
mod usage;
mod watch;

pub use bridge::Bridge;
pub use browser::{Browser, Pending};
pub use cloister_testkit::loopback::Block;
pub use cloister_testkit::output::{Output, WAIT_TIMEOUT};
pub use cloister_testkit::relay::Relay;
pub use cloister_testkit::wait::{eventually, eventually_within};

pub use budget::{Budget, median, report};
pub use cluster::{
    Agreement, agree, agreement, assembly_time, check_assembly, marks, names, reunite, start_all,
};
pub use content::{Content, ROW_BYTES, row_value};
pub use example::example;
pub use http::{Response, get, send};
pub use line::{Changed, Claimed, Line, Notice, Replied};
pub use machine::{Machine, Namespace};
pub use node::{Node, between, now};
pub use packet_loss::PacketLoss;
pub use plan::Plan;
pub use random::Random;
pub use rate::{Rate, in_turn, rate};
pub use required::{lasting, required};
pub use run_delay::RunDelay;
pub use topology::{Topology, bridge_ip};
pub use usage::Usage;
pub use watch::Record;
