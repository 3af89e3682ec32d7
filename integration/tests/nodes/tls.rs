//! Mutual TLS between real processes: its cost, the nodes that it keeps out and what is logged, and that files can be
//! exchanged while everything runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cloister_integration::{
    Block, Budget, Node, Plan, agree, assembly_time, eventually, median, report, start_all,
};
use cloister_json::Peer;
use tempfile::TempDir;

use cloister_testkit::certificates::{Authority, Order, Paths, write};

/// For how long a node that is kept out is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// A node with these files.
fn secured(plan: &Plan, paths: &Paths) -> Plan {
    let [cert, key, ca] = [&paths.cert, &paths.key, &paths.ca].map(|path| path.display().to_string());
    plan.clone().set("TLS__CERT", cert).set("TLS__KEY", key).set("TLS__CA", ca)
}

/// A node with a certificate of its own.
fn equipped(plan: &Plan, home: &Path, authority: &Authority) -> Plan {
    secured(plan, &authority.equip(&home.join(plan.address()), &Order::default()))
}

#[test]
fn three_nodes_with_tls_come_together_about_as_fast_as_without_and_call_each_other() {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    let plain: Vec<_> =
        Plan::list(&Block::new(3).ips()).into_iter().map(|plan| plan.worker("echo")).collect();
    let tls: Vec<_> = plain.iter().map(|plan| equipped(plan, home.path(), &authority)).collect();
    let assemble = |plans: &[Plan]| {
        let run = |_| {
            let mut nodes = start_all(plans);
            let (view, up) = agree(&nodes);
            view.check_claims(&mut nodes);
            // A member may be up before its worker is known to all.
            eventually("three workers are known", || {
                let found = nodes[0].ask("workers");
                if found.as_array().map(Vec::len) == Some(3) { Ok(()) } else { Err(found) }
            });
            let answers = nodes[0].ask("multicall 5000");
            assert_eq!(answers["ok"].as_object().map(|ok| ok.len()), Some(3), "{answers}");
            assembly_time(&nodes, up)
        };
        let runs: Vec<_> = (0..5).map(run).collect();
        (median(runs.clone()), runs)
    };
    let (without, all_without) = assemble(&plain);
    let (with, all_with) = assemble(&tls);
    report(&format!(
        "3 nodes from start to one view: {without:.1?} without TLS ({all_without:.1?}), {with:.1?} with it ({all_with:.1?})"
    ));
    Budget::millis(1000).meet("3 nodes with TLS started at once", with);
}

/// Two nodes that are up, and a third that is not as they are.
fn keeps_out(what: &str, disguise: impl Fn(&Plan, &Path, &Authority) -> Plan, expected: [&str; 2]) {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    let plans = Plan::list(&Block::new(3).ips());
    let nodes =
        start_all(&plans[..2].iter().map(|plan| equipped(plan, home.path(), &authority)).collect::<Vec<_>>());
    agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    let outsider = Node::start(&disguise(&plans[2], home.path(), &authority));
    // What it says of them, and what they say of it; each asks the other again and again.
    let [ours, its] = expected;
    let place = plans[2].address();
    let ready = eventually("the outsider says why it is not ready", || {
        let answer = outsider.get("/readyz");
        if answer.body.matches(its).count() == 2 { Ok(answer) } else { Err(answer.body) }
    });
    assert_eq!(ready.code, 503);
    let last_error = |node: &Node| {
        let is_it = |peer: &Peer| peer.address.as_deref() == Some(&*place);
        let peer = node.members().peers.into_iter().find(is_it).expect("a seed is a known peer");
        peer.last_error.unwrap_or_default()
    };
    for node in &nodes {
        eventually("a node says why the outsider is not connected", || {
            let error = last_error(node);
            if error.contains(ours) { Ok(()) } else { Err(error) }
        });
    }
    std::thread::sleep(WATCHED);
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved by {what}", node.name());
        assert_eq!(node.get("/readyz").code, 200);
        let warnings: Vec<_> =
            node.log().lines().into_iter().filter(|line| line.contains(" WARN ")).collect();
        let count = |what: &str| warnings.iter().filter(|line| line.contains(what)).count();
        assert_eq!(
            (count("connection failed"), count("not admitted"), warnings.len()),
            (1, 1, 2),
            "once for each way: {warnings:#?}"
        );
    }
    assert!(outsider.notices().iter().all(|notice| !notice.is_up()), "the outsider is never up");
    report(&format!("{what}: /readyz of it says {}", ready.body));
}

#[test]
fn a_node_with_an_expired_certificate_is_kept_out_and_all_log_it() {
    let disguise = |plan: &Plan, home: &Path, authority: &Authority| {
        let order = Order { expired: true, ..Order::default() };
        secured(plan, &authority.equip(&home.join("expired"), &order))
    };
    keeps_out("an expired certificate", disguise, ["its certificate expired at 20", "which has expired or"]);
}

#[test]
fn a_node_with_a_certificate_of_another_authority_is_kept_out_and_all_log_it() {
    let disguise = |plan: &Plan, home: &Path, authority: &Authority| {
        let other = Authority::new("other");
        let pair = other.sign(&Order::default());
        secured(plan, &write(&home.join("other"), &pair, &[authority, &other]))
    };
    let expected =
        ["an authority that is not in this node's `tls.ca`", "whose authority is not in its `tls.ca`"];
    keeps_out("another authority", disguise, expected);
}

#[test]
fn a_node_with_a_certificate_for_another_name_is_kept_out_and_all_log_it() {
    let disguise = |plan: &Plan, home: &Path, authority: &Authority| {
        let paths = authority.equip(&home.join("web"), &Order { name: "web", ..Order::default() });
        secured(plan, &paths).set("TLS__SERVER_NAME", "web")
    };
    let expected =
        ["its certificate is for web, and not for it", "its certificate is for it, and not for web"];
    keeps_out("another name", disguise, expected);
}

#[test]
fn a_node_without_tls_is_kept_out_and_all_log_it() {
    let expected = ["does not speak TLS 1.3: give it the same section", "speaks TLS, and this node does not"];
    keeps_out("no TLS", |plan, _, _| plan.clone(), expected);
}

#[test]
fn clients_that_stop_in_the_middle_of_their_hello_keep_no_node_from_joining_within_two_seconds() {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    let plans: Vec<_> =
        Plan::list(&Block::new(3).ips()).iter().map(|plan| equipped(plan, home.path(), &authority)).collect();
    let mut nodes = start_all(&plans[..2]);
    agree(&nodes);
    // The head of a record of 512 bytes with a ClientHello, and a fifth of it.
    let half = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat();
    let slow: Vec<_> = nodes
        .iter()
        .flat_map(|node| (0..30).map(|_| node.address()))
        .map(|address| {
            let mut stream = TcpStream::connect(address).expect("it accepts");
            stream.write_all(&half).expect("it reads");
            stream
        })
        .collect();
    nodes.push(Node::start(&plans[2]));
    let (view, up) = agree(&nodes);
    view.check_claims(&mut nodes);
    let took = assembly_time(&nodes[2..], up);
    Budget::millis(2000).meet("a third node beside 60 that stop in the middle of their hello", took);
    let began = Instant::now();
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let end = stream.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    report(&format!("all of them were put out after {:.1?}", began.elapsed()));
    assert_eq!(agree(&nodes).0, view, "no node was moved");
}

#[test]
fn the_authority_of_a_running_cluster_is_exchanged_and_no_link_falls() {
    let home = TempDir::new().expect("a directory");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let plans = Plan::list(&Block::new(4).ips());
    let at = |plan: &Plan| home.path().join(plan.address());
    let mut nodes: Vec<_> =
        plans[..3].iter().map(|plan| Node::start(&equipped(plan, home.path(), &old))).collect();
    let (view, _) = agree(&nodes);
    let in_use = |nodes: &[Node], times: usize| {
        for node in nodes {
            eventually("new files are in use", || match node.log().count("new TLS files are in use") {
                count if count == times => Ok(()),
                count => Err(count),
            });
        }
    };
    for plan in &plans[..3] {
        write(&at(plan), &old.sign(&Order::default()), &[&old, &new]);
    }
    in_use(&nodes, 1);
    for plan in &plans[..3] {
        write(&at(plan), &new.sign(&Order::default()), &[&old, &new]);
    }
    in_use(&nodes, 2);
    for plan in &plans[..3] {
        write(&at(plan), &new.sign(&Order::default()), &[&new]);
    }
    in_use(&nodes, 3);
    assert_eq!(agree(&nodes).0, view, "no node was moved");
    // A node that knows the new authority only is one of them; one that knows the old one only would not be.
    nodes.push(Node::start(&equipped(&plans[3], home.path(), &new)));
    let (grown, _) = agree(&nodes);
    grown.check_claims(&mut nodes);
    for node in &nodes {
        let downs = node
            .notices()
            .iter()
            .flat_map(|notice| notice.changes.clone())
            .filter(|it| it.kind == "node_down")
            .count();
        assert_eq!(downs, 0, "{}: every link went on", node.name());
        assert_eq!(node.log().count(" WARN "), 0, "{:#?}", node.log().lines());
    }
}

#[test]
fn a_key_is_in_no_log_however_much_is_logged() {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    let plans: Vec<_> = Plan::list(&Block::new(2).ips())
        .iter()
        .map(|plan| {
            equipped(plan, home.path(), &authority).variable("RUST_LOG", "trace,ractor_cluster=trace")
        })
        .collect();
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let directory = home.path().join(plans[0].address());
    let key = fs::read_to_string(directory.join("key.pem")).expect("a key");
    // Also when it stands where a certificate belongs.
    fs::write(directory.join("cert.pem"), &key).expect("a file");
    eventually("it is told", || match nodes[0].log().count("mistaken for `tls.key`") {
        0 => Err(()),
        _ => Ok(()),
    });
    for node in &mut nodes {
        node.kill();
        let secrets: Vec<&str> = key.lines().filter(|line| !line.contains("-----")).collect();
        assert!(!secrets.is_empty());
        for secret in secrets {
            assert_eq!(node.log().count(&secret[..16.min(secret.len())]), 0, "{}", node.name());
        }
        for level in [" TRACE ", " DEBUG "] {
            assert!(node.log().count(level) > 10, "all is logged: {} of{level}", node.log().count(level));
        }
    }
}
