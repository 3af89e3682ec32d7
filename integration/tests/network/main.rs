//! What nodes do when the network between them fails: each runs on a machine of its own, and a bridge between them loses
//! packets on request.
//!
//! Namespaces need root, so these tests run only where `CLOISTER_TEST_REQUIRE` lists `root`.

mod cuts;
mod delays;
mod midway;
mod outages;
mod rejects;
mod restarts;
mod splits;

use std::time::Duration;

use cloister_integration::{Node, Notice, Topology, between, required};

/// How long both sides of a cut have to say so.
const NOTICED: u64 = 4000;

/// How long all have to be in one view again when nothing is cut any more.
const HEALED: u64 = 3000;

/// Five nodes, sorted by age, that watch what they claim; `None` where root is not required.
fn five(test: &str) -> Option<Topology> {
    required("root", test).then(|| {
        let mut topology = Topology::new(5, |plan| plan);
        topology.assemble();
        topology.watch();
        topology
    })
}

/// How long after a moment a node hears this, from number `mark` on.
#[track_caller]
fn after(since: u64, node: &Node, what: &str, mark: usize, fits: impl FnMut(&Notice) -> bool) -> Duration {
    between(since, node.wait_for_notice(what, mark, fits).at)
}

/// Whether something of this kind has changed, for whichever node.
fn reports(notice: &Notice, kind: &str) -> bool {
    notice.changes.iter().any(|change| change.kind == kind)
}
