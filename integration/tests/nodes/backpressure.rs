//! Backpressure: heartbeats share a connection with much data, and no node may become unreachable by that.

use cloister_integration::{Block, Node, Plan, agree, between, eventually, now, report, start_all};
use serde_json::json;

/// How many small messages are sent at once. Without optimization they take a node some twenty seconds, and a peer whose
/// heartbeats come 10 s late counts as hung: they must not wait behind these.
const QUEUE: u64 = 300_000;

#[test]
fn the_largest_messages_and_a_long_queue_on_one_connection_make_no_node_unreachable() {
    let plans = Plan::list(&Block::new(3).ips()).into_iter().map(|plan| plan.worker("echo"));
    let mut nodes = start_all(&plans.collect::<Vec<_>>());
    let (before, _) = agree(&nodes);
    eventually("all workers are found", || {
        let found = nodes.iter_mut().map(|node| node.ask("workers"));
        let found: Vec<_> = found.filter_map(|found| found.as_array().map(Vec::len)).collect();
        if found == [3; 3] { Ok(()) } else { Err(found) }
    });
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    // 64 bytes less than the most: what says how long it is counts, too.
    let largest = (15 << 20) - 64;
    let began = now();
    send(&mut nodes, 4, largest);
    let done = now();
    report(&format!("4 messages of 15 MiB on one link arrived in {:.1?}", between(began, done)));
    send(&mut nodes, QUEUE, 100);
    report(&format!("{QUEUE} messages of 100 bytes on one link arrived in {:.1?}", between(done, now())));
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
    }
    let (after, _) = agree(&nodes);
    assert_eq!(after, before);
    after.check_claims(&mut nodes);
}

/// Sends messages from the first node to the second, and waits until all have arrived.
fn send(nodes: &mut [Node], number: u64, bytes: u64) {
    let to = nodes[1].name().to_owned();
    let before = nodes[1].ask("taken");
    let count = |of: &serde_json::Value, what: &str| of[what].as_u64().expect("a number");
    let sent = nodes[0].ask(&format!("send {to} {number} {bytes}"));
    assert_eq!(sent, json!({ "sent": number }));
    let all = json!({
        "messages": count(&before, "messages") + number,
        "bytes": count(&before, "bytes") + number * bytes,
    });
    let mut taken = nodes[1].ask("taken");
    while taken != all {
        // A busy machine may need minutes for them. As long as some arrive it is only slow.
        taken = eventually("more have arrived", || match nodes[1].ask("taken") {
            more if more != taken => Ok(more),
            same => Err(same),
        });
    }
}
