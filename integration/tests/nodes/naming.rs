//! What a node is called, and whether it opens a socket for it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::Command;

use cloister_integration::{Block, Node, Plan, agree, between, report};

/// A port for a node whose address others share. Below the ephemeral ports of the kernel.
fn port(number: u16) -> u16 {
    let run = u16::try_from(std::process::id() % 2000).expect("invariant: it is less than 2000");
    10_000 + run * 10 + number
}

#[test]
fn a_node_without_configuration_is_up_alone_without_a_socket() {
    let block = Block::new(1);
    let plan = Plan::at(block.ip(0)).unset("HOST").unset("PORT").unset("ADMIN__LISTEN");
    let node = Node::start(&plan);
    let up = node.wait_for_notice("up alone", 0, |notice| notice.is_up());
    assert_eq!(up.names(), ["it@nohost"]);
    assert_eq!(sockets(&node), 0, "no socket is listened on");
    report(&format!(
        "without configuration: up {:.1?} after the start of the process",
        between(node.started(), up.at)
    ));
}

#[test]
fn naming_none_is_a_node_alone_and_does_not_go_with_seeds() {
    let ips = Block::new(2).ips();
    let plan = Plan::at(ips[0]).unset("HOST").unset("PORT").unset("ADMIN__LISTEN").set("NAMING", "none");
    let node = Node::start(&plan);
    let up = node.wait_for_notice("up alone", 0, |notice| notice.is_up());
    assert_eq!(up.names(), ["it@nohost"]);
    assert_eq!(sockets(&node), 0);
    assert_refused(plan.seeds(&ips), "`naming = none` means no network, but `seeds` is given");
}

#[test]
fn naming_long_by_ipv4_takes_the_address() {
    let plans: Vec<_> =
        Plan::list(&Block::new(2).ips()).into_iter().map(|plan| plan.set("NAMING", "long")).collect();
    let nodes: Vec<_> = plans.iter().map(Node::start).collect();
    let (view, _) = agree(&nodes);
    assert!(view.members.iter().all(|member| member.starts_with("it@127.")), "{view:?}");
    report(&format!("long by IPv4: {:?}", view.members));
}

#[test]
fn a_list_names_the_node_that_finds_itself_in_it() {
    // All of 127.0.0.0/8 is this machine, so the port says which of the two it is.
    let ip = Block::new(1).ip(0);
    let ports = [4370_u16, 4371];
    let seeds = ports.map(|port| format!("{ip}:{port}")).join(",");
    let plan = |port: u16| {
        let plan = Plan::at(ip).unset("HOST").unset("ADMIN__LISTEN").set("PORT", port).set("SEEDS", &seeds);
        plan.named(format!("it@{ip}:{port}"))
    };
    let nodes = ports.map(|port| Node::start(&plan(port)));
    let (view, _) = agree(&nodes);
    report(&format!("auto by a list: {:?}", view.members));
}

#[test]
fn naming_long_by_ipv6_takes_the_address_in_brackets() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return report(
            "LEFT OUT: naming_long_by_ipv6_takes_the_address_in_brackets: this machine has no ::1",
        );
    }
    let seeds = format!("[::1]:{},[::1]:{}", port(0), port(1));
    let plan = |port: u16| {
        let plan = Plan::at(IpAddr::from(Ipv6Addr::LOCALHOST)).unset("ADMIN__LISTEN").set("PORT", port);
        plan.set("NAMING", "long").set("SEEDS", &seeds).named(format!("it@[::1]:{port}"))
    };
    let nodes = [Node::start(&plan(port(0))), Node::start(&plan(port(1)))];
    let (view, _) = agree(&nodes);
    report(&format!("long by IPv6: {:?}", view.members));
}

#[test]
fn naming_short_takes_the_name_of_the_machine() {
    let name = Command::new("uname").arg("-n").output().expect("there is a `uname`").stdout;
    let name = String::from_utf8(name).expect("a name");
    let short = name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let port = port(2);
    // Alone: whether others can resolve that name is not for this machine to say.
    let plan = Plan::at(Ipv4Addr::LOCALHOST).unset("HOST").unset("ADMIN__LISTEN").set("PORT", port);
    let node = Node::start(&plan.set("NAMING", "short").set("CONSENSUS", 1));
    let up = node.wait_for_notice("up", 0, |notice| notice.is_up());
    assert_eq!(up.names(), [format!("it@{short}:{port}")]);
    report(&format!("short by host name: {:?}", up.members));
}

#[test]
fn a_host_that_does_not_fit_to_the_naming_is_an_error_that_says_what_would() {
    let ips = Block::new(1).ips();
    let plan =
        |naming: &str, host: &str| Plan::at(ips[0]).seeds(&ips).set("NAMING", naming).set("HOST", host);
    assert_refused(plan("short", "127.0.0.1"), "use `naming = long`");
    assert_refused(plan("long", "node"), "`naming = long` needs");
}

/// The program ends with an error that says this.
#[track_caller]
fn assert_refused(plan: Plan, words: &str) {
    let mut node = Node::start(&plan);
    assert!(!node.wait().success());
    let lines = node.log().lines();
    assert!(node.log().count(words) > 0, "it says `{words}`: {lines:#?}");
    assert_eq!(node.log().count("panicked"), 0);
}

/// How many TCP sockets a process listens on, by what the kernel says of its files.
fn sockets(node: &Node) -> usize {
    let own = fs::read_dir(format!("/proc/{}/fd", node.id())).expect("a process on Linux");
    let own: BTreeSet<String> = own
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{}/net/{table}", node.id())));
    let lines: Vec<String> = tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let listens = |line: &&String| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| own.contains(*inode))
    };
    lines.iter().filter(listens).count()
}
