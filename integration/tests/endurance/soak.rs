//! Ten nodes, left alone and talking.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, Usage, agree, lasting, report, required, start_all};

/// After this a node has what it needs, and keeps it.
const WARM: Duration = Duration::from_secs(10);

#[test]
fn ten_nodes_that_say_nothing_hear_nothing_and_use_no_more() {
    if !required("time", "ten_nodes_that_say_nothing_hear_nothing_and_use_no_more") {
        return;
    }
    soak("idle", |time, _| std::thread::sleep(time));
}

#[test]
fn ten_nodes_that_talk_hear_nothing_and_use_no_more() {
    if !required("time", "ten_nodes_that_talk_hear_nothing_and_use_no_more") {
        return;
    }
    soak("each calling all others", chatter);
}

/// No node is moved meanwhile, and none needs more resources than at first.
fn soak(what: &str, does: impl Fn(Duration, &mut [Node])) {
    let plans: Vec<_> =
        Plan::list(&Block::new(10).ips()).into_iter().map(|plan| plan.worker("echo")).collect();
    let mut nodes = start_all(&plans);
    let (view, _) = agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();

    // What is needed is not needed before.
    does(WARM, &mut nodes);
    let before: Vec<_> = nodes.iter_mut().map(Usage::of).collect();
    let time = lasting(&format!("ten nodes, {what}"), Duration::from_secs(45), Duration::from_secs(30 * 60));
    does(time, &mut nodes);
    for (node, before) in nodes.iter_mut().zip(before) {
        before.check_flat(&format!("    {}", node.name()), Usage::of(node));
    }

    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
    }
    view.check_claims(&mut nodes);
}

/// Has each call all, one call after the other; each must answer.
fn chatter(time: Duration, nodes: &mut [Node]) {
    let command = format!("chatter {}", time.as_secs());
    for node in nodes.iter_mut() {
        node.send_command(&command);
    }
    std::thread::sleep(time);
    let mut answers = 0;
    for node in nodes.iter() {
        let result = node.replied(&command).value;
        assert_eq!(result["failed"], 0, "{}: {result}", node.name());
        answers += result["ok"].as_u64().unwrap_or_default();
    }
    report(&format!("    {answers} answers in {time:?}"));
}
