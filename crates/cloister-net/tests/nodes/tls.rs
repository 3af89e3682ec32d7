//! Mutual TLS on the link layer, with real processes and certificates made on the spot.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

use cloister_testkit::certificates::{Authority, Order, Pair, Paths, write};
use cloister_testkit::loopback::Block;

use crate::node::{Plan, TEST_TIMEOUT, TestNode};

/// For how long nothing more may happen after all is well.
const CALM: Duration = Duration::from_millis(1500);

/// For how long two are watched that will never be linked.
const WATCHED: Duration = Duration::from_secs(5);

/// Addresses that no other test of this or another run uses, in rising order.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let block = Block::in_order_of_text(u8::try_from(N).unwrap());
    std::array::from_fn(|number| SocketAddr::from((block.ip(number), 4370)))
}

fn secured(plan: Plan, paths: &Paths, name: &str) -> Plan {
    let [cert, key, ca] = [&paths.cert, &paths.key, &paths.ca].map(|path| path.display().to_string());
    Plan { tls: Some([cert, key, ca, name.to_owned()]), ..plan }
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

/// Starts a node at each address, with certificates of their own if there is an authority; returns the time from the
/// moment that the last listens until all are linked.
fn assemble(seeds: &[SocketAddr], home: Option<(&Path, &Authority)>) -> (Vec<TestNode>, f64) {
    let plan = |me: &SocketAddr| {
        let plan = Plan::new(*me, seeds);
        match home {
            None => plan,
            Some((home, authority)) => {
                secured(plan, &authority.equip(&home.join(me.to_string()), &Order::default()), "it")
            }
        }
    };
    let plans: Vec<_> = seeds.iter().map(plan).collect();
    let nodes: Vec<_> = plans.iter().map(TestNode::start).collect();
    let up = nodes.iter().map(|node| node.expect("it listens", |line| line == "STARTED").at).max().unwrap();
    let linked = nodes.iter().flat_map(|node| {
        let others = seeds.iter().filter(|other| **other != node.me);
        others.map(|other| node.expect("a link", linked_to(*other)).at)
    });
    let took = linked.max().unwrap().saturating_sub(up) as f64 / 1e6;
    (nodes, took)
}

#[test]
fn nodes_with_certificates_of_one_authority_link_each_to_each_and_once() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    for count in [3, 5] {
        let all = addresses::<10>();
        let (without, plain) = assemble(&all[..count], None);
        drop(without);
        let (nodes, tls) = assemble(&all[5..5 + count], Some((home.path(), &authority)));
        println!("{count} nodes all linked after {plain:.1} ms without TLS, {tls:.1} ms with it");
        sleep(CALM);
        for node in &nodes {
            assert_eq!(node.count(is_linked), count - 1, "links of {}\n{}", node.me, node.text());
            assert_eq!(node.count(is_unlinked), 0, "closed links of {}\n{}", node.me, node.text());
        }
    }
}

#[test]
fn messages_go_both_ways_and_none_can_be_read_on_the_way() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let (mut nodes, _) = assemble(&addresses::<2>(), Some((home.path(), &authority)));
    for (from, to) in [(0, 1), (1, 0)] {
        let link = nodes[from].expect("a link", is_linked).text.split(' ').nth(1).unwrap().to_owned();
        for number in 1..=1000 {
            nodes[from].tell(&format!("send {link} {number}"));
        }
        let last = nodes[to].expect_nth("the last", 1000, |line| line.starts_with("RECEIVED "));
        assert!(last.text.ends_with("Commit { epoch: Epoch(1000) }"), "{}", last.text);
    }
}

/// Until each node has warned of its own dial and of that of the other, and for a while longer, in which it must not do so again.
fn watch(nodes: &[TestNode]) {
    for node in nodes {
        for way in ["connection failed", "not admitted"] {
            node.expect("a warning for each way", |line| line.contains(" WARN ") && line.contains(way));
        }
    }
    sleep(WATCHED);
}

/// Two nodes that do not get together, the first of which is as it should be, with what each of them says of the other.
fn rejects_outsider(what: &str, good: Plan, bad: Plan, says: [&str; 2]) {
    let mut nodes = [TestNode::up(&good), TestNode::up(&bad)];
    watch(&nodes);
    for (node, (says, other)) in nodes.iter_mut().zip(says.into_iter().zip([bad.me, good.me])) {
        assert_eq!(node.count(is_linked), 0, "{}", node.text());
        node.tell("dials");
        let why = node.expect("a reason", |line| line.starts_with(&format!("DIAL {other}"))).text;
        assert!(why.contains(says), "{what}: `dials` of {} says {why}, and not {says}", node.me);
        let told = |words: &str| node.count(|line| line.contains(" WARN ") && line.contains(words));
        assert_eq!(
            (told("connection failed"), told("not admitted"), told(says), told("")),
            (1, 1, 2, 2),
            "{what}: once for each way\n{}",
            node.text()
        );
        println!("{what}: {why}");
    }
}

/// Runs it with a good plan, and hands the place of another; the good one first has the lesser, then the greater address.
fn beside(run: impl Fn(&Path, &Authority, Plan, Plan) + Sync) {
    std::thread::scope(|scope| {
        for turned in [false, true] {
            let run = &run;
            scope.spawn(move || {
                let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
                let mut seeds = addresses::<2>();
                if turned {
                    seeds.reverse();
                }
                let good = authority.equip(&home.path().join("good"), &Order::default());
                let good = secured(Plan::new(seeds[0], &seeds), &good, "it");
                run(&home.path().join("bad"), &authority, good, Plan::new(seeds[1], &seeds));
            });
        }
    });
}

#[test]
fn an_expired_certificate_is_logged_by_both_sides() {
    beside(|home, authority, good, place| {
        let expired = authority.equip(home, &Order { expired: true, ..Order::default() });
        let bad = secured(place, &expired, "it");
        rejects_outsider(
            "expired",
            good,
            bad,
            ["its certificate expired at 20", "which has expired or is not"],
        );
    });
}

#[test]
fn a_certificate_of_another_authority_is_logged_by_both_sides() {
    beside(|home, _, good, place| {
        let other = Authority::new("other").equip(home, &Order::default());
        let says = "an authority that is not in this node's `tls.ca`";
        // Each trusts only its own, so the side that looks first, the one that dials, reports it; the other gets its alert.
        let bad = secured(place, &other, "it");
        let mut nodes = [TestNode::up(&good), TestNode::up(&bad)];
        watch(&nodes);
        for node in &mut nodes {
            is_told_on_both_ways(node, says);
            let alerts = node.count(|line| {
                line.contains(" WARN ") && line.contains("whose authority is not in its `tls.ca`")
            });
            assert_eq!(alerts, 1, "{}", node.text());
        }
    });
}

/// The node has no link and says why: of the connection that it dialled, and of the one that it accepted.
#[track_caller]
fn is_told_on_both_ways(node: &mut TestNode, says: &str) {
    assert_eq!(node.count(is_linked), 0, "{}", node.text());
    node.tell("dials");
    let why = node.expect("a reason", |line| line.contains("DIAL") && line.contains(says)).text;
    println!("it says: {why}");
    let told = |words: &str| node.count(|line| line.contains(" WARN ") && line.contains(words));
    assert_eq!((told("connection failed"), told("not admitted"), told("")), (1, 1, 2), "{}", node.text());
}

#[test]
fn a_certificate_that_only_one_side_trusts_is_logged_by_both_sides() {
    beside(|home, authority, good, place| {
        let other = Authority::new("other");
        let paths = write(home, &other.sign(&Order::default()), &[authority, &other]);
        let says =
            ["an authority that is not in this node's `tls.ca`", "whose authority is not in its `tls.ca`"];
        rejects_outsider("one-sided trust", good, secured(place, &paths, "it"), says);
    });
}

#[test]
fn a_certificate_for_another_name_is_logged_by_both_sides() {
    beside(|home, authority, good, place| {
        let pair = authority.sign(&Order { name: "web", ..Order::default() });
        let paths = write(home, &pair, &[authority]);
        let bad = secured(place, &paths, "web");
        let mut nodes = [TestNode::up(&good), TestNode::up(&bad)];
        watch(&nodes);
        for (node, says) in nodes.iter_mut().zip([
            "its certificate is for web, and not for it: `tls.server_name`",
            "its certificate is for it, and not for web: `tls.server_name`",
        ]) {
            is_told_on_both_ways(node, says);
        }
    });
}

#[test]
fn a_node_without_tls_and_one_with_it_tell_each_what_the_other_is() {
    beside(|_, _, good, place| {
        let says = ["without TLS: give it the same section", "speaks TLS, and this node does not"];
        let mut nodes = [TestNode::up(&good), TestNode::up(&place)];
        watch(&nodes);
        let dialled = ["does not speak TLS 1.3: give it the same section", says[1]];
        for (node, (says, dialled)) in nodes.iter_mut().zip(says.into_iter().zip(dialled)) {
            assert_eq!(node.count(is_linked), 0, "{}", node.text());
            node.tell("dials");
            let why = node.expect("a reason", |line| line.contains("DIAL") && line.contains(dialled)).text;
            println!("one without TLS: {why}");
            let told = |words: &str| node.count(|line| line.contains(" WARN ") && line.contains(words));
            assert_eq!(
                (told("connection failed"), told("not admitted"), told("")),
                (1, 1, 2),
                "{}",
                node.text()
            );
            assert!(told(says) >= 1, "{}", node.text());
        }
    });
}

/// A client that trusts the authority, and shows this certificate or none.
fn client(
    to: SocketAddr,
    authority: &Authority,
    pair: Option<&Pair>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match pair {
        None => config.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let chain = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    let name = ServerName::try_from("it").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), TcpStream::connect(to).unwrap())
}

#[test]
fn only_a_certificate_of_the_authority_for_the_name_and_for_clients_is_admitted() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let good = authority.sign(&Order::default());
    let web = authority.sign(&Order { name: "web", ..Order::default() });
    let server = authority.sign(&Order { servers_only: true, ..Order::default() });
    let foreign = Authority::new("other").sign(&Order::default());
    let cases = [
        (None, "CertificateRequired", "it showed no certificate"),
        (Some(&web), "BadCertificate", "its certificate is for web, and not for it"),
        (Some(&server), "UnsupportedCertificate", "its certificate may not be used by servers and clients"),
        (Some(&foreign), "UnknownCA", "its certificate is signed by an authority that is not in"),
    ];
    for (pair, alert, says) in cases {
        let [me] = addresses();
        let paths = authority.equip(&home.path().join(me.to_string()), &Order::default());
        let node = TestNode::up(&secured(Plan::new(me, &[]), &paths, "it"));
        for _ in 0..3 {
            let error = client(me, &authority, pair).read(&mut [0; 64]).unwrap_err().to_string();
            assert!(error.contains(alert), "{error}");
        }
        let says = |line: &str| line.contains("not admitted") && line.contains(says);
        node.expect("it is logged", says);
        assert_eq!(
            client(me, &authority, Some(&good)).read(&mut [0; 64]).unwrap(),
            1,
            "the byte that accepts"
        );
        assert_eq!(node.count(says), 1, "once\n{}", node.text());
    }
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_hello_is_closed_and_delays_no_node() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let seeds = addresses::<2>();
    let plan = |me: SocketAddr| {
        secured(
            Plan::new(me, &seeds),
            &authority.equip(&home.path().join(me.to_string()), &Order::default()),
            "it",
        )
    };
    let first = TestNode::up(&plan(seeds[0]));
    let begin = Instant::now();
    let mut slow: Vec<_> = (0..30)
        .map(|_| {
            let mut client = client(seeds[0], &authority, None);
            let mut hello = Vec::new();
            client.conn.write_tls(&mut hello).unwrap();
            client.sock.write_all(&hello[..hello.len() / 2]).unwrap();
            client.sock
        })
        .collect();
    let second = TestNode::start(&plan(seeds[1]));
    let up = second.expect("it listens", |line| line == "STARTED").at;
    let linked = first.expect("a link in spite of them", is_linked).at;
    let took = linked.saturating_sub(up) as f64 / 1e6;
    println!(
        "linked {took:.1} ms after the second listens, beside 30 that stopped in the middle of their hello"
    );
    assert!(took < 2000.0, "{took} ms");
    for client in &mut slow {
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let end = client.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    println!("all of them are out after {:.1} s", begin.elapsed().as_secs_f64());
    assert!(begin.elapsed() >= Duration::from_secs(4), "they had their 5 s");
    sleep(CALM);
    for node in [&first, &second] {
        assert_eq!((node.count(is_linked), node.count(is_unlinked)), (1, 0), "{}", node.text());
    }
}

#[test]
fn new_files_are_for_new_links_and_open_ones_stay() {
    let home = TempDir::new().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let seeds = addresses::<3>();
    let at = |me: SocketAddr| home.path().join(me.to_string());
    let plan = |me: SocketAddr, paths: &Paths| secured(Plan::new(me, &seeds), paths, "it");
    let mut nodes: Vec<_> = seeds[..2]
        .iter()
        .map(|me| TestNode::up(&plan(*me, &old.equip(&at(*me), &Order::default()))))
        .collect();
    for (node, other) in nodes.iter().zip([seeds[1], seeds[0]]) {
        node.expect("a link", linked_to(other));
    }
    // A node of the new authority, which the others do not know yet.
    let third = write(&at(seeds[2]), &new.sign(&Order::default()), &[&old, &new]);
    nodes.push(TestNode::up(&plan(seeds[2], &third)));
    let unknown = |line: &str| line.contains("whose authority is not in its `tls.ca`");
    nodes[2].expect("it is refused", unknown);
    // First both trust both, then they are given new certificates.
    for me in &seeds[..2] {
        let paths = write(&at(*me), &Pair { cert: String::new(), key: String::new() }, &[&old, &new]);
        assert!(fs::read_to_string(paths.cert).unwrap().is_empty());
    }
    for node in &nodes[..2] {
        let broken = |line: &str| line.contains("cannot be used: those from before stay in use");
        let told = node.expect("a broken set is logged", broken).text;
        assert!(told.contains("tls.cert = ") && told.contains("holds no certificate"), "{told}");
        assert!(told.contains("tls.key = ") && told.contains("holds no private key"), "{told}");
    }
    sleep(3 * Duration::from_secs(1));
    for node in &nodes[..2] {
        assert_eq!(node.count(|line| line.contains("stay in use")), 1, "once\n{}", node.text());
        assert_eq!(node.count(is_linked), 1, "the old one is still in use\n{}", node.text());
    }
    for me in &seeds[..2] {
        write(&at(*me), &new.sign(&Order::default()), &[&old, &new]);
    }
    for node in &nodes {
        node.expect_nth("a link to the new node", 2, is_linked);
    }
    sleep(CALM);
    for node in &nodes {
        assert_eq!((node.count(is_linked), node.count(is_unlinked)), (2, 0), "{}", node.text());
    }
    for node in &nodes[..2] {
        assert_eq!(node.count(|line| line.contains("new TLS files are in use")), 1, "{}", node.text());
    }
}

#[test]
fn an_expired_file_does_not_take_the_place_of_a_valid_one() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let [me] = addresses();
    let paths = authority.equip(home.path(), &Order::default());
    let node = TestNode::up(&secured(Plan::new(me, &[]), &paths, "it"));
    authority.equip(home.path(), &Order { expired: true, ..Order::default() });
    node.expect("it is logged", |line| line.contains("stay in use") && line.contains("expired at 20"));
    authority.equip(home.path(), &Order::default());
    node.expect("the next is taken", |line| line.contains("new TLS files are in use"));
}

#[test]
fn a_file_that_is_not_valid_yet_is_taken_when_it_is() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let [me] = addresses();
    let paths = authority.equip(home.path(), &Order { ends_soon: true, ..Order::default() });
    let node = TestNode::up(&secured(Plan::new(me, &[]), &paths, "it"));
    // Longer than two looks at the files, after which what cannot be used is logged.
    authority.equip(home.path(), &Order { starts_in: Some(Duration::from_secs(10)), ..Order::default() });
    let taken = |line: &str| line.contains("new TLS files are in use");
    node.expect("it is logged", |line| line.contains("stay in use") && line.contains("it is valid from 20"));
    assert_eq!(node.count(taken), 0, "{}", node.text());
    node.expect("it is taken when it is valid", taken);
}

#[test]
fn a_key_is_never_printed() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let (mut nodes, _) = assemble(&addresses::<2>(), Some((home.path(), &authority)));
    // Also when a file with a key in it is broken, or stands where another belongs.
    let directory = home.path().join(nodes[0].me.to_string());
    let key = fs::read_to_string(directory.join("key.pem")).unwrap();
    let broken = key.replace("-----END", "-----ENDE");
    for wrong in [key.clone(), broken] {
        fs::write(directory.join("cert.pem"), &wrong).unwrap();
        fs::write(directory.join("key.pem"), wrong.replacen('M', "*", 1)).unwrap();
        let words = if wrong == key { "mistaken for `tls.key`" } else { "a block has no end" };
        nodes[0].expect("it is logged", |line| line.contains("stay in use") && line.contains(words));
    }
    nodes[1].kill();
    nodes[0].expect("a close", is_unlinked);
    let secrets: Vec<&str> = key.lines().filter(|line| !line.contains("-----")).collect();
    assert!(secrets.len() >= 2);
    for node in &nodes {
        let text = node.text();
        assert!(secrets.iter().all(|secret| !text.contains(&secret[..16.min(secret.len())])), "{text}");
    }
}
