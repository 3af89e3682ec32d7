//! Tables and entities: reads, writes and calls, beside a call by the reference in hand of the same run; and the memory of a row.

use cloister_integration::{Rate, Usage};
use serde_json::Value;

use super::Measuring;
use super::cluster::{Cluster, plans};
use crate::record::Run;

/// How long each of the things that one run does is done, in milliseconds.
const SPAN_MS: u64 = 700;

/// How many rows are written to see what memory they take.
const ROWS: u64 = 200_000;

/// Writes, reads and calls from one node, in a cluster of `n`.
pub(crate) fn tables(measuring: &mut Measuring<'_>, n: usize) {
    let plans = plans(&measuring.ips(n)).into_iter().map(|plan| plan.worker("echo").variable("NODE_ROWS", 0));
    let mut cluster = Cluster::start(plans.collect());
    let asks = n - 1;
    // What is slow only the first time is done before anything is measured.
    cluster.nodes[asks].ask("rate tables 100 warm");
    measuring.each_run(|measuring, run| {
        let rates = cluster.nodes[asks].ask(&format!("rate tables {SPAN_MS} {run}"));
        let of = |part: &str| -> Rate {
            let rate: Value = rates[part].clone();
            serde_json::from_value(rate).unwrap_or_else(|error| panic!("{error}: {rates}"))
        };
        measuring.note("table-write-2", n, micros(of("two"), of("echo_two")));
        measuring.note("table-write-3", n, micros(of("three"), of("echo_three")));
        measuring.note("table-writes-2", n, per_second(of("two_many"), of("echo_many")));
        measuring.note("table-writes-3", n, per_second(of("three_many"), of("echo_many")));
        measuring.note("table-read", n, of("read").per_second() / 1e6);
        measuring.note("entity-call", n, micros(of("entity"), of("echo_entity")));
        measuring.note("entity-own", n, of("entity_own").per_second() / 1e3);
    });
    let memory = |cluster: &mut Cluster| -> u64 {
        cluster.nodes.iter_mut().map(|node| Usage::of(node).memory * 1024).sum()
    };
    let before = memory(&mut cluster);
    let filled = cluster.nodes[asks].ask(&format!("rows 1000000000 {ROWS}"));
    let bytes = filled["bytes"].as_u64().expect("a number") as f64;
    // Each is on two nodes.
    let taken = (memory(&mut cluster) as f64 - before as f64) / 2.0;
    measuring.note("table-overhead", n, (taken - bytes) / ROWS as f64);
}

/// The middle and the tail, in microseconds, beside the middle of the baseline.
fn micros(rate: Rate, baseline: Rate) -> Run {
    let micros = |ns: u64| ns as f64 / 1e3;
    Run {
        value: micros(rate.p50_ns),
        baseline: Some(micros(baseline.p50_ns)),
        p99: Some(micros(rate.p99_ns)),
    }
}

/// Thousands a second.
fn per_second(rate: Rate, baseline: Rate) -> Run {
    Run { baseline: Some(baseline.per_second() / 1e3), ..Run::from(rate.per_second() / 1e3) }
}
