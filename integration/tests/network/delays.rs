//! A network that is late, and lets one connection overtake another.

use std::time::Duration;

use cloister_integration::{
    Budget, Node, Topology, agree, assembly_time, between, marks, report, required, reunite,
};

use crate::HEALED;

/// For how long nothing may happen.
const CALM: Duration = Duration::from_secs(10);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_network_that_is_late_by_many_milliseconds_costs_these_and_no_more() {
    if !required("root", "a_network_that_is_late_by_many_milliseconds_costs_these_and_no_more") {
        return;
    }
    let mut topology = Topology::new(5, |plan| plan);
    let relay = topology.relay();
    relay.late(millis(20), millis(80));
    topology.assemble();
    let (_, up) = agree(&topology.nodes);
    // Some seven times through the network, one after the other: connect, authenticate, greet, tell, propose, ack, commit.
    let took = assembly_time(&topology.nodes, up);
    Budget::millis(2000).meet("five nodes, everything 20 to 80 ms late: assembly", took);
    topology.watch();
    nothing_happens(&topology, "20 to 80 ms late");

    // An answer takes a second now, and half a lease is left.
    relay.late(millis(100), millis(500));
    nothing_happens(&topology, "100 to 500 ms late");

    relay.late(millis(20), millis(80));
    let marks = marks(&topology.nodes);
    let victim = topology.nodes.len() - 1;
    let name = topology.nodes[victim].name().to_owned();
    let killed = topology.nodes[victim].kill();
    for (node, mark) in topology.nodes.iter().zip(&marks).take(victim) {
        let notified_at =
            node.wait_for_notice("it is down", *mark, |notice| notice.has_change("node_down", &name)).at;
        Budget::millis(4000)
            .meet(&format!("    {} is told of a death", node.name()), between(killed, notified_at));
    }
    topology.renew(victim);
    let began = topology.nodes[victim].started();
    reunite("it is back through a late network", &mut topology.nodes, began, Budget::millis(3500));
    topology.record().check();
}

#[test]
fn a_node_with_bytes_delayed_for_longer_than_a_lease_claims_nothing_and_keeps_its_connections() {
    const STALL: Duration = Duration::from_millis(2500);
    let test = "a_node_with_bytes_delayed_for_longer_than_a_lease_claims_nothing_and_keeps_its_connections";
    if !required("root", test) {
        return;
    }
    let mut topology = Topology::new(5, |plan| plan);
    let relay = topology.relay();
    relay.late(millis(1), millis(5));
    topology.assemble();
    topology.watch();
    for at in [0, 4, 2] {
        relay.stall(Some(topology.ip(at)));
        std::thread::sleep(STALL);
        relay.stall(None);
        let healed = cloister_integration::now();
        let what = format!("number {at}, whose bytes were held back for {STALL:?}: one view");
        reunite(&what, &mut topology.nodes, healed, Budget::millis(HEALED));
    }
    for node in &topology.nodes {
        assert_eq!(node.log().count("panicked"), 0);
    }
    topology.record().check();
}

fn nothing_happens(topology: &Topology, what: &str) {
    let marks: Vec<_> = topology.nodes.iter().map(Node::mark).collect();
    std::thread::sleep(CALM);
    for (node, mark) in topology.nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{what}: {} was moved", node.name());
    }
    report(&format!("    {what}: nothing happens in {CALM:?}"));
}
