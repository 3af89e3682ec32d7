//! Messages without a waiting sender that a node has accepted when it leaves.

use cloister_testkit::obedient::{ObedientNode as Node, PATIENCE, eventually, ports, turn};

use super::cluster;

/// The lists of the third node, which leaves: as many.
fn lists(nodes: &mut [Node], ports: &[u16], count: usize) -> Vec<String> {
    let leaver = format!("entities@127.0.0.1:{}", ports[2]);
    let mut is_there = |list: &String| nodes[0].ask(&format!("owner {list}")) == leaver;
    (0..).map(|n| format!("list{n}")).filter(|list| is_there(list)).take(count).collect()
}

fn leaves(nodes: &mut Vec<Node>) {
    let mut leaver = nodes.remove(2);
    leaver.begin("leave");
    assert!(leaver.process.ended_within(PATIENCE).is_some(), "{:#?}", leaver.process.errors().lines());
    // What it says of messages is shown if this fails.
    println!("{:#?}", leaver.process.errors().lines());
}

/// One that was being written when the view ended may be lost.
fn all_but_one(nodes: &mut [Node], what: &str, list: &str) {
    eventually(&format!("{list} has 400"), || {
        let all = nodes[1].ask(&format!("{what} {list}"));
        if all.parse::<u64>().is_ok_and(|all| (399..=400).contains(&all)) { Ok(()) } else { Err(all) }
    });
}

#[test]
fn a_node_that_leaves_handles_the_casts_that_wait_before_its_round_begins() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("each", 2, &ports);
    let lists = lists(&mut nodes, &ports, 4);
    // What is accepted takes four seconds to be handled.
    let casts: Vec<usize> = lists.iter().map(|list| nodes[0].begin(&format!("append {list} 400"))).collect();
    for cast in casts {
        assert_eq!(nodes[0].answer(cast), "done");
    }
    leaves(&mut nodes);
    for list in &lists {
        all_but_one(&mut nodes, "in_order", list);
    }
}

#[test]
fn a_node_that_leaves_passes_on_the_casts_that_its_round_has_not_waited_for() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("each_hasty", 2, &ports);
    let lists = lists(&mut nodes, &ports, 4);
    let casts: Vec<usize> = lists.iter().map(|list| nodes[0].begin(&format!("append {list} 400"))).collect();
    // Some are sent while the node leaves.
    let last = casts[3];
    for cast in &casts[..3] {
        assert_eq!(nodes[0].answer(*cast), "done");
    }
    leaves(&mut nodes);
    assert_eq!(nodes[0].answer(last), "done");
    for list in &lists {
        all_but_one(&mut nodes, "appended", list);
    }
}
