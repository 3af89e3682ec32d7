//! Nodes find each other by the name of a service, whatever the name server does.

use std::net::Ipv4Addr;
use std::time::Duration;

use cloister_integration::{
    Block, Budget, Node, Plan, agree, assembly_time, between, check_assembly, median, report, start_all,
};
use cloister_testkit::dns_server::ResponseCode;
use cloister_testkit::dns_server::{Behaviour, Data, DnsServer};
use tokio::runtime::Runtime;

/// The service that the nodes look for each other by.
const SERVICE: &str = "app";

/// For how long the name server is wrong before it is right.
const WRONG: Duration = Duration::from_secs(10);

/// For how long nothing may happen.
const WHILE: Duration = Duration::from_secs(3);

/// A name server that runs as long as this.
struct Dns {
    server: DnsServer,
    _runtime: Runtime,
}

impl Dns {
    fn start(behaviour: Behaviour) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(DnsServer::start());
        server.set(SERVICE, behaviour);
        Self { server, _runtime: runtime }
    }

    /// Nodes at these addresses, which look for each other by the service.
    fn plans(&self, ips: &[Ipv4Addr]) -> Vec<Plan> {
        let seed = format!("dns:{SERVICE}:4370@{}", self.server.address());
        ips.iter().map(|ip| Plan::at(*ip).set("SEEDS", &seed).set("CONSENSUS", 2)).collect()
    }
}

#[test]
fn three_nodes_started_at_once_by_a_service_name_are_up_within_a_second() {
    started_at_once(3, 5, |what, took| Budget::millis(1000).meet(what, took));
}

#[test]
fn ten_nodes_started_at_once_by_a_service_name_are_up_within_two_seconds() {
    started_at_once(10, 3, |what, took| Budget::millis(2000).meet(what, took));
}

/// Judged by its rounds and its cost, see the same by a list in `boot.rs`.
#[test]
fn twenty_nodes_started_at_once_by_a_service_name_are_up_within_four_seconds() {
    started_at_once(20, 1, |what, took| Budget::millis(4000).show(what, took));
}

fn started_at_once(size: u8, runs: usize, judge: impl Fn(&str, Duration)) {
    let ips = Block::new(size).ips();
    let dns = Dns::start(Behaviour::addresses(ips.iter().copied()));
    let plans: Vec<_> = dns.plans(&ips).into_iter().map(|plan| plan.set("CONSENSUS", size / 2 + 1)).collect();
    let run = |_| {
        let nodes = start_all(&plans);
        let (_, up) = agree(&nodes);
        check_assembly(&nodes);
        assembly_time(&nodes, up)
    };
    let runs: Vec<_> = (0..runs).map(run).collect();
    judge(&format!("{size} nodes started at once by DNS, median of {runs:.1?}"), median(runs.clone()));
}

#[test]
fn a_name_that_is_absent_at_first_is_looked_up_until_it_is_right() {
    let ips = Block::new(3).ips();
    let dns = Dns::start(Behaviour::Absent);
    let mut nodes = start_all(&dns.plans(&ips));
    std::thread::sleep(WRONG);
    for node in &nodes {
        assert!(node.notices().iter().all(|notice| !notice.is_up()), "there is no node to be up with");
        let ready = node.get("/readyz");
        assert_eq!(ready.code, 503);
        assert!(ready.body.contains("names no node: it does not exist: correct `seeds`"), "{}", ready.body);
    }
    let right = cloister::clock::Clock.now().as_nanos();
    dns.server.set(SERVICE, Behaviour::addresses(ips));
    let (view, up) = agree(&nodes);
    report(&format!("a name absent for {WRONG:?}: all up {:.1?} after it was right", between(right, up)));
    view.check_claims(&mut nodes);
}

#[test]
fn addresses_without_a_node_keep_no_node_from_a_cluster() {
    // Fewer than the nodes: as many could be a cluster elsewhere, and would be waited for.
    let block = Block::new(5);
    let ips = block.ips();
    let dns = Dns::start(Behaviour::addresses(ips[3..].iter().copied()));
    let mut nodes = start_all(&dns.plans(&ips[..3]));
    std::thread::sleep(WRONG);
    for node in &nodes {
        assert!(node.notices().iter().all(|notice| !notice.is_up()), "the name leads nowhere");
    }
    let right = cloister::clock::Clock.now().as_nanos();
    dns.server.set(SERVICE, Behaviour::addresses(ips.iter().copied()));
    let (view, up) = agree(&nodes);
    report(&format!(
        "only stale addresses for {WRONG:?}: all up {:.1?} after it was right",
        between(right, up)
    ));
    view.check_claims(&mut nodes);
}

#[test]
fn answers_that_name_another_third_each_time_make_one_cluster() {
    let ips = Block::new(6).ips();
    let dns = Dns::start(Behaviour::Third(ips.iter().map(|ip| Data::Ip((*ip).into())).collect()));
    let plans: Vec<_> = dns.plans(&ips).into_iter().map(|plan| plan.set("CONSENSUS", 4)).collect();
    let mut nodes = start_all(&plans);
    let (view, up) = agree(&nodes);
    let took = assembly_time(&nodes, up);
    report(&format!("six nodes, a random third of the records each time: one view after {took:.1?}"));
    stays(&nodes);
    view.check_claims(&mut nodes);
}

#[test]
fn a_name_server_that_fails_later_costs_no_node_its_place() {
    let ips = Block::new(4).ips();
    let dns = Dns::start(Behaviour::addresses(ips[..3].iter().copied()));
    let mut nodes = start_all(&dns.plans(&ips[..3]));
    agree(&nodes);
    let broken = [
        Behaviour::Fails(ResponseCode::ServFail),
        Behaviour::Silent,
        Behaviour::Garbage,
        Behaviour::Empty,
        Behaviour::Absent,
    ];
    for behaviour in broken {
        dns.server.set(SERVICE, behaviour);
        stays(&nodes);
    }
    // And a new node finds the others as soon as there is an answer again.
    nodes.push(Node::start(&dns.plans(&ips)[3]));
    dns.server.set(SERVICE, Behaviour::addresses(ips.iter().copied()));
    let (view, up) = agree(&nodes);
    let took = between(nodes[3].started(), up);
    report(&format!("after five kinds of failure no node was dropped; a fourth node is up after {took:.1?}"));
    view.check_claims(&mut nodes);
}

/// Nothing happens for a while.
#[track_caller]
fn stays(nodes: &[Node]) {
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    std::thread::sleep(WHILE);
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
        assert_eq!(node.get("/readyz").code, 200);
    }
}
