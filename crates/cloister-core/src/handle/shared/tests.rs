use cloister_proto::{Incarnation, NodeId};

use super::*;

const LATER: Time = Time::from_nanos(u64::MAX);
const NOW: Time = Time::from_nanos(1);

fn node() -> Member {
    Member::without_tags(NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1))
}

/// A monitor that is not quite dead decides, publishes and grants; its incarnation was closed under its hands.
#[test]
fn a_incarnation_that_is_over_claims_nothing_whatever_its_monitor_still_publishes() {
    let shared = Shared::new(node(), RingPlan::default(), &Config::default());
    let incarnation = shared.begin(node());
    let publish = || {
        shared.publish(&incarnation, Arc::new(Snapshot::new(Arc::new(ClusterState::initial(node())), None)))
    };
    publish();
    incarnation.grant(Some(LATER), NOW);
    assert!(shared.snapshot().holds(shared.clock()));
    let seen_before = shared.snapshot().clone();
    incarnation.retire();
    for _ in 0..2 {
        incarnation.grant(Some(LATER), NOW);
        assert!(!shared.snapshot().holds(shared.clock()));
        assert!(!seen_before.holds(shared.clock()));
        publish();
    }
}

#[test]
fn a_incarnation_that_was_replaced_claims_nothing_and_the_next_may() {
    let shared = Shared::new(node(), RingPlan::default(), &Config::default());
    let first = shared.begin(node());
    first.grant(Some(LATER), NOW);
    let seen_before = shared.snapshot().clone();
    let second = shared.begin(node());
    first.grant(Some(LATER), NOW);
    assert!(!seen_before.holds(shared.clock()) && !shared.snapshot().holds(shared.clock()));
    second.grant(Some(LATER), NOW);
    assert!(shared.snapshot().holds(shared.clock()));
}
