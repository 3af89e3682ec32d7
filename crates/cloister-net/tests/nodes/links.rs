//! The link layer with real processes: each node is one, on an address of 127.0.0.0/8 of its own.
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cloister_net::clock::Clock;
use cloister_testkit::loopback::{Block, free_port};
use cloister_testkit::wait::eventually;

use crate::node::{Line, Plan, TEST_TIMEOUT, TestNode};

/// For how long nothing more may happen after all is well.
const CALM: Duration = Duration::from_millis(1500);

/// Addresses that no other test of this or another run uses, in rising order.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let block = Block::in_order_of_text(u8::try_from(N).unwrap());
    std::array::from_fn(|number| SocketAddr::from((block.ip(number), 4370)))
}

fn linked_to(me: SocketAddr) -> impl Fn(&str) -> bool {
    move |line| line.starts_with("LINKED") && line.contains(&format!("@{me}#"))
}

fn is_linked(line: &str) -> bool {
    line.starts_with("LINKED ")
}

fn is_unlinked(line: &str) -> bool {
    line.starts_with("UNLINKED ")
}

fn refused(me: SocketAddr) -> impl Fn(&str) -> bool {
    move |line| line.starts_with(&format!("REFUSED {me} "))
}

fn link_of(line: &Line) -> &str {
    line.text.split(' ').nth(1).unwrap()
}

fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

/// Every node has exactly one link to every other, and had no other.
fn assert_mesh(nodes: &[TestNode]) {
    for node in nodes {
        assert_eq!(node.count(is_linked), nodes.len() - 1, "links of {}\n{}", node.me, node.text());
        assert_eq!(node.count(is_unlinked), 0, "closed links of {}\n{}", node.me, node.text());
    }
}

fn wait_for_mesh(nodes: &[TestNode]) -> u64 {
    let all = nodes.iter().flat_map(|node| {
        let others = nodes.iter().filter(|other| other.me != node.me);
        others.map(|other| node.expect("a link", linked_to(other.me)).at)
    });
    all.max().unwrap()
}

#[test]
fn two_nodes_link_once_whichever_starts_first_and_whenever_the_other_comes() {
    for (first, apart) in [(0, 0), (1, 0), (0, 40), (1, 40), (0, 700), (1, 700)] {
        let seeds: [_; 2] = addresses();
        let mut nodes = vec![TestNode::start(&Plan::new(seeds[first], &seeds))];
        sleep(Duration::from_millis(apart));
        nodes.push(TestNode::start(&Plan::new(seeds[1 - first], &seeds)));
        let up =
            nodes.iter().map(|node| node.expect("it listens", |line| line == "STARTED").at).max().unwrap();
        let linked = wait_for_mesh(&nodes);
        println!(
            "first {first}, {apart} ms apart: linked {:.1} ms after the second listens",
            millis(up, linked)
        );
        sleep(CALM);
        assert_mesh(&nodes);
    }
}

#[test]
fn messages_go_both_ways_in_order_and_only_on_open_links() {
    let seeds: [_; 2] = addresses();
    let mut nodes = seeds.map(|me| TestNode::up(&Plan::new(me, &seeds)));
    wait_for_mesh(&nodes);
    for (from, to) in [(0, 1), (1, 0)] {
        let link = nodes[from].expect("a link", is_linked);
        for number in 1..=100 {
            nodes[from].tell(&format!("send {} {number}", link_of(&link)));
        }
        nodes[from].tell("send 4711 1");
        nodes[to].expect_nth("the last message", 100, |line| line.starts_with("RECEIVED "));
        let own = link_of(&nodes[to].expect("a link", is_linked)).to_owned();
        for number in 1..=100 {
            let nth = nodes[to].expect_nth("a message", number, |line| line.starts_with("RECEIVED "));
            assert_eq!(nth.text, format!("RECEIVED {own} Commit {{ epoch: Epoch({number}) }}"));
        }
    }
}

#[test]
fn five_nodes_link_each_to_each_and_once() {
    assert_assembly(&addresses::<5>());
}

#[test]
fn twenty_nodes_link_each_to_each_and_once() {
    assert_assembly(&addresses::<20>());
}

#[test]
fn nodes_that_share_one_address_are_distinguished_by_their_ports_also_with_ipv6() {
    for ip in ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
        if TcpListener::bind((ip, 0)).is_err() {
            println!("LEFT OUT: this machine has no {ip}");
            continue;
        }
        // No port that an outgoing connection of one of the nodes may get.
        let seeds: Vec<_> = (0..4).map(|_| SocketAddr::new(ip, free_port(1))).collect();
        assert_assembly(&seeds);
    }
}

fn assert_assembly(seeds: &[SocketAddr]) {
    let begin = Clock.now().as_nanos();
    let nodes: Vec<_> = seeds.iter().map(|me| TestNode::start(&Plan::new(*me, seeds))).collect();
    let up = nodes.iter().map(|node| node.expect("it listens", |line| line == "STARTED").at).max().unwrap();
    let linked = wait_for_mesh(&nodes);
    println!(
        "{} nodes: all linked {:.1} ms after the start of the first, {:.1} ms after the last listens",
        nodes.len(),
        millis(begin, linked),
        millis(up, linked)
    );
    sleep(CALM);
    assert_mesh(&nodes);
    for node in &nodes {
        node.expect("all are accounted for", |line| line == "SURVEYED true []");
    }
}

#[test]
fn a_killed_peer_is_closed_and_refuses_within_milliseconds_on_every_node() {
    for victim in [0, 2] {
        let seeds: [_; 3] = addresses();
        let mut nodes: Vec<_> = seeds.iter().map(|me| TestNode::up(&Plan::new(*me, &seeds))).collect();
        wait_for_mesh(&nodes);
        sleep(CALM);
        let mut killed = nodes.remove(victim);
        let begin = Clock.now().as_nanos();
        killed.kill();
        for node in &nodes {
            let closed = node.expect("a close", is_unlinked);
            let refusal =
                node.expect_line("a refusal", |line| line.at >= closed.at && refused(killed.me)(&line.text));
            let began: u64 = refusal.text.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(began >= closed.at, "the attempt began after the close was reported\n{}", node.text());
            println!(
                "kill -9 of {}: {} has it closed after {:.1} ms, refused after {:.1} ms",
                killed.me,
                node.me,
                millis(begin, closed.at),
                millis(begin, refusal.at)
            );
        }
    }
}

#[test]
fn a_node_that_restarts_in_place_is_linked_again() {
    let seeds: [_; 3] = addresses();
    for victim in [0, 2] {
        let mut nodes: Vec<_> = seeds.iter().map(|me| TestNode::up(&Plan::new(*me, &seeds))).collect();
        wait_for_mesh(&nodes);
        for round in 2..=6 {
            nodes[victim].kill();
            nodes[victim] = TestNode::up(&Plan::new(seeds[victim], &seeds));
            let up = nodes[victim].expect("it listens", |line| line == "STARTED").at;
            let others: Vec<_> = (0..3).filter(|other| *other != victim).collect();
            let again = others.iter().map(|other| {
                let there = nodes[*other].expect_nth("a new link", round, linked_to(seeds[victim])).at;
                there.max(nodes[victim].expect("a link", linked_to(seeds[*other])).at)
            });
            println!(
                "restart of {}: linked again after {:.1} ms",
                seeds[victim],
                millis(up, again.max().unwrap())
            );
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_that_has_ended_keeps_no_descriptor_of_the_lower_address() {
    count_descriptors(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_that_has_ended_keeps_no_descriptor_of_the_higher_address() {
    count_descriptors(1);
}

/// Of the node at this one of two addresses, whose peer is killed six times. A session holds its socket from both runtimes; the last owner
/// must close it.
#[cfg(target_os = "linux")]
fn count_descriptors(stays: usize) {
    let seeds: [_; 2] = addresses();
    let node = TestNode::up(&Plan::new(seeds[stays], &seeds));
    let mut counts = Vec::new();
    for round in 1..=6 {
        let mut peer = TestNode::up(&Plan::new(seeds[1 - stays], &seeds));
        node.expect_nth("a link", round, linked_to(seeds[1 - stays]));
        peer.kill();
        node.expect_nth("a close", round, is_unlinked);
        sleep(CALM);
        counts.push(node.descriptors());
    }
    println!("descriptors after each of six links: {counts:?}");
    // An attempt to connect may be under way.
    assert!(counts[5] <= counts[0] + 2, "{counts:?}");
}

#[test]
fn another_cookie_or_cluster_is_never_linked_told_once_and_not_stormed() {
    let seeds: [_; 3] = addresses();
    let other_cookie = Plan { cookie: "other", ..Plan::new(seeds[1], &seeds) };
    let other_cluster = Plan { cluster: "other", ..Plan::new(seeds[2], &seeds) };
    let plans = [Plan::new(seeds[0], &seeds), other_cookie, other_cluster];
    let mut nodes: Vec<_> = plans.iter().map(TestNode::up).collect();
    sleep(Duration::from_secs(5));
    for node in &mut nodes {
        assert_eq!(node.count(is_linked), 0, "{}", node.text());
        // 100, 200, 400, 800, 1600, 3200 ms: seven attempts from either end, twice.
        let attempts = node.count(|line| line.contains("connection attempt ended"));
        assert!(attempts <= 24, "{attempts} attempts in 5 s\n{}", node.text());
        for other in seeds.iter().filter(|other| **other != node.me) {
            let told = node.count(|line| {
                line.contains("connection failed") && line.contains(&format!("peer_addr={other}"))
            });
            assert_eq!(told, 1, "how often {} told of {other}\n{}", node.me, node.text());
        }
        node.tell("dials");
    }
    let why = nodes[0].expect("a reason", |line| line.starts_with(&format!("DIAL {}", seeds[1])));
    assert!(why.text.contains("of the same application, but its `cookie` differs"), "{}", why.text);
}

#[test]
fn a_peer_that_does_not_fit_is_refused_with_the_reason_on_both_sides() {
    let seeds: [_; 2] = addresses();
    let later = Plan { ring: Some(7), ..Plan::new(seeds[1], &seeds) };
    let nodes = [TestNode::up(&Plan::new(seeds[0], &seeds)), TestNode::up(&later)];
    for node in &nodes {
        node.expect("a refusal", |line| {
            line.contains("is incompatible and is refused") && line.contains("ring algorithm")
        });
        node.expect("a reason", |line| {
            line.contains("a peer refuses this node") && line.contains("ring algorithm")
        });
    }
    sleep(CALM);
    for node in &nodes {
        assert_eq!(node.count(is_linked), 0, "{}", node.text());
    }
}

#[test]
fn a_node_knows_its_own_address_under_every_name() {
    let [me, alias] = addresses();
    // It listens everywhere, so the second address leads to it as well.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 4370 + u16::from(me.ip().to_string().as_bytes()[4])));
    let at = |address: SocketAddr| SocketAddr::new(address.ip(), everywhere.port());
    let plan = Plan { bind: everywhere, ..Plan::new(at(me), &[at(me), at(alias)]) };
    let mut node = TestNode::up(&plan);
    node.expect("both are accounted for", |line| line == "SURVEYED true []");
    node.tell("dials");
    for address in [me, alias] {
        node.expect("it is us", |line| line.starts_with(&format!("DIAL {} self", at(address))));
    }
    sleep(CALM);
    assert_eq!(node.count(is_linked), 0);
    let attempts = node.count(|line| line.contains("connection attempt ended"));
    assert!(attempts <= 2, "only the unknown name was tried, and not again\n{}", node.text());
}

#[test]
fn a_node_with_twenty_addresses_is_linked_once_and_keeps_its_link() {
    let port = free_port(30);
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
    let everywhere = SocketAddr::from(([0, 0, 0, 0], port));
    let several: Vec<SocketAddr> = (5..25).map(at).collect();
    // Of the two, the one that dials decides, and then the other.
    for other in [1, 30] {
        let node = TestNode::up(&Plan { bind: everywhere, ..Plan::new(several[0], &[]) });
        let me = SocketAddr::from(([127, 0, 0, other], free_port(30)));
        let mut dials = TestNode::up(&Plan::new(me, &several));
        eventually("each address is one of the link", || {
            dials.tell("dials");
            let is_linked =
                |address| dials.count(|line| line.starts_with(&format!("DIAL {address} linked"))) > 0;
            several.iter().all(is_linked).then_some(()).ok_or("not yet")
        });
        for node in [&node, &dials] {
            assert_eq!((node.count(is_linked), node.count(is_unlinked)), (1, 0), "{}", node.text());
        }
    }
}

#[test]
fn connections_that_send_nothing_or_nonsense_are_closed_and_delay_no_node() {
    let seeds: [_; 2] = addresses();
    let first = TestNode::up(&Plan::new(seeds[0], &seeds));
    let begin = Instant::now();
    let mut silent: Vec<_> = (0..20).map(|_| TcpStream::connect(seeds[0]).unwrap()).collect();
    let nonsense =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), vec![0; 100_000], vec![0xff; 100_000], vec![0, 0]];
    let mut babblers: Vec<_> = nonsense
        .iter()
        .map(|bytes| {
            let mut stream = TcpStream::connect(seeds[0]).unwrap();
            // It may be evicted before it has sent everything.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    let second = TestNode::start(&Plan::new(seeds[1], &seeds));
    let up = second.expect("it listens", |line| line == "STARTED").at;
    let linked = first.expect("a link in spite of them", is_linked).at;
    println!(
        "linked {:.1} ms after the second listens, beside 24 unauthenticated connections",
        millis(up, linked)
    );
    for stream in silent.iter_mut().chain(&mut babblers) {
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let end = stream.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    println!("all of them are closed after {:.1} s", begin.elapsed().as_secs_f64());
    assert!(begin.elapsed() >= Duration::from_secs(4), "the silent ones had their 5 s");
    sleep(CALM);
    for node in [&first, &second] {
        assert_eq!((node.count(is_linked), node.count(is_unlinked)), (1, 0), "{}", node.text());
    }
}

#[test]
fn a_closed_link_is_closed_on_both_sides_and_made_anew() {
    let seeds: [_; 2] = addresses();
    let mut nodes = seeds.map(|me| TestNode::up(&Plan::new(me, &seeds)));
    wait_for_mesh(&nodes);
    sleep(CALM);
    for (round, closer) in [(2, 0), (3, 1)] {
        let link = nodes[closer].expect_nth("a link", round - 1, is_linked);
        let begin = Clock.now().as_nanos();
        nodes[closer].tell(&format!("close {}", link_of(&link)));
        for node in &nodes {
            let closed = node.expect_nth("a close", round - 1, is_unlinked);
            let again = node.expect_nth("a new link", round, is_linked);
            println!(
                "{}: closed after {:.1} ms, linked again after {:.1} ms",
                node.me,
                millis(begin, closed.at),
                millis(begin, again.at)
            );
        }
        sleep(CALM);
    }
    for node in &nodes {
        assert_eq!((node.count(is_linked), node.count(is_unlinked)), (3, 2), "{}", node.text());
    }
}

#[test]
fn the_link_layer_can_be_stopped_and_started_again_in_one_process() {
    let seeds: [_; 2] = addresses();
    let mut nodes = seeds.map(|me| TestNode::up(&Plan::new(me, &seeds)));
    wait_for_mesh(&nodes);
    nodes[0].tell("restart");
    nodes[1].expect("a close", is_unlinked);
    nodes[0].expect_nth("a second start", 2, |line| line == "STARTED");
    for node in &nodes {
        node.expect_nth("a new link", 2, is_linked);
    }
    assert_eq!(nodes[0].count(|line| line.starts_with("FAILED")), 0, "{}", nodes[0].text());
    assert_eq!(nodes[0].count(is_unlinked), 0, "a stopping node reports nothing more\n{}", nodes[0].text());
}

#[test]
fn a_peer_that_discovery_does_not_name_is_met_by_its_name() {
    let [a, b] = addresses();
    let mut nodes = [TestNode::up(&Plan::new(a, &[])), TestNode::up(&Plan::new(b, &[]))];
    nodes[0].tell(&format!("connect app@{b}"));
    wait_for_mesh(&nodes);
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let [me] = addresses();
    let _first = TestNode::up(&Plan::new(me, &[]));
    let second = TestNode::start(&Plan::new(me, &[]));
    let line = second.expect("an error", |line| line.starts_with("NOT STARTED"));
    assert!(line.text.contains(&me.to_string()) && line.text.contains("is taken"), "{}", line.text);
}
