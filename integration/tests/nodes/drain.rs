//! A node that is asked to leave answers what it has, and says to load balancers that it goes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cloister_integration::{Block, Node, Plan, agree, eventually, report, start_all};
use serde_json::{Value, json};

/// So many nodes with an actor that takes so many milliseconds for a message.
fn plans(nodes: u8, takes: u32) -> Vec<Plan> {
    let plans = Plan::list(&Block::new(nodes).ips()).into_iter();
    plans.map(|plan| plan.variable("NODE_REGISTER", takes + 1)).collect()
}

#[test]
fn what_is_with_the_actors_of_a_node_that_leaves_is_answered_before_its_links_close() {
    const LOAD: &str = "load 8 1 6000 20000";
    let mut nodes = start_all(&plans(3, 100));
    agree(&nodes);
    let mut leaver = nodes.pop().expect("there are three");
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    report(&format!(
        "a node whose actor has a queue of messages of 100 ms each left after {:?}",
        asked.elapsed()
    ));
    for node in &nodes {
        let result = node.replied(LOAD).value;
        assert_eq!(result["failed"], json!({}), "{result}");
        assert!(result["ok"].as_u64() > Some(50), "{result}");
    }
    assert_eq!(leaver.log().count("are not answered within"), 0);
}

/// What its actors still answer may need actors of other nodes, and of those that take over its own keys.
#[test]
fn an_actor_of_a_node_that_leaves_may_call_others_by_key_before_it_answers() {
    const LOAD: &str = "load 8 1 4000 20000";
    let plans: Vec<Plan> = plans(3, 100).into_iter().map(|plan| plan.variable("NODE_NESTED", 1)).collect();
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let mut leaver = nodes.pop().expect("there are three");
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    std::thread::sleep(Duration::from_secs(1));
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    assert_eq!(leaver.log().count("a nested call failed"), 0, "{:#?}", leaver.log().lines());
    for node in &nodes {
        let result = node.replied(LOAD).value;
        assert_eq!(result["failed"], json!({}), "{result}");
        assert!(result["ok"].as_u64() > Some(15), "{result}");
    }
}

/// What it asks others for may take them longer than it has anything else to do.
#[test]
fn what_a_node_that_leaves_has_asked_others_is_answered_before_its_links_close() {
    const LOAD: &str = "load 4 1 20000 20000 until-drain";
    let slow = plans(3, 1_500);
    let mut nodes = start_all(&slow[..2]);
    // Its own actor takes no time, and no other node asks it.
    nodes.push(Node::start(&slow[2].clone().variable("NODE_REGISTER", 1)));
    agree(&nodes);
    let mut leaver = nodes.pop().expect("there are three");
    leaver.send_command(LOAD);
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    let result = leaver.replied(LOAD).value;
    report(&format!("a node with calls of 1.5 s to others left after {:?}: {result}", asked.elapsed()));
    assert_eq!(result["failed"], json!({}), "{result}");
    assert_eq!(leaver.log().count("are not answered within"), 0);
}

/// Each of them calls by key until it is asked to leave, and with the next incarnation again.
#[test]
fn no_call_of_five_nodes_that_restart_one_after_the_other_fails_or_is_handled_twice() {
    const LOAD: &str = "load 4 1 120000 20000 until-drain";
    let room = tempfile::tempdir().expect("a directory");
    let handled_by = |at: usize| room.path().join(at.to_string());
    let plans: Vec<Plan> = plans(5, 20)
        .into_iter()
        .enumerate()
        .map(|(at, plan)| plan.variable("NODE_HANDLED", handled_by(at).display()))
        .collect();
    let mut nodes = start_all(&plans);
    agree(&nodes);
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    let mut answered = 0;
    let mut end = |node: &mut Node| {
        node.signal("TERM");
        assert!(node.wait().success(), "{}", node.name());
        let result = node.replied(LOAD).value;
        assert_eq!(result["failed"], json!({}), "{}: {result}", node.name());
        let ok = result["ok"].as_u64().unwrap_or_default();
        assert!(ok > 0, "{}: {result}", node.name());
        answered += ok;
    };
    for at in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        end(&mut nodes[at]);
        nodes[at] = Node::start(&plans[at]);
        let names: Vec<&str> = nodes.iter().map(Node::name).collect();
        nodes[at].up_with(&names, 0);
        nodes[at].send_command(LOAD);
    }
    std::thread::sleep(Duration::from_millis(500));
    // Once more, down to the last one.
    nodes.iter_mut().for_each(&mut end);
    let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
    for at in 0..5 {
        let lines = std::fs::read_to_string(handled_by(at)).expect("it has handled some");
        twice.extend(lines.lines().map(ToOwned::to_owned).filter(|number| !seen.insert(number.clone())));
    }
    report(&format!("{answered} calls of five nodes that restart, {} handled", seen.len()));
    assert_eq!(twice, [""; 0]);
    assert_eq!(seen.len() as u64, answered);
}

/// Without it they end as `Uncertain`.
#[test]
fn a_call_that_an_owner_took_and_left_without_answering_goes_on_if_it_may_be_handled_twice() {
    const LOAD: &str = "load 8 1 6000 20000 retry";
    let plans: Vec<Plan> = plans(3, 100)
        .into_iter()
        .map(|plan| plan.set("TIMING__REHASH_TIMEOUT", "200ms").set("TIMING__LEAVE_TIMEOUT", "300ms"))
        .collect();
    let mut nodes = start_all(&plans[..2]);
    // Its queue is longer than its time to leave.
    nodes.push(Node::start(&plans[2].clone().variable("NODE_REGISTER", 1_001)));
    agree(&nodes);
    let mut leaver = nodes.pop().expect("there are three");
    for node in &mut nodes {
        node.send_command(LOAD);
    }
    std::thread::sleep(Duration::from_secs(2));
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    assert!(leaver.log().count("are not answered within") > 0, "it left calls behind");
    for node in &nodes {
        let result = node.replied(LOAD).value;
        assert_eq!(result["failed"], json!({}), "{result}");
        report(&format!("calls by key of a node that leaves without answering them: {result}"));
    }
}

#[test]
fn a_node_that_drains_is_not_ready_and_takes_calls_until_its_hooks_have_ended() {
    let plans = plans(3, 0);
    let mut nodes = start_all(&plans[..2]);
    agree(&nodes);
    nodes.push(Node::start(&plans[2].clone().variable("NODE_DRAIN", 3_000)));
    let (all, _) = agree(&nodes);
    let mut leaver = nodes.pop().expect("there are three");
    let asked = Instant::now();
    leaver.signal("TERM");
    let answer = eventually("it says that it drains", || match leaver.get("/readyz") {
        answer if answer.code == 503 => Ok(answer),
        answer => Err(answer),
    });
    assert!(answer.body.contains("it has waited for its drain hooks: pause"), "{}", answer.body);
    assert_eq!(leaver.members().status, "up");
    // Its keys are still its own, and calls for them are answered.
    let result: Value = nodes[0].ask("load 4 1 1000 5000");
    assert_eq!(result["failed"], json!({}), "{result}");
    assert_eq!(
        nodes[0].last_notice().map(|notice| notice.epoch),
        Some(Some(all.epoch)),
        "no view without it yet"
    );
    assert!(leaver.wait().success());
    assert!(asked.elapsed() >= Duration::from_secs(3), "{:?}", asked.elapsed());
    nodes[0].wait_for_notice("that it has left", 0, |notice| notice.is_up() && notice.members.len() == 2);
}

#[test]
fn two_releases_of_a_message_replace_each_other_node_by_node_without_a_failed_call() {
    let plans: Vec<Plan> = Plan::list(&Block::new(5).ips());
    let of = |at: usize, release: &str| Node::start(&plans[at].clone().variable("NODE_CART", release));
    // The first three are updated and rolled back; the others call in the words of one release each.
    let mut nodes: Vec<Node> = (0..4).map(|at| of(at, "first")).chain([of(4, "second")]).collect();
    agree(&nodes);
    let loads = ["carts first 8 2 15000", "carts second 8 2 15000"];
    for (node, load) in nodes[3..].iter_mut().zip(loads) {
        node.send_command(load);
    }
    std::thread::sleep(Duration::from_secs(1));
    for release in ["second", "first"] {
        for at in 0..3 {
            nodes[at].signal("TERM");
            assert!(nodes[at].wait().success(), "{release}, node {at}");
            nodes[at] = of(at, release);
            let names: Vec<&str> = nodes.iter().map(Node::name).collect();
            nodes[at].up_with(&names, 0);
        }
    }
    for (node, load) in nodes[3..].iter().zip(loads) {
        let result = node.replied(load).value;
        assert_eq!((&result["failed"], &result["not_owned"]), (&json!({}), &json!(0)), "{load}: {result}");
        assert!(result["ok"].as_u64() > Some(1_000), "{load}: {result}");
        report(&format!("{load}, three of five nodes updated and rolled back: {result}"));
    }
}
