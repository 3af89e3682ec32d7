//! A store that is built on holds loses nothing while nodes come and go: the example, as a user would run it.

use cloister_integration::{Block, Node, Plan, example};

/// What each node says when it finds every entry of the store, wherever it is.
const COMPLETE: &str = "300 found anywhere, 0 on the move";

#[test]
fn a_store_that_follows_the_ring_loses_no_entry_when_nodes_join_and_leave() {
    let ips = Block::new(4).ips();
    let plans: Vec<_> = Plan::list(&ips).into_iter().map(|plan| plan.set("CONSENSUS", 2)).collect();
    let program = example("store");
    let start = |at: usize| Node::start_program(&program, &plans[at]);
    let mut nodes: Vec<Node> = (0..3).map(start).collect();
    complete(&nodes);
    nodes.push(start(3));
    complete(&nodes);
    // Each of those that were there when the entries were written, one after the other.
    for at in 0..3 {
        nodes[0].signal("TERM");
        let status = nodes[0].wait();
        assert!(status.success(), "{status}");
        nodes.remove(0);
        complete(&nodes);
        nodes.push(start(at));
        complete(&nodes);
    }
}

/// Every node finds every entry, asked from now on.
#[track_caller]
fn complete(nodes: &[Node]) {
    let marks: Vec<_> = nodes.iter().map(Node::lines).collect();
    for (node, mark) in nodes.iter().zip(marks) {
        node.wait_for_line(COMPLETE, mark);
    }
}
