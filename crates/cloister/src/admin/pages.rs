//! The pages that are answered at once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloister_core::{Cloister, NodeId, SLOTS, Slot, SplitReport, internal};
use cloister_json::{
    Difference, Member, Members, NamedRing, Owner, Peer, Readiness, Ring, Split, Tables, Whois,
};
use serde::Deserialize;

/// The admin server answers while the application is blocked. A probe must see that nevertheless.
pub(super) async fn livez(State(cloister): State<Cloister>) -> Response {
    match cloister.runtime_stall() {
        (None, _) => "ok\n".into_response(),
        (Some(stalled), _) => {
            let body = format!("the runtime has not answered for {:.1} s\n", stalled.as_secs_f64());
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

pub(super) async fn readyz(State(cloister): State<Cloister>) -> Response {
    let readiness = cloister.readiness().await;
    let code = if readiness.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        status: readiness.status.to_string(),
        missing: readiness.missing.iter().map(ToString::to_string).collect(),
        warnings: readiness.warnings,
        stalled_ms: readiness.stalled.map(millis),
    };
    (code, Json(body)).into_response()
}

fn owner_rows(counts: Vec<(NodeId, usize)>) -> Vec<Owner> {
    counts.into_iter().map(|(node, slots)| Owner { node: name(&node), slots: count(slots) }).collect()
}

pub(super) async fn members(State(cloister): State<Cloister>) -> Json<Members> {
    let peers = cloister.peers().await;
    let live = internal::live(&cloister).await;
    let state = cloister.state();
    let split = cloister.split_report();
    let warnings = split.iter().flat_map(SplitReport::warnings);
    let is_live = |id: &NodeId| live.iter().any(|(node, live)| node == id && *live);
    Json(Members {
        node: name(&state.node.id),
        incarnation: Some(state.node.id.incarnation().to_string()),
        status: state.status.to_string(),
        epoch: state.epoch().map(|epoch| epoch.to_string()),
        seq: Some(state.seq),
        consensus: Some(count(cloister.consensus())),
        settings: cloister.common_settings(),
        split: split.as_ref().map(split_row),
        warnings: warnings.map(|warning| warning.to_string()).collect(),
        sentry: state.sentry.as_ref().map(name),
        is_sentry: Some(cloister.is_sentry()),
        members: state.members.iter().map(|member| row(member, is_live(&member.id))).collect(),
        peers: peers.into_iter().map(peer_row).collect(),
        ring: Some(Ring {
            slots: Some(count(SLOTS)),
            mine: Some(count(cloister.owned_slots())),
            owners: owner_rows(cloister.slot_counts()),
        }),
        rings: cloister.rings().iter().map(ring_row).collect(),
    })
}

fn ring_row(ring: &cloister_core::NamedRing) -> NamedRing {
    NamedRing { name: ring.name().to_owned(), owners: owner_rows(ring.slot_counts()) }
}

fn split_row(report: &SplitReport) -> Split {
    Split {
        policy: Some(report.policy.as_str().to_owned()),
        members: Some(count(report.members)),
        counted: Some(count(report.cluster_size)),
        spare: Some(count(report.tolerated_losses)),
        allows_two: Some(report.allows_two_survivors),
    }
}

fn row(member: &cloister_core::Member, live: bool) -> Member {
    Member {
        name: name(&member.id),
        incarnation: Some(member.id.incarnation().to_string()),
        started_at: Some(member.id.started_at()),
        tags: member.tags.iter().cloned().collect(),
        live: Some(live),
    }
}

fn peer_row(peer: cloister_core::Peer) -> Peer {
    Peer {
        name: peer.name,
        address: peer.address.map(|address| address.to_string()),
        state: peer.state.as_str().to_owned(),
        last_error: peer.last_error,
        last_heard_ms: peer.last_heard.map(millis),
        reaches: peer.reaches.iter().map(name).collect(),
        version: peer.version,
        differs: peer.differs.into_iter().map(difference_row).collect(),
    }
}

fn difference_row(difference: cloister_core::Difference) -> Difference {
    let cloister_core::Difference { key, here, there, .. } = difference;
    Difference { key, here, there }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn name(id: &NodeId) -> String {
    id.name().to_string()
}

pub(super) async fn tables(State(cloister): State<Cloister>) -> Json<Tables> {
    Json(Tables { node: name(&cloister.node()), tables: table_rows() })
}

#[cfg(feature = "table")]
fn table_rows() -> Vec<cloister_json::TableRow> {
    let row = |table: cloister_table::TableStatistics| cloister_json::TableRow {
        kind: table.kind().to_owned(),
        copies: table.copies,
        rows: table.rows,
        bytes: table.bytes,
        moving: table.moving,
        under_replicated: table.under_replicated,
        missing_nodes: table.missing_nodes,
        lost: table.lost,
        name: table.table,
    };
    cloister_table::statistics().into_iter().map(row).collect()
}

#[cfg(not(feature = "table"))]
fn table_rows() -> Vec<cloister_json::TableRow> {
    Vec::new()
}

/// Which ring is asked for; the one over all members if none is named.
#[derive(Deserialize)]
pub(super) struct InRing {
    ring: Option<String>,
}

pub(super) async fn whois(
    State(cloister): State<Cloister>,
    Path(key): Path<String>,
    Query(InRing { ring }): Query<InRing>,
) -> Response {
    let (owner, is_mine) = match ring {
        None => (cloister.whois(&key), cloister.is_mine(&key)),
        Some(name) => match cloister.ring(&name) {
            Some(ring) => (ring.whois(&key), ring.is_mine(&key)),
            None => return unknown_ring(&cloister, &name),
        },
    };
    let code = if owner.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Whois {
        slot: Slot::of(key.as_bytes()).number(),
        owner: owner.as_ref().map(name),
        is_mine,
        epoch: cloister.epoch().map(|epoch| epoch.to_string()),
        key,
    };
    (code, Json(body)).into_response()
}

fn unknown_ring(cloister: &Cloister, name: &str) -> Response {
    let rings = cloister.rings();
    let known: Vec<&str> = rings.iter().map(cloister_core::NamedRing::name).collect();
    let text = format!("no ring {name:?} is configured; the rings are: {}\n", known.join(", "));
    (StatusCode::NOT_FOUND, text).into_response()
}
