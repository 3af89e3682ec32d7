//! What the nodes of one cluster call themselves on machines of their own: each of three unchanged quickstarts runs in
//! a network namespace with one address and a host name, and asks one name server.
//!
//! Namespaces need root, so these tests run only where `CLOISTER_TEST_REQUIRE` lists `root`.

mod quickstart;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use cloister_integration::{Bridge, example, report, required};
use quickstart::Quickstart;

/// The three machines, in the order of their addresses.
const HOSTS: [&str; 3] = ["node-a", "node-b", "node-c"];

/// The domain of the three machines.
const DOMAIN: &str = "cloister.test";

#[test]
fn nodes_are_called_by_their_host_names() {
    if !required("root", "nodes_are_called_by_their_host_names") {
        return;
    }
    let bridge = Bridge::new(&named(v4, |host| host.to_owned()));
    let names = HOSTS.map(|host| format!("quickstart@{host}:4370"));
    // A machine that knows its domain is called by what is before it.
    let settings = |_: usize| vec![("NAMING", "short".to_owned()), ("SEEDS", HOSTS.join(","))];
    assemble(&bridge, v4, |host| format!("{host}.{DOMAIN}"), settings, &names);
}

#[test]
fn nodes_are_called_by_their_full_names() {
    if !required("root", "nodes_are_called_by_their_full_names") {
        return;
    }
    let full = |host: &str| format!("{host}.{DOMAIN}");
    let bridge = Bridge::new(&named(v4, full));
    let names = HOSTS.map(|host| format!("quickstart@{host}.{DOMAIN}:4370"));
    let seeds = HOSTS.map(full).join(",");
    let settings = |index: usize| {
        vec![("NAMING", "long".to_owned()), ("HOST", full(HOSTS[index])), ("SEEDS", seeds.clone())]
    };
    assemble(&bridge, v4, full, settings, &names);
}

#[test]
fn nodes_are_called_by_their_ipv4_addresses_in_the_list() {
    if !required("root", "nodes_are_called_by_their_ipv4_addresses_in_the_list") {
        return;
    }
    let bridge = Bridge::new(&[]);
    let names = [0, 1, 2].map(|index| format!("quickstart@{}:4370", v4(index)));
    let seeds = [0, 1, 2].map(|index| v4(index).to_string()).join(",");
    let settings = |_: usize| vec![("NAMING", "long".to_owned()), ("SEEDS", seeds.clone())];
    assemble(&bridge, v4, str::to_owned, settings, &names);
}

#[test]
fn nodes_behind_a_service_name_without_ipv4_are_called_by_their_ipv6_addresses() {
    if !required("root", "nodes_behind_a_service_name_without_ipv4_are_called_by_their_ipv6_addresses") {
        return;
    }
    let bridge = Bridge::new(&named(v6, |_| "app".to_owned()));
    let names = [0, 1, 2].map(|index| format!("quickstart@[{}]:4370", v6(index)));
    let settings = |_: usize| vec![("NAMING", "long".to_owned()), ("SEEDS", "app".to_owned())];
    assemble(&bridge, v6, str::to_owned, settings, &names);
}

#[test]
fn nodes_behind_a_service_name_find_out_their_addresses() {
    if !required("root", "nodes_behind_a_service_name_find_out_their_addresses") {
        return;
    }
    let bridge = Bridge::new(&named(v4, |_| "app".to_owned()));
    let names = [0, 1, 2].map(|index| format!("quickstart@{}:4370", v4(index)));
    assemble(&bridge, v4, str::to_owned, |_| vec![("SEEDS", "app".to_owned())], &names);
}

#[test]
fn nodes_with_an_address_of_each_family_behind_a_service_name_are_up_at_once() {
    if !required("root", "nodes_with_an_address_of_each_family_behind_a_service_name_are_up_at_once") {
        return;
    }
    let app = |_: &str| "app".to_owned();
    let bridge = Bridge::new(&[named(v4, app), named(v6, app)].concat());
    // It may have to be compiled.
    example("quickstart");
    let began = Instant::now();
    // Each listens at its IPv4 address, and its IPv6 address refuses.
    let nodes: Vec<_> = (0..HOSTS.len())
        .map(|index| {
            let machine = bridge.machine(HOSTS[index], v4(index));
            machine.ip(&format!("address add {}/64 dev eth0 nodad", v6(index)));
            Quickstart::start(machine, &[("SEEDS", "app".to_owned())])
        })
        .collect();
    for node in &nodes {
        node.wait_for_line(" up (3 nodes, ");
    }
    let took = began.elapsed();
    report(&format!("up after {} s", took.as_secs()));
    // An address that may be a node elsewhere would count for a minute.
    assert!(took < Duration::from_secs(50), "{took:?}");
    for node in nodes {
        node.stop();
    }
}

#[test]
fn a_node_whose_listed_address_is_gone_for_a_moment_comes_back_under_it() {
    if !required("root", "a_node_whose_listed_address_is_gone_for_a_moment_comes_back_under_it") {
        return;
    }
    let bridge = Bridge::new(&[]);
    let seeds = ("SEEDS", [0, 1, 2].map(|index| v4(index).to_string()).join(","));
    let machines = [0, 1, 2].map(|index| bridge.machine(HOSTS[index], v4(index)));
    // A second network, by which all else is reached.
    machines[0].ip("link add eth1 type veth peer name eth2");
    machines[0].ip("address add 192.168.77.5/24 dev eth1");
    machines[0].ip("link set eth1 up");
    machines[0].ip("link set eth2 up");
    machines[0].ip("route add default via 192.168.77.1");
    let nodes = machines.map(|machine| Quickstart::start(machine, std::slice::from_ref(&seeds)));
    const UP: &str = " up (3 nodes, ";
    nodes[0].wait_for_line(UP);
    nodes[0].machine().ip(&format!("address del {}/24 dev eth0", v4(0)));
    nodes[0].wait_for_line("its address is 192.168.77.5 now, which is not in the list");
    nodes[0].machine().ip(&format!("address add {}/24 dev eth0", v4(0)));
    nodes[0].wait_for_lines(UP, 2);
    for node in &nodes {
        assert_eq!(node.line_with("quickstart@192.168.77.5"), None);
    }
    for node in nodes {
        node.stop();
    }
}

#[test]
fn the_younger_of_two_live_nodes_with_one_address_ends_with_an_error_that_names_both() {
    if !required("root", "the_younger_of_two_live_nodes_with_one_address_ends_with_an_error_that_names_both")
    {
        return;
    }
    let bridge = Bridge::new(&[]);
    let seed = ("SEEDS", v4(0).to_string());
    let first = Quickstart::start(bridge.machine(HOSTS[0], v4(0)), std::slice::from_ref(&seed));
    first.wait_for_line(" up (1 node, ");
    // An address that neither machine has, as behind a translation of addresses.
    let twin = |index: usize| {
        let settings = [seed.clone(), ("HOST", "10.77.0.99".to_owned()), ("CONSENSUS", "2".to_owned())];
        Quickstart::start(bridge.machine(HOSTS[index], v4(index)), &settings)
    };
    let older = twin(1);
    older.wait_for_line(" up (2 nodes, ");
    let younger = twin(2);
    const WORDS: &str = "two live nodes call themselves";
    let line = younger.wait_for_line(WORDS);
    younger.fails();
    let line = &line[line.find(WORDS).expect("invariant: it says that")..];
    let names: Vec<&str> = line.split_whitespace().filter(|word| word.starts_with("quickstart@")).collect();
    assert_eq!(names.len(), 3, "the name, the older and this one: {line}");
    assert_ne!(names[1], names[2], "{line}");
    report(line);
    for node in [older, first] {
        node.stop();
    }
}

/// Starts three nodes with these addresses, host names and settings, and waits until all are up as one cluster, under
/// these names. Then all are told to end, and must end well.
fn assemble(
    bridge: &Bridge,
    address: impl Fn(usize) -> IpAddr,
    host_name: impl Fn(&str) -> String,
    settings: impl Fn(usize) -> Vec<(&'static str, String)>,
    names: &[String; 3],
) {
    let nodes: Vec<_> = (0..HOSTS.len())
        .map(|index| {
            let machine = bridge.machine(&host_name(HOSTS[index]), address(index));
            Quickstart::start(machine, &settings(index))
        })
        .collect();
    for (node, name) in nodes.iter().zip(names) {
        let line = node.wait_for_line(" is up after ");
        assert!(line.starts_with(&format!("{name} is up after ")), "expected {name}, but: {line}");
        node.wait_for_line(" up (3 nodes, ");
    }
    // Each knows the others by the same names.
    for node in &nodes {
        for name in names {
            node.wait_for_line(&format!("hello from {name}"));
        }
        // A node that is known by a name finds itself among the addresses, and must not take itself for another node.
        assert_eq!(node.line_with("error=it knows another cookie"), None);
    }
    report(&format!("up as {}", names.join(", ")));
    for node in nodes {
        node.stop();
    }
}

/// One record for each machine.
fn named(address: impl Fn(usize) -> IpAddr, name: impl Fn(&str) -> String) -> Vec<(String, IpAddr)> {
    (0..HOSTS.len()).map(|index| (name(HOSTS[index]), address(index))).collect()
}

fn v4(index: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, number(index)).into()
}

fn v6(index: usize) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number(index).into()).into()
}

/// The bridge is number 1.
fn number(index: usize) -> u8 {
    u8::try_from(index + 2).expect("there are few machines")
}
