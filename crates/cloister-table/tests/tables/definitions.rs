//! Nodes that define a table differently, or with more copies than there are nodes, each a process of its own on this host: this test program, started again.

use std::time::Duration;

use cloister::{Config, ManagerArguments};
use cloister_table::{DefineTable, OnLoss, TableOptions, statistics};
use cloister_testkit::obedient::{self, ObedientNode as Node, Role, eventually, ports, turn};

/// Not a test when run as one: a node of the test below, with the copies of its table, what it does on a loss, and a table that only it
/// has.
#[test]
fn a_node_of_these_tests() {
    obedient::run(2, node);
}

async fn node(role: Role) {
    let [copies, on_loss, own] = &role.words[..] else { panic!("{role:?}") };
    let on_loss = if on_loss == "wait" { OnLoss::Wait } else { OnLoss::Empty };
    let options = TableOptions::default().copies(copies.parse().unwrap()).on_loss(on_loss);
    let mut config = Config::new("definitions").seeds(role.seeds()).port(role.port).consensus(2);
    // A round waits so long for a table that a member does not have.
    config.timing.rehash_timeout = Duration::from_secs(3);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let table = arguments.table::<String, u64>("stock", options).unwrap();
    let mut events = table.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            println!("event {event:?}");
        }
    });
    arguments.table::<String, u64>(own, TableOptions::default()).unwrap();
    let cloister = arguments.handle();
    obedient::obey(move |command| {
        let (cloister, table) = (cloister.clone(), table.clone());
        async move {
            match command.as_str() {
                "missing" => {
                    let missing = cloister.readiness().await.missing;
                    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                }
                "settings" => format!("{:?}", cloister.common_settings()),
                "epoch" => format!("{:?}", cloister.epoch()),
                "standing" => {
                    let all = statistics();
                    let stock = all.iter().find(|its| its.table == "stock").unwrap();
                    format!(
                        "{} under-replicated, {} nodes missing",
                        stock.under_replicated, stock.missing_nodes
                    )
                }
                "insert" => format!("{:?}", table.insert(&"apples".to_owned(), &7).await),
                "get" => format!("{:?}", table.get(&"apples".to_owned()).await),
                other => panic!("{other}"),
            }
        }
    });
    // One that is refused is up never.
    let Ok(cloister) = cloister::start_with_arguments(arguments).await else { return };
    println!("up");
    cloister.wait_stopped().await;
}

fn start(definition: &str, own: &str, port: u16, ports: &[u16]) -> Node {
    Node::start("definitions::a_node_of_these_tests", &format!("{definition} {own}"), port, ports)
}

/// How many lines of its log have all of these words.
fn logged(node: &Node, words: &[&str]) -> usize {
    let has_all = |line: &&String| words.iter().all(|words| line.contains(words));
    node.process.errors().lines().iter().filter(has_all).count()
}

#[track_caller]
fn wait_for_log(node: &Node, words: &[&str]) {
    eventually(&format!("{words:?}"), || match logged(node, words) {
        0 => Err(node.process.errors().lines()),
        _ => Ok(()),
    });
}

#[test]
fn a_node_that_defines_a_table_differently_is_refused_and_both_sides_and_readyz_say_both_definitions() {
    let _turn = turn();
    let ports = ports(6);
    let mut nodes: Vec<Node> =
        ports[..3].iter().map(|port| start("2 empty", "old", *port, &ports[..3])).collect();
    for node in &nodes {
        node.wait_for("up");
    }
    assert_eq!(nodes[0].ask("insert"), "Ok(None)");
    let epoch = nodes[0].ask("epoch");
    let mut refused = Vec::new();
    for (port, definition, text) in [
        (3, "3 empty", "copies 3, on_loss empty, format 3"),
        (4, "2 wait", "copies 2, on_loss wait, format 3"),
    ] {
        let mut other = start(definition, "old", ports[port], &ports[..3]);
        let reason = |its: &str, own: &str| {
            format!("its table stock is {its}, that of this node is {own}: define it alike")
        };
        let (there, here) = (
            reason(text, "copies 2, on_loss empty, format 3"),
            reason("copies 2, on_loss empty, format 3", text),
        );
        for node in &nodes {
            wait_for_log(node, &["a peer is incompatible", &there]);
        }
        wait_for_log(&other, &["a peer is incompatible", &here]);
        let missing = other.ask("missing");
        assert!(missing.contains(&here), "{missing}");
        let settings = other.ask("settings");
        assert!(settings.contains(&format!("\"table stock\": {text:?}")), "{settings}");
        refused.push((other, there));
    }
    for node in &mut nodes {
        assert_eq!(node.ask("epoch"), epoch, "the others were moved");
    }
    // What only one side has keeps them not apart: a release adds a table and takes another away.
    nodes.push(start("2 empty", "new", ports[5], &ports[..3]));
    nodes[3].wait_for("up");
    for node in &mut nodes {
        assert_eq!(node.ask("get"), "Ok(Some(7))");
    }
    for (other, there) in &refused {
        assert_eq!(other.lines_with("up"), Vec::<String>::new(), "it is up");
        for node in &nodes[..3] {
            assert_eq!(logged(node, &["a peer is incompatible", there]), 1, "it is said once");
        }
    }
}

/// Waits until its table stands so; what it says before that.
fn standing(node: &mut Node, end: &str) -> String {
    eventually(&format!("it stands so: {end}"), || {
        let standing = node.ask("standing");
        let slots = standing.strip_suffix(end).map(|slots| slots.replace(" under-replicated, ", ""));
        slots.ok_or(standing)
    })
}

#[test]
fn a_table_with_more_copies_than_there_are_members_is_under_replicated_and_says_why() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes: Vec<Node> =
        ports[..2].iter().map(|port| start("3 empty", "old", *port, &ports[..2])).collect();
    let mut slots = 0;
    for node in &mut nodes {
        node.wait_for("up");
        let owned: u32 = standing(node, "1 nodes missing").parse().unwrap();
        node.wait_for(&format!("event UnderReplicated {{ slots: {owned}, missing_nodes: 1 }}"));
        let why = "there are fewer members than a table should have copies";
        assert_eq!(logged(node, &[why, "table=\"stock\"", "copies=3 members=2"]), 1, "it says why, once");
        assert_eq!(node.lines_with("event Replicated"), Vec::<String>::new());
        slots += owned;
    }
    assert_eq!(slots, 16_384, "each slot has an owner");
    nodes.push(start("3 empty", "old", ports[2], &ports[..2]));
    for node in &mut nodes {
        assert_eq!(standing(node, "0 under-replicated, 0 nodes missing"), "");
    }
    nodes[..2].iter().for_each(|node| node.wait_for("event Replicated"));
    drop(nodes.remove(2));
    for node in &mut nodes {
        standing(node, "1 nodes missing");
    }
}
