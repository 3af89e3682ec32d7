//! Ten nodes, left alone and talking.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, Usage, agree, lasting, report, required, start_all};

/// When a node has what it needs, and keeps it.
const WARM: Duration = Duration::from_secs(10);

#[test]
fn ten_nodes_hear_nothing_and_use_no_more_whether_they_talk_or_not() {
    if !required("time", "ten_nodes_hear_nothing_and_use_no_more_whether_they_talk_or_not") {
        return;
    }
    let (short, long) = (Duration::from_secs(45), Duration::from_secs(30 * 60));
    let plans: Vec<_> =
        Plan::list(&Block::new(10).ips()).into_iter().map(|plan| plan.worker("echo")).collect();
    let mut nodes = start_all(&plans);
    let (view, _) = agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();

    std::thread::sleep(WARM);
    let idle = lasting("ten nodes, idle", short, long);
    unchanged(&mut nodes, "idle", |_| std::thread::sleep(idle));

    // What is needed to talk is not needed before.
    chatter(&mut nodes, WARM);
    let talk = lasting("ten nodes, each calling all others", short, long);
    unchanged(&mut nodes, "talking", |nodes| chatter(nodes, talk));

    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.heard().split_off(mark), [], "{} was moved", node.name());
    }
    view.check_claims(&mut nodes);
}

fn unchanged(nodes: &mut [Node], what: &str, meanwhile: impl FnOnce(&mut [Node])) {
    let before: Vec<_> = nodes.iter_mut().map(Usage::of).collect();
    meanwhile(nodes);
    for (node, before) in nodes.iter_mut().zip(before) {
        before.check_flat(&format!("    {} {what}", node.name()), Usage::of(node));
    }
}

/// Has each call all, one call after the other; nobody fails to answer.
fn chatter(nodes: &mut [Node], time: Duration) {
    let command = format!("chatter {}", time.as_secs());
    for node in nodes.iter_mut() {
        node.tell(&command);
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
