//! `/metrics`: gauges that are computed for the request, and what was recorded since the process began.
//!
//! The format is the one that the client asks for: OpenMetrics, or the text format of Prometheus. Labels have values from a fixed set, but
//! for the two `_info` metrics and the names of the program's own rings and tables. So the number of series is bounded.

use std::fmt;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cloister_core::internal::recorded;
use cloister_core::telemetry::{metric, rejections};
use cloister_core::{Cloister, Peer, PeerState, Status};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

const OPEN_METRICS: &str = "application/openmetrics-text";

pub(super) async fn metrics(State(cloister): State<Cloister>, headers: HeaderMap) -> Response {
    let registry = registry(&cloister, &cloister.peers().await);
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with(OPEN_METRICS));
    let mut body = String::new();
    let (kind, encoded) = if open {
        (format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8"), text::encode(&mut body, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE.to_owned(), prometheus_text::encode(&mut body, &registry))
    };
    match encoded {
        Ok(()) => ([(CONTENT_TYPE, kind), (VARY, "accept".to_owned())], body).into_response(),
        // Writing into a string does not fail, so this is a mistake in a metric.
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// All metrics, under the names of [`metric`]. The encoder adds the unit and `_total`.
fn registry(cloister: &Cloister, peers: &[Peer]) -> Registry {
    let mut registry = Registry::default();
    gauges(&mut registry, cloister, peers);
    runtime(&mut registry, cloister);
    info(&mut registry, cloister);
    counters(&mut registry, cloister);
    durations(&mut registry);
    #[cfg(feature = "table")]
    tables(&mut registry);
    registry
}

/// A series for each table. A program defines few.
#[cfg(feature = "table")]
fn tables(registry: &mut Registry) {
    use prometheus_client::metrics::gauge::Gauge;

    let tables = cloister_table::statistics();
    if tables.is_empty() {
        return;
    }
    let labels = |table: &cloister_table::TableStatistics| {
        [("table", table.table.clone()), ("kind", table.kind().to_owned())]
    };
    let gauges = |value: fn(&cloister_table::TableStatistics) -> u64| {
        let family = Family::<[(&str, String); 2], Gauge>::default();
        for table in &tables {
            let value = i64::try_from(value(table)).unwrap_or(i64::MAX);
            family.get_or_create(&labels(table)).set(value);
        }
        family
    };
    let help = "Entries of a table that this node has, with copies";
    registry.register(base(metric::TABLE_ROWS), help, gauges(|table| table.rows));
    let help = "Bytes of the keys, values and kept answers of a table that this node has";
    unit(registry, metric::TABLE_BYTES, help, Unit::Bytes, gauges(|table| table.bytes));
    let help =
        "Slots of a table with fewer copies than they should have, by too few members too, or not served yet";
    registry.register(base(metric::TABLE_UNDER_REPLICATED), help, gauges(|table| table.under_replicated));
    let lost = Family::<[(&str, String); 2], Counter>::default();
    for table in &tables {
        lost.get_or_create(&labels(table)).inc_by(table.lost);
    }
    let help = "Slots of a table that have lost writes, or may have";
    registry.register(base(metric::TABLE_LOST), help, lost);
}

fn gauges(registry: &mut Registry, cloister: &Cloister, peers: &[Peer]) {
    let state = cloister.state();
    let split = cloister.split_report();
    let linked = peers.iter().filter(|peer| peer.state == PeerState::Linked).count();
    let mut gauge =
        |name: &str, help: &str, value: u64| registry.register(name, help, ConstGauge::new(value));
    gauge(metric::UP, "1 while this node is up", u64::from(state.status == Status::Up));
    gauge(metric::MEMBERS, "Members of the present state", count(state.members.len()));
    gauge(
        metric::COUNTED,
        "Nodes that the cluster counts: the most it had, less those that left in order",
        split.map_or(0, |report| count(report.cluster_size)),
    );
    gauge(
        metric::SPARE,
        "Members that may be lost at once without a goodbye while the rest goes on",
        split.map_or(0, |report| count(report.tolerated_losses)),
    );
    gauge(
        metric::SPLIT_RISK,
        "1 while both parts of a split may go on",
        u64::from(split.is_some_and(|report| report.allows_two_survivors)),
    );
    gauge(metric::CONSENSUS, "The configured consensus", count(cloister.consensus()));
    gauge(metric::SENTRY, "1 while this node is the sentry", u64::from(cloister.is_sentry()));
    gauge(
        metric::OWNED_SLOTS,
        "Slots of the ring over all members that this node owns",
        count(cloister.owned_slots()),
    );
    gauge(metric::CONNECTIONS, "Peers that are linked", count(linked));
    let help = "Bytes that wait to be sent to the peer for which most do";
    unit(registry, metric::WAITING, help, Unit::Bytes, ConstGauge::new(cloister.waiting_bytes()));
}

fn runtime(registry: &mut Registry, cloister: &Cloister) {
    let (stalled, longest) = cloister.runtime_stall();
    let mut seconds = |name, help, span: Duration| {
        unit(registry, name, help, Unit::Seconds, ConstGauge::new(span.as_secs_f64()));
    };
    let help = "For how long the runtime of the program has not answered; 0 while it does";
    seconds(metric::STALLED, help, stalled.unwrap_or_default());
    let help =
        "For how long the runtime of the program did not answer at the longest since the process began";
    seconds(metric::LONGEST_STALL, help, longest);
}

/// Epochs and incarnations exceed 2^53, beyond which a value is not exact, so they are labels.
fn info(registry: &mut Registry, cloister: &Cloister) {
    let node = cloister.node();
    let labels = vec![("node", node.name().to_string()), ("incarnation", node.incarnation().to_string())];
    registry.register(base(metric::NODE), "This node", Info::new(labels));
    if let Some(epoch) = cloister.epoch() {
        let labels = vec![("epoch", epoch.to_string())];
        registry.register(base(metric::VIEW), "The view installed last", Info::new(labels));
    }
}

fn counters(registry: &mut Registry, cloister: &Cloister) {
    let changes = ConstCounter::new(cloister.state().seq);
    registry.register(base(metric::STATE_CHANGES), "Changes that listeners received", changes);
    let rejected = Family::<[(&str, &str); 1], Counter>::default();
    for (reason, count) in rejections::counts() {
        rejected.get_or_create(&[("reason", reason)]).inc_by(count);
    }
    registry.register(base(metric::REJECTED), "What was refused or ignored, by reason", rejected);
    let dials = recorded::all().dials.clone();
    registry.register(base(metric::DIALS), "Attempts to connect, by outcome", dials);
}

fn durations(registry: &mut Registry) {
    let recorded = recorded::all().clone();
    let help = "Calls, by outcome";
    unit(registry, metric::CALLS, help, Unit::Seconds, recorded.calls);
    let help = "Rounds on this node from its promise on, by outcome";
    unit(registry, metric::ROUNDS, help, Unit::Seconds, recorded.rounds);
    let help = "For how long listeners held a view back, by outcome";
    unit(registry, metric::HOLDS, help, Unit::Seconds, recorded.holds);
    let help = "From one heartbeat of a peer to its next";
    unit(registry, metric::SILENCES, help, Unit::Seconds, recorded.silences);
}

fn unit(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: impl prometheus_client::registry::Metric,
) {
    registry.register_with_unit(base(name), help, unit, metric);
}

/// The name without what the encoder adds.
fn base(name: &str) -> &str {
    ["_total", "_seconds", "_bytes", "_info"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
