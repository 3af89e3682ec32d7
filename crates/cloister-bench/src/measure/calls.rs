//! Sending to all, asking all, and asking the owner of a key; beside a bare mesh and plain TCP.

use cloister_integration::{Node, Rate, eventually};
use serde_json::Value;

use super::Measuring;
use super::cluster::{Cluster, plans};
use crate::baseline::Mesh;
use crate::record::Run;

/// How long one run calls, in milliseconds.
const SPAN_MS: u64 = 1_000;

/// How many messages one run sends to all.
const MESSAGES: u64 = 20_000;

/// All members are asked, by one caller and by sixteen; all are sent messages; one is asked by the key it owns. Beside
/// it the same in a bare mesh of ractor nodes, and plain TCP.
pub(crate) fn calls(measuring: &mut Measuring<'_>, n: usize) {
    let ips = measuring.ips(n);
    let plans = plans(&ips).into_iter().map(|plan| plan.worker("echo"));
    let mut cluster = Cluster::start(plans.collect());
    let mut mesh = Mesh::assemble(&ips);
    let asks = n - 1;
    wait_for_workers(&mut cluster.nodes[asks]);
    warm_up(&mut cluster.nodes[asks], &mut mesh);
    measuring.each_run(|measuring, run| {
        let mut ask = |what: &str| cluster.nodes[asks].ask(&format!("rate {what} {run}"));
        let mut beside = |what: &str| mesh.rate(&format!("{what} {run}"));
        let tcp = beside(&format!("tcp {SPAN_MS}"));
        let bare = beside(&format!("one {SPAN_MS}"));
        let one = rate(ask(&format!("multicall 1 {SPAN_MS}")));
        let bare_all = beside(&format!("all 1 {SPAN_MS}"));
        let many = rate(ask(&format!("multicall 16 {SPAN_MS}")));
        let bare_many = beside(&format!("all 16 {SPAN_MS}"));
        let sent = rate(ask(&format!("multicast {MESSAGES}")));
        let by_key = ask(&format!("locate {SPAN_MS}"));
        let (held, located) = (rate(by_key["held"].clone()), rate(by_key["located"].clone()));
        let keyed = ask(&format!("keyed {SPAN_MS}"));
        let of = |part: &str| rate(keyed[part].clone());
        measuring.note("tcp", n, micros(tcp, None));
        measuring.note("bare-call", n, micros(bare, Some(tcp)));
        measuring.note("multicall-p50", n, micros(one, Some(bare)));
        measuring.note("multicall", n, per_second(one, bare_all));
        measuring.note("multicall-16", n, per_second(many, bare_many));
        measuring.note("multicast", n, sent.per_second() / 1e3);
        measuring.note("locate", n, micros(located, Some(held)));
        measuring.note("call-key", n, micros(of("keyed"), Some(of("held"))));
        measuring.note("call-key-own", n, per_second(of("keyed_here"), of("held_here")));
    });
}

/// Until the one that asks finds the worker of every member: it does so a moment after they are up.
fn wait_for_workers(asks: &mut Node) {
    let (mut turn, members) = (0, asks.notices().last().map(|notice| notice.members.len()));
    eventually("every worker is found", || {
        turn += 1;
        let found = asks.ask(&format!("workers {turn}"));
        if found.as_array().map(Vec::len) == members { Ok(()) } else { Err(found) }
    });
}

/// What is slow only the first time is done before anything is measured.
fn warm_up(asks: &mut Node, mesh: &mut Mesh) {
    asks.ask("rate multicall 1 200 warm");
    asks.ask("rate multicast 1000 warm");
    mesh.rate("all 1 200 warm");
    mesh.rate("one 200 warm");
}

fn rate(value: Value) -> Rate {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

/// The middle and the tail, in microseconds, beside the middle of the baseline.
fn micros(rate: Rate, baseline: Option<Rate>) -> Run {
    let micros = |ns: u64| ns as f64 / 1e3;
    Run {
        value: micros(rate.p50_ns),
        baseline: baseline.map(|baseline| micros(baseline.p50_ns)),
        p99: Some(micros(rate.p99_ns)),
    }
}

/// Thousands a second.
fn per_second(rate: Rate, baseline: Rate) -> Run {
    Run { baseline: Some(baseline.per_second() / 1e3), ..Run::from(rate.per_second() / 1e3) }
}
