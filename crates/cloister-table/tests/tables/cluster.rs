//! A table on a few nodes, each a process of its own on this host: this test program, started again.

mod node;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloister_testkit::obedient::{self, ObedientNode as Node, PATIENCE, eventually, ports, turn, until};

use self::node::node;

/// Not a test when run as one: a node of the tests below, with the copies of its table.
#[test]
fn a_node_of_these_tests() {
    obedient::run(2, node);
}

/// A node, which prints what it has lost.
fn start(copies: usize, port: u16, ports: &[u16]) -> Node {
    Node::start("cluster::a_node_of_these_tests", &copies.to_string(), port, ports)
}

fn losses(node: &Node) -> Vec<String> {
    node.lines_with("lost")
}

/// So many nodes, up together.
fn cluster(copies: usize, count: usize, ports: &[u16]) -> Vec<Node> {
    let mut nodes: Vec<Node> = ports.iter().take(count).map(|port| start(copies, *port, ports)).collect();
    for node in &mut nodes {
        node.wait_for("up");
    }
    nodes
}

#[test]
fn what_one_node_writes_the_others_read_and_errors_say_what_is_wrong() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 60"), "60");
    for node in &mut nodes {
        assert_eq!(node.ask("all key 60"), "60");
        assert_eq!(node.ask("get none"), "None");
        assert_eq!(node.ask("len"), "60");
    }
    let local: Vec<usize> = nodes.iter_mut().map(|node| node.ask("local").parse().unwrap()).collect();
    assert!(local.iter().sum::<usize>() == 60 && local.iter().all(|count| *count > 0), "{local:?}");
    assert_eq!(nodes[1].ask("insert key7 8"), "Some(7)");
    assert_eq!(nodes[2].ask("swap key7 7"), "Err(Some(8))");
    assert_eq!(nodes[2].ask("swap key7 8"), "Ok(())");
    assert_eq!(nodes[0].ask("add key7 10"), "Some(9)");
    assert_eq!(nodes[1].ask("remove key7"), "Some(19)");
    assert_eq!(nodes[2].ask("remove key7"), "None");
    assert_eq!(nodes[0].ask("len"), "59");
    for node in &mut nodes {
        let long = node.ask("long key");
        assert!(long.starts_with("error ValueTooLarge") && long.contains("max: 1000"), "{long}");
        assert!(node.ask("key text").starts_with("error KeyTooLarge"), "no limit");
        let unknown = node.ask("unknown key1 1");
        assert!(unknown.starts_with("error UnknownFunction") && unknown.contains("node: Some("), "{unknown}");
    }
}

#[test]
fn every_acknowledged_write_survives_the_kill_of_one_of_three_nodes() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill before 300"), "300");
    // While writes go on at both nodes that stay: one of another key each time, and one that counts.
    let filled = nodes[0].begin("fill during 3000");
    let counts: Vec<usize> = (0..4).map(|n| nodes[1].begin(&format!("count counter{n} 400"))).collect();
    std::thread::sleep(Duration::from_millis(150));
    let mut killed = nodes.remove(2);
    killed.process.kill();
    let done = nodes[0].answer(filled);
    println!("{done} of 3000 acknowledged");
    for (n, count) in counts.into_iter().enumerate() {
        let answer = nodes[1].answer(count);
        println!("counter {n}: {answer}");
        // Each was done once, or told to be uncertain.
        assert!(answer.starts_with("400 "), "{answer}");
        assert_eq!(nodes[0].ask(&format!("get counter{n}")), "Some(400)");
    }
    for node in &mut nodes {
        assert_eq!(node.ask("all before 300"), "300");
        assert_eq!(node.ask("all during 3000"), done);
        assert_eq!(losses(node), Vec::<String>::new());
    }
    assert_eq!(done, "3000", "an operation fails while a node is killed");
}

#[test]
fn a_node_joins_and_another_leaves_and_nothing_is_lost_without_any_further_copy() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 2000"), "2000");
    nodes.push(start(1, ports[3], &ports));
    nodes[3].wait_for("up");
    for node in &mut nodes {
        node.ask_until("len", "2000");
        assert_eq!(node.ask("all key 2000"), "2000");
    }
    let local: usize = nodes[3].ask("local").parse().unwrap();
    assert!(local > 100, "the new node has {local} entries");
    let mut leaver = nodes.remove(0);
    let counted = nodes[0].begin("count counter 300");
    leaver.begin("leave");
    assert!(leaver.process.ended_within(PATIENCE).is_some(), "{:#?}", leaver.process.errors().lines());
    let answer = nodes[0].answer(counted);
    println!("counted while a node left: {answer}");
    assert!(answer.starts_with("300 "), "{answer}");
    for node in &mut nodes {
        node.ask_until("len", "2001");
        assert_eq!(node.ask("all key 2000"), "2000");
    }
    let tell = BTreeMap::from_iter(nodes.iter().chain([&leaver]).map(losses).enumerate());
    assert!(tell.values().all(Vec::is_empty), "{tell:?}");
}

#[test]
fn entries_without_a_copy_are_lost_with_their_node_and_that_is_told() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    let gone: u64 = nodes[2].ask("local").parse().unwrap();
    let slots: usize = nodes[2].ask("slots").parse().unwrap();
    nodes.remove(2).process.kill();
    for node in &mut nodes {
        node.ask_until("len", &(300 - gone).to_string());
    }
    // The table can be written to, and both have told which slots are lost.
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    assert_eq!(nodes[1].ask("len"), "300");
    let told = |node: &Node| -> usize {
        let losses = losses(node);
        losses.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()).sum()
    };
    eventually(&format!("{slots} slots with entries were lost"), || {
        let all: Vec<usize> = nodes.iter().map(told).collect();
        if all.iter().sum::<usize>() == slots { Ok(()) } else { Err(all) }
    });
    let warned = nodes
        .iter()
        .filter(|node| node.process.errors().count("all copies of slots of a table are gone") > 0);
    assert_eq!(warned.count(), 2, "an operator reads it");
}

#[test]
fn a_loss_is_told_before_a_slot_is_served_without_what_it_had() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    let asked: Vec<usize> = nodes[..2].iter_mut().map(|node| node.begin("lost 300")).collect();
    nodes[..2].iter().for_each(|node| node.wait_for("reads"));
    nodes.remove(2).process.kill();
    let answers: Vec<String> = nodes.iter().zip(asked).map(|(node, asked)| node.answer(asked)).collect();
    assert_eq!(answers, ["true", "true"]);
}

#[test]
fn slots_without_a_copy_wait_until_the_loss_is_accepted() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("kept fill key 100"), "100");
    for node in &nodes {
        (0..100).for_each(|n| node.wait_for(&format!("kept put key{n} {n}")));
    }
    let gone: Vec<String> = nodes[2].ask("kept keys").split(' ').map(ToOwned::to_owned).collect();
    assert!(gone.len() > 10, "the node that is killed has {gone:?}");
    let slots: usize = nodes[2].ask("kept slots").parse().unwrap();
    nodes.remove(2).process.kill();
    // They are not served, by none of the two, and that is told. The others are.
    for key in &gone {
        for node in &mut nodes {
            let answer = node.ask(&format!("kept get {key}"));
            assert!(answer.starts_with("error Lost"), "{key}: {answer}");
        }
    }
    let answer = nodes[0].ask(&format!("kept insert {} 7", gone[0]));
    assert!(answer.starts_with("error Lost"), "{answer}");
    let rest = (0..100).map(|n| format!("key{n}")).find(|key| !gone.contains(key)).unwrap();
    assert!(nodes[0].ask(&format!("kept get {rest}")).starts_with("Some("));
    let told = |nodes: &[Node], what: &str| -> usize {
        let lines = nodes.iter().flat_map(|node| node.lines_with(what));
        lines.map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap()).sum()
    };
    let wait_for = |nodes: &[Node], what: &str| {
        eventually(&format!("{what}: {slots} slots"), || match told(nodes, what) {
            told if told == slots => Ok(()),
            told => Err(told),
        });
    };
    wait_for(&nodes, "kept waits");
    assert_eq!(told(&nodes, "kept lost"), 0);
    // The log is another pipe than what the nodes print.
    until("an operator reads it", || {
        nodes.iter().any(|node| node.process.errors().count("and they wait") > 0)
    });
    // What nothing knows to be gone is not told to be: a write after it comes on the same way.
    assert!(nodes[0].ask(&format!("kept insert {rest} 1000")).starts_with("Some("));
    for node in &nodes {
        node.wait_for(&format!("kept put {rest} 1000"));
        assert_eq!(node.lines_with("kept removed"), Vec::<String>::new());
    }
    for node in &mut nodes {
        assert_eq!(node.ask("kept accept"), "accepted");
    }
    for key in &gone {
        assert_eq!(nodes[0].ask(&format!("kept get {key}")), "None");
        nodes.iter().for_each(|node| node.wait_for(&format!("kept removed {key}")));
    }
    wait_for(&nodes, "kept lost");
    assert_eq!(nodes[1].ask(&format!("kept insert {} 7", gone[0])), "None");
}

#[test]
fn nodes_that_all_leave_do_not_wait_for_each_other() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 100"), "100");
    let began = Instant::now();
    for node in &mut nodes {
        node.begin("leave");
    }
    for node in &mut nodes {
        assert!(node.process.ended_within(PATIENCE).is_some(), "{:#?}", node.process.errors().lines());
    }
    // Each would wait for 15 s, which is `leave_timeout`, for another to take its entries; `docker stop` kills after 10.
    println!("it took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
}

#[test]
fn entries_expire_at_the_next_owner_too() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill kept 100"), "100");
    assert_eq!(nodes[0].ask("brief gone 300"), "300");
    let here: u64 = nodes[2].ask("local").parse().unwrap();
    assert!(here > 60, "the node that is killed has {here} of 400");
    nodes.remove(2).process.kill();
    // No operation on their keys reminds the new owners of them.
    for node in &mut nodes {
        node.ask_until("len", "100");
        assert_eq!(node.ask("all kept 100"), "100");
        assert_eq!(node.ask("all gone 300"), "0");
    }
}

/// A key, and its value, if it has one then.
type Told = (String, Option<u64>);

/// What a node has been told of what it watches, in order, and what it knows by that.
fn watched(node: &Node) -> (Vec<Told>, BTreeMap<String, u64>) {
    let (mut events, mut known) = (Vec::new(), BTreeMap::new());
    for line in node.process.output().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let key = || words[1].to_owned();
        match words[0] {
            "put" => {
                known.insert(key(), words[2].parse().unwrap());
                events.push((key(), Some(words[2].parse().unwrap())));
            }
            "removed" => {
                known.remove(&key());
                events.push((key(), None));
            }
            _ => {}
        }
    }
    (events, known)
}

#[test]
fn a_watch_is_told_what_there_is_and_every_change_through_views_that_change() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill w 200"), "200");
    assert_eq!(nodes[0].ask("fill unwatched 50"), "50");
    // One that is there before, and one that comes later, which is told what there is.
    nodes.push(start(2, ports[3], &ports));
    nodes[3].wait_for("up");
    let agrees = |node: &Node, wanted: &BTreeMap<String, u64>| {
        eventually(&format!("it knows {wanted:#?}"), || match watched(node).1 {
            knows if knows == *wanted => Ok(()),
            knows => Err(knows),
        });
    };
    let mut wanted: BTreeMap<String, u64> = (0..200).map(|n| (format!("w{n}"), n)).collect();
    agrees(&nodes[1], &wanted);
    agrees(&nodes[3], &wanted);
    // While counters count, entries are removed, and a node is killed.
    let counts: Vec<usize> = (0..4).map(|n| nodes[0].begin(&format!("count wcounter{n} 300"))).collect();
    for n in 0..50 {
        assert_eq!(nodes[1].ask(&format!("remove w{n}")), format!("Some({n})"));
        wanted.remove(&format!("w{n}"));
        if n == 25 {
            nodes[2].process.kill();
        }
    }
    for (n, count) in counts.into_iter().enumerate() {
        assert!(nodes[0].answer(count).starts_with("300 "));
        wanted.insert(format!("wcounter{n}"), 300);
    }
    for at in [0, 1, 3] {
        agrees(&nodes[at], &wanted);
        let (events, _) = watched(&nodes[at]);
        assert!(events.iter().all(|(key, _)| !key.starts_with("unwatched")), "another prefix");
        let mut last = BTreeMap::new();
        for (key, value) in events {
            let before = last.insert(key.clone(), value);
            if key.starts_with("wcounter") {
                assert!(before < Some(value), "node {at}: {key} was {before:?}, and is {value:?} then");
            } else {
                assert_ne!(before, Some(value), "node {at}: {key} is told twice");
            }
        }
    }
    nodes[0].begin("leave");
    nodes[0].wait_for("watched to the end");
}
