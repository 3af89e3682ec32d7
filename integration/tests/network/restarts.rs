//! A node dies unseen, and comes back while the others still believe in its old life.

use std::net::IpAddr;
use std::time::Duration;

use cloister_integration::{
    Bar, Cut, Hub, Plan, Site, agree, between, hub_ip, median, report, required, reunite,
};

/// How often.
const TIMES: usize = 20;

#[test]
fn a_node_that_died_unseen_is_admitted_at_the_same_address_each_of_twenty_times() {
    if !required("root", "a_node_that_died_unseen_is_admitted_at_the_same_address_each_of_twenty_times") {
        return;
    }
    let mut site = Site::new(5, |plan| plan);
    site.assemble();
    site.watch();
    let mut took = Vec::new();
    for round in 0..TIMES {
        let at = round % 5;
        // Nobody hears of its end: the connections of the others stay half open.
        site.hub().cut(&[Cut::Off(site.ip(at))]);
        site.nodes[at].kill();
        site.hub().heal();
        site.renew(at);
        let (_, up) = agree(&site.nodes);
        took.push(between(site.nodes[at].started(), up));
    }
    finish("killed unseen, restarted at the same address", site, took, Bar::millis(2000));
}

#[test]
fn a_node_that_died_unseen_is_admitted_at_a_new_address_each_of_twenty_times() {
    if !required("root", "a_node_that_died_unseen_is_admitted_at_a_new_address_each_of_twenty_times") {
        return;
    }
    let ips: Vec<_> = (0..5).map(hub_ip).collect();
    let name = |at: usize| format!("node-{at}.cloister.test");
    let seeds: Vec<_> = (0..5).map(name).collect();
    let plan = |at: usize| {
        let plan = Plan::at(ips[at]).unset("ADMIN__LISTEN").set("SEEDS", seeds.join(","));
        plan.set("HOST", name(at)).named(format!("it@{}:4370", name(at)))
    };
    let mut records: Vec<_> = (0..5).map(|at| (name(at), ips[at])).collect();
    let mut site = Site::with(Hub::new(&records), &ips, (0..5).map(plan).collect());
    site.assemble();
    site.watch();
    let mut took = Vec::new();
    for round in 0..TIMES {
        let at = round % 5;
        let (old, new) = (site.ip(at), hub_ip(100 + round));
        site.hub().cut(&[Cut::Off(old)]);
        site.nodes[at].kill();
        site.move_to(at, new);
        for (_, ip) in records.iter_mut().filter(|(_, ip)| *ip == old) {
            *ip = new;
        }
        site.hub().names(&records);
        site.renew(at);
        let (_, up) = agree(&site.nodes);
        took.push(between(site.nodes[at].started(), up));
    }
    // A new life with the name of the old one ends it, where silence would take five times as long.
    let replaced = site.nodes.iter().map(|node| node.log().count("cause=\"replaced by a younger process\""));
    assert!(replaced.sum::<usize>() > 0, "old lives were ended by their silence only");
    finish("killed unseen, restarted at a new address", site, took, Bar::millis(3500));
}

#[test]
fn a_node_whose_machine_gets_another_address_while_it_runs_comes_back_under_it() {
    if !required("root", "a_node_whose_machine_gets_another_address_while_it_runs_comes_back_under_it") {
        return;
    }
    let ips: Vec<_> = (0..3).map(hub_ip).collect();
    let mut records: Vec<_> = ips.iter().map(|ip| ("app".to_owned(), *ip)).collect();
    let plan = |ip: &IpAddr| {
        let plan = Plan::at(*ip).unset("HOST").unset("ADMIN__LISTEN");
        plan.set("SEEDS", "app").set("CONSENSUS", 2)
    };
    let mut site = Site::with(Hub::new(&records), &ips, ips.iter().map(plan).collect());
    site.assemble();
    site.watch();
    // The sentry first, then the others.
    for at in 0..3 {
        let (old, new) = (site.ip(at), hub_ip(50 + at));
        site.readdress(at, new);
        // Somebody else has the old one, and refuses.
        let squatter = site.hub().machine("squatter", old);
        for (_, ip) in records.iter_mut().filter(|(_, ip)| *ip == old) {
            *ip = new;
        }
        let moved = site.hub().names(&records);
        site.nodes[at].rename(format!("it@{new}:4370"));
        let what = format!("number {at} moved from {old} to {new}: one view");
        reunite(&what, &mut site.nodes, moved, Bar::millis(6000));
        drop(squatter);
    }
    site.record().check();
}

fn finish(what: &str, mut site: Site, took: Vec<Duration>, bar: Bar) {
    report(&format!("{what}, {TIMES} times: median {:.1?}", median(took.clone())));
    for took in took {
        bar.meet("    admitted", took);
    }
    let (view, _) = agree(&site.nodes);
    view.check_claims(&mut site.nodes);
    site.record().check();
}
