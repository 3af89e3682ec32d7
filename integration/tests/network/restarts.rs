//! A node exits unseen, and comes back while the others still count its old incarnation.

use std::net::IpAddr;
use std::time::Duration;

use cloister_integration::{
    Bridge, Budget, PacketLoss, Plan, Topology, agree, between, bridge_ip, median, report, required, reunite,
};

/// How often.
const TIMES: usize = 20;

/// What nodes log: each dial and each link. Shown if one takes too long.
const LOG: &str = "info,cloister=debug,cloister_net=debug";

#[test]
fn a_node_that_died_unseen_is_admitted_at_the_same_address_each_of_twenty_times() {
    if !required("root", "a_node_that_died_unseen_is_admitted_at_the_same_address_each_of_twenty_times") {
        return;
    }
    let mut topology = Topology::new(5, |plan| plan.variable("RUST_LOG", LOG));
    topology.assemble();
    topology.watch();
    let mut took = Vec::new();
    for round in 0..TIMES {
        let at = round % 5;
        // No peer is told of its exit: the connections of the others stay half open.
        topology.bridge().lose(&[PacketLoss::Off(topology.ip(at))]);
        topology.nodes[at].kill();
        topology.bridge().heal();
        topology.renew(at);
        let (_, up) = agree(&topology.nodes);
        took.push(between(topology.nodes[at].started(), up));
        // At once: the logs of all that took part are still there.
        Budget::millis(2000).meet("    admitted", took[round]);
    }
    finish("killed unseen, restarted at the same address", topology, took);
}

#[test]
fn a_node_that_died_unseen_is_admitted_at_a_new_address_each_of_twenty_times() {
    if !required("root", "a_node_that_died_unseen_is_admitted_at_a_new_address_each_of_twenty_times") {
        return;
    }
    let ips: Vec<_> = (0..5).map(bridge_ip).collect();
    let name = |at: usize| format!("node-{at}.cloister.test");
    let seeds: Vec<_> = (0..5).map(name).collect();
    let plan = |at: usize| {
        let plan = Plan::at(ips[at]).unset("ADMIN__LISTEN").set("SEEDS", seeds.join(","));
        plan.set("HOST", name(at)).named(format!("it@{}:4370", name(at)))
    };
    let mut records: Vec<_> = (0..5).map(|at| (name(at), ips[at])).collect();
    let mut topology = Topology::with(Bridge::new(&records), &ips, (0..5).map(plan).collect());
    topology.assemble();
    topology.watch();
    let mut took = Vec::new();
    for round in 0..TIMES {
        let at = round % 5;
        let (old, new) = (topology.ip(at), bridge_ip(100 + round));
        topology.bridge().lose(&[PacketLoss::Off(old)]);
        topology.nodes[at].kill();
        topology.move_to(at, new);
        for (_, ip) in records.iter_mut().filter(|(_, ip)| *ip == old) {
            *ip = new;
        }
        topology.bridge().names(&records);
        topology.renew(at);
        let (_, up) = agree(&topology.nodes);
        took.push(between(topology.nodes[at].started(), up));
        Budget::millis(3500).meet("    admitted", took[round]);
    }
    // A new incarnation with the name of the old one ends it, where silence would take five times as long.
    let replaced =
        topology.nodes.iter().map(|node| node.log().count("reason=\"replaced by a younger process\""));
    assert!(replaced.sum::<usize>() > 0, "old incarnations were ended by their silence only");
    finish("killed unseen, restarted at a new address", topology, took);
}

#[test]
fn a_node_whose_machine_gets_another_address_while_it_runs_comes_back_under_it() {
    if !required("root", "a_node_whose_machine_gets_another_address_while_it_runs_comes_back_under_it") {
        return;
    }
    let ips: Vec<_> = (0..3).map(bridge_ip).collect();
    let mut records: Vec<_> = ips.iter().map(|ip| ("app".to_owned(), *ip)).collect();
    let plan = |ip: &IpAddr| {
        let plan = Plan::at(*ip).unset("HOST").unset("ADMIN__LISTEN");
        plan.set("SEEDS", "app").set("CONSENSUS", 2)
    };
    let mut topology = Topology::with(Bridge::new(&records), &ips, ips.iter().map(plan).collect());
    topology.assemble();
    topology.watch();
    // The sentry first, then the others.
    for at in 0..3 {
        let (old, new) = (topology.ip(at), bridge_ip(50 + at));
        topology.readdress(at, new);
        // Another machine has the old one, and refuses.
        let squatter = topology.bridge().machine("squatter", old);
        for (_, ip) in records.iter_mut().filter(|(_, ip)| *ip == old) {
            *ip = new;
        }
        let moved = topology.bridge().names(&records);
        topology.nodes[at].rename(format!("it@{new}:4370"));
        let what = format!("number {at} moved from {old} to {new}: one view");
        reunite(&what, &mut topology.nodes, moved, Budget::millis(6000));
        drop(squatter);
    }
    topology.record().check();
}

fn finish(what: &str, mut topology: Topology, took: Vec<Duration>) {
    report(&format!("{what}, {TIMES} times: median {:.1?}", median(took)));
    let (view, _) = agree(&topology.nodes);
    view.check_claims(&mut topology.nodes);
    topology.record().check();
}
