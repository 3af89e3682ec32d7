//! A node listens where it is told to, and nowhere else. ractor_cluster brings a listener of its own, plain and on loopback, past
//! mutual TLS and past every limit; it must be gone before the node is up.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use cloister_integration::{Block, Node, Plan, Usage, agree, report, start_all};
use tempfile::TempDir;

use cloister_testkit::certificates::{Authority, Order};

/// How many sockets that say nothing are opened at each port that should not be there.
const SILENT: usize = 300;

/// How many descriptors a node may have more beside them.
const MORE: u64 = 24;

/// The addresses at which a process listens by TCP, over IPv4; the port alone over IPv6.
fn listening(node: &Node) -> BTreeSet<SocketAddr> {
    let sockets = fs::read_dir(format!("/proc/{}/fd", node.id())).expect("it runs, on Linux");
    let inodes: BTreeSet<String> = sockets
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut addresses = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{}/net/{table}", node.id())).expect("it runs, on Linux");
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            // 0A is LISTEN.
            if fields[3] != "0A" || !inodes.contains(fields[9]) {
                continue;
            }
            let (ip, port) = fields[1].split_once(':').expect("an address");
            let ip = u32::from_str_radix(ip, 16).map_or(Ipv4Addr::UNSPECIFIED, |ip| ip.to_ne_bytes().into());
            addresses.insert((ip, u16::from_str_radix(port, 16).expect("a port")).into());
        }
    }
    addresses
}

#[test]
fn a_node_with_tls_listens_at_its_port_and_at_that_of_the_admin_server_only() {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    let plans: Vec<_> = Plan::list(&Block::new(3).ips())
        .into_iter()
        .map(|plan| {
            let paths = authority.equip(&home.path().join(plan.address()), &Order::default());
            let [cert, key, ca] = [paths.cert, paths.key, paths.ca].map(|path| path.display().to_string());
            plan.set("TLS__CERT", cert).set("TLS__KEY", key).set("TLS__CA", ca)
        })
        .collect();
    let mut nodes = start_all(&plans[..2]);
    agree(&nodes);

    let wanted = BTreeSet::from([nodes[0].address(), nodes[0].admin()]);
    let found = listening(&nodes[0]);
    assert!(found.is_superset(&wanted), "{found:?} lacks one of {wanted:?}");
    let others: Vec<_> = found.difference(&wanted).copied().collect();
    let before = Usage::of(&mut nodes[0]).descriptors;
    let connect = |address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok();
    let silent: Vec<_> =
        others.iter().flat_map(|address| (0..SILENT).filter_map(|_| connect(*address))).collect();
    std::thread::sleep(Duration::from_millis(500));
    let more = Usage::of(&mut nodes[0]).descriptors.saturating_sub(before);
    report(&format!(
        "ports besides its own: {others:?}; {} of {SILENT} silent sockets were taken in at each, {more} descriptors more",
        silent.len() / others.len().max(1)
    ));
    nodes.push(Node::start(&plans[2]));
    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
    assert!(more <= MORE, "{more} descriptors for silent sockets");
    for node in &nodes {
        assert_eq!(listening(node), BTreeSet::from([node.address(), node.admin()]), "{}", node.name());
    }
}
