//! The pages that are answered at once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloister_core::{
    Cloister, Difference, Member, NamedRing, NodeId, Peer, SLOTS, Slot, SplitReport, Status,
};
use serde::{Deserialize, Serialize};

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

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    missing: Vec<String>,
    warnings: Vec<String>,
    /// Left out while the runtime of the program answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_ms: Option<u64>,
}

pub(super) async fn readyz(State(cloister): State<Cloister>) -> Response {
    let readiness = cloister.readiness().await;
    let code = match readiness.status {
        Status::Up if readiness.stalled.is_none() => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = Ready {
        status: readiness.status.as_str(),
        missing: readiness.missing.iter().map(ToString::to_string).collect(),
        warnings: readiness.warnings,
        stalled_ms: readiness.stalled.map(millis),
    };
    (code, Json(body)).into_response()
}

#[derive(Serialize)]
pub(super) struct Members {
    node: String,
    incarnation: String,
    status: &'static str,
    epoch: Option<String>,
    seq: u64,
    consensus: usize,
    /// `null` while this node is in no view.
    split: Option<SplitRow>,
    warnings: Vec<String>,
    sentry: Option<String>,
    is_sentry: bool,
    members: Vec<MemberRow>,
    peers: Vec<PeerRow>,
    ring: RingRow,
    /// The named rings.
    rings: Vec<NamedRingRow>,
}

#[derive(Serialize)]
struct SplitRow {
    policy: &'static str,
    members: usize,
    counted: usize,
    spare: usize,
    allows_two: bool,
}

#[derive(Serialize)]
struct MemberRow {
    name: String,
    incarnation: String,
    started_at: u64,
    tags: Vec<String>,
    live: bool,
}

#[derive(Serialize)]
struct PeerRow {
    name: Option<String>,
    address: Option<String>,
    state: &'static str,
    last_error: Option<String>,
    last_heard_ms: Option<u64>,
    /// The nodes that it reports as reachable.
    reaches: Vec<String>,
    differs: Vec<DifferenceRow>,
}

#[derive(Serialize)]
struct DifferenceRow {
    key: String,
    here: String,
    there: String,
}

#[derive(Serialize)]
struct RingRow {
    slots: usize,
    mine: usize,
    owners: Vec<OwnerRow>,
}

#[derive(Serialize)]
struct NamedRingRow {
    name: String,
    owners: Vec<OwnerRow>,
}

/// How many slots a member owns.
#[derive(Serialize)]
struct OwnerRow {
    node: String,
    slots: usize,
}

fn owner_rows(counts: Vec<(NodeId, usize)>) -> Vec<OwnerRow> {
    counts.into_iter().map(|(node, slots)| OwnerRow { node: name(&node), slots }).collect()
}

pub(super) async fn members(State(cloister): State<Cloister>) -> Json<Members> {
    let peers = cloister.peers().await;
    let live = cloister.live().await;
    let state = cloister.state();
    let split = cloister.split_report();
    let warnings = split.iter().flat_map(SplitReport::warnings);
    let is_live = |id: &NodeId| live.iter().any(|(node, live)| node == id && *live);
    Json(Members {
        node: name(&state.node.id),
        incarnation: state.node.id.incarnation().to_string(),
        status: state.status.as_str(),
        epoch: state.epoch().map(|epoch| epoch.to_string()),
        seq: state.seq,
        consensus: cloister.consensus(),
        split: split.as_ref().map(split_row),
        warnings: warnings.map(|warning| warning.to_string()).collect(),
        sentry: state.sentry.as_ref().map(name),
        is_sentry: cloister.is_sentry(),
        members: state.members.iter().map(|member| row(member, is_live(&member.id))).collect(),
        peers: peers.into_iter().map(peer_row).collect(),
        ring: RingRow {
            slots: SLOTS,
            mine: cloister.owned_slots(),
            owners: owner_rows(cloister.slot_counts()),
        },
        rings: cloister.rings().iter().map(ring_row).collect(),
    })
}

fn ring_row(ring: &NamedRing) -> NamedRingRow {
    NamedRingRow { name: ring.name().to_owned(), owners: owner_rows(ring.slot_counts()) }
}

fn split_row(report: &SplitReport) -> SplitRow {
    SplitRow {
        policy: report.policy.as_str(),
        members: report.members,
        counted: report.cluster_size,
        spare: report.tolerated_losses,
        allows_two: report.allows_two_survivors,
    }
}

fn row(member: &Member, live: bool) -> MemberRow {
    MemberRow {
        name: name(&member.id),
        incarnation: member.id.incarnation().to_string(),
        started_at: member.id.started_at(),
        tags: member.tags.iter().cloned().collect(),
        live,
    }
}

fn peer_row(peer: Peer) -> PeerRow {
    PeerRow {
        name: peer.name,
        address: peer.address.map(|address| address.to_string()),
        state: peer.state.as_str(),
        last_error: peer.last_error,
        last_heard_ms: peer.last_heard.map(millis),
        reaches: peer.reaches.iter().map(name).collect(),
        differs: peer.differs.into_iter().map(difference_row).collect(),
    }
}

fn difference_row(difference: Difference) -> DifferenceRow {
    let Difference { key, here, there, .. } = difference;
    DifferenceRow { key, here, there }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn name(id: &NodeId) -> String {
    id.name().to_string()
}

#[derive(Serialize)]
struct Whois {
    key: String,
    slot: u16,
    owner: Option<String>,
    is_mine: bool,
    epoch: Option<String>,
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
    let known: Vec<&str> = rings.iter().map(NamedRing::name).collect();
    let text = format!("no ring {name:?} is configured; the rings are: {}\n", known.join(", "));
    (StatusCode::NOT_FOUND, text).into_response()
}
