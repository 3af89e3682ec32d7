//! A firewall begins to reject what is sent to a node that lives: its address refuses, and its process has not ended.

use std::time::Duration;

use cloister_integration::{Budget, Topology, agreement, between, eventually, now, required, reunite};

use crate::HEALED;

/// How long the others have to go on without it: the guard of the default lease, and a round.
const REPLACED: u64 = 3500;

/// How long all three claim what they may, before and after.
const LONGER: Duration = Duration::from_millis(2500);

#[test]
fn without_trust_in_refusals_a_sentry_whose_address_is_rejected_is_the_only_one_until_its_lease_ends() {
    if !required(
        "root",
        "without_trust_in_refusals_a_sentry_whose_address_is_rejected_is_the_only_one_until_its_lease_ends",
    ) {
        return;
    }
    let mut topology = Topology::new(3, |plan| plan.set("TIMING__TRUST_REFUSAL", "false"));
    topology.assemble();
    topology.watch();
    // The sentry first; then whichever is number 0 by its place, which need not be one.
    for rejected in [0, 1, 0] {
        std::thread::sleep(LONGER);
        let others: Vec<usize> = (0..3).filter(|at| *at != rejected).collect();
        let at = topology.reject(rejected);
        let pair = || agreement(others.iter().map(|other| &topology.nodes[*other]));
        let (_, up) = eventually("the others go on without it", pair);
        Budget::millis(REPLACED)
            .meet(&format!("number {rejected} rejected: the others go on"), between(at, up));
        std::thread::sleep(LONGER);
        topology.accept();
        let healed = now();
        let what = format!("number {rejected} rejected: from the end of it to one view");
        reunite(&what, &mut topology.nodes, healed, Budget::millis(HEALED));
    }
    topology.record().check();
}
