//! Calls by key go to the owner, whichever node that is by then, and are taken by no other.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, Record, agree, report, start_all};
use serde_json::{Value, json};

/// How long the load lasts, and how long a call may take, in milliseconds.
const LOAD: &str = "load 8 2 12000 20000";

/// So many nodes with an actor that answers with the name of its node.
fn plans(nodes: u8) -> Vec<Plan> {
    let plans = Plan::list(&Block::new(nodes).ips()).into_iter();
    plans.map(|plan| plan.variable("NODE_REGISTER", 1)).collect()
}

fn calls(result: &Value) -> u64 {
    result["ok"].as_u64().unwrap_or_default()
}

/// The nodes of `steady` call while the others of the cluster come and go.
#[test]
fn no_call_by_key_fails_while_nodes_leave_and_come_back_and_join() {
    let plans = plans(5);
    let mut nodes = start_all(&plans[..4]);
    agree(&nodes);
    nodes.iter_mut().for_each(Node::watch);
    let mut record = Record::default();
    let mut leaver = nodes.pop().expect("there are four");
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    // Each waits for the cluster, so that one change follows another.
    std::thread::sleep(Duration::from_secs(1));
    for round in 0..2 {
        leaver.signal("TERM");
        assert!(leaver.wait().success(), "round {round}");
        record.add_all([&mut leaver]);
        std::thread::sleep(Duration::from_millis(500));
        leaver = Node::start(&plans[3]);
        leaver.watch();
        let all: Vec<&str> = nodes.iter().map(Node::name).chain([leaver.name()]).collect();
        leaver.up_with(&all, 0);
        std::thread::sleep(Duration::from_millis(500));
    }
    let mut joined = Node::start(&plans[4]);
    joined.watch();
    let all: Vec<&str> = nodes.iter().map(Node::name).chain([leaver.name(), joined.name()]).collect();
    joined.up_with(&all, 0);
    let results: Vec<Value> = nodes.iter().map(|node| node.replied(LOAD).value).collect();
    for result in &results {
        assert_eq!(result["failed"], json!({}), "{result}");
        assert!(calls(result) > 500, "{result}");
    }
    record.add_all(nodes.iter_mut().chain([&mut leaver, &mut joined]));
    record.check();
    report(&format!("calls by key through two restarts and a join:\n{results:#?}"));
}

/// Sixty-four callers a node keep calling: what they send during the hold waits, here and at the next owner.
#[test]
fn a_round_that_a_listener_holds_costs_calls_that_time_and_no_error() {
    const LOAD: &str = "load 64 1 5000 20000";
    let plans = plans(3);
    let mut nodes = start_all(&plans[..2]);
    agree(&nodes);
    nodes[0].ask("holds mover 1500");
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    std::thread::sleep(Duration::from_secs(1));
    let joined = Node::start(&plans[2]);
    let all: Vec<&str> = nodes.iter().map(Node::name).chain([joined.name()]).collect();
    joined.up_with(&all, 0);
    for node in &nodes {
        let result = node.replied(LOAD).value;
        assert_eq!(result["failed"], json!({}), "{result}");
        assert!(result["max_us"].as_u64() >= Some(1_000_000), "they waited for the hold: {result}");
        report(&format!("calls by key through a hold of 1.5 s: {result}"));
    }
}

/// Killed, a node may have handled what it was sent; nothing else is an error, and what waits goes to the next owner.
#[test]
fn a_kill_leaves_only_calls_that_may_have_been_handled_unanswered() {
    for result in end_under(LOAD, "KILL") {
        let failed = result["failed"].as_object().expect("an object");
        let lost = failed.keys().filter(|error| error.contains("the link was lost before"));
        assert_eq!(lost.count(), failed.len(), "{result}");
    }
}

#[test]
fn no_call_that_may_be_handled_twice_fails_by_a_kill() {
    for result in end_under("load 8 2 12000 20000 retry", "KILL") {
        assert_eq!(result["failed"], json!({}), "{result}");
    }
}

/// It has the messages, and its view goes on without it: its link ends when it is not heard.
#[test]
fn no_call_that_may_be_handled_twice_fails_by_a_node_that_hangs() {
    for result in end_under("load 8 2 12000 20000 retry", "STOP") {
        assert_eq!(result["failed"], json!({}), "{result}");
    }
}

/// What came of the calls of two nodes while the third gets this signal.
fn end_under(load: &str, signal: &str) -> Vec<Value> {
    let plans = plans(3);
    let mut nodes = start_all(&plans);
    agree(&nodes);
    nodes.iter_mut().for_each(Node::watch);
    let mut victim = nodes.pop().expect("there are three");
    for node in &mut nodes {
        node.send_command(load);
    }
    std::thread::sleep(Duration::from_secs(2));
    victim.signal(signal);
    let results: Vec<Value> = nodes.iter().map(|node| node.replied(load).value).collect();
    if signal == "STOP" {
        // So that it says what it has claimed. What it handles now, it handles too late for its callers.
        victim.signal("CONT");
    }
    let mut record = Record::default();
    record.add_all(nodes.iter_mut().chain([&mut victim]));
    record.check();
    for result in &results {
        assert!(calls(result) > 500, "{result}");
        report(&format!("calls by key through a {signal}, {load}: {result}"));
    }
    results
}

#[test]
fn a_node_below_the_majority_takes_nothing_and_says_so() {
    let plans = plans(3);
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let mark = nodes[0].mark();
    let others = nodes.split_off(1);
    // Paused, they are silent, and may still live.
    for other in &others {
        other.signal("STOP");
    }
    nodes[0].wait_for_notice("that it is alone", mark, |notice| !notice.is_up());
    let result = nodes[0].ask("load 4 10 1000 500");
    assert_eq!(calls(&result), 0, "{result}");
    let failed = result["failed"].as_object().expect("an object");
    assert!(
        !failed.is_empty() && failed.keys().all(|error| error.contains("it was not handled")),
        "{result}"
    );
    for other in &others {
        other.signal("CONT");
    }
}
