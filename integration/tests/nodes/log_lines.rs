//! What an operator reads: at INFO a start, a join, a kill and a leave are one line each on each node, with the nodes by name.

use cloister_integration::{Block, Node, Plan, agree, eventually};

/// The lines at INFO or above since a mark.
fn lines(node: &Node, mark: usize) -> Vec<String> {
    let all = node.log().lines();
    all[mark.min(all.len())..]
        .iter()
        .filter(|line| ["INFO", "WARN", "ERROR"].iter().any(|level| line.contains(level)))
        .cloned()
        .collect()
}

/// Waits for a line with these words since a mark, and for nothing else but what is expected beside it.
#[track_caller]
fn one_line(node: &Node, mark: usize, words: &str, beside: &[&str]) {
    eventually(words, || {
        let found = lines(node, mark);
        if found.iter().any(|line| line.contains(words)) { Ok(()) } else { Err(found) }
    });
    let others: Vec<String> = lines(node, mark)
        .into_iter()
        .filter(|line| !line.contains(words) && !beside.iter().any(|known| line.contains(known)))
        .collect();
    let count = lines(node, mark).iter().filter(|line| line.contains(words)).count();
    assert_eq!((count, others), (1, Vec::new()), "{words}");
}

#[test]
fn a_start_a_join_a_kill_and_a_leave_are_one_line_each() {
    let plans = Plan::list(&Block::new(3).ips());
    let mut nodes: Vec<Node> = plans[..2].iter().map(Node::start).collect();
    agree(&nodes);
    one_line(&nodes[0], 0, "node started", &["view installed"]);
    one_line(&nodes[0], 0, "view installed", &["node started"]);

    let mark = nodes[0].log().lines().len();
    nodes.push(Node::start(&plans[2]));
    agree(&nodes);
    one_line(&nodes[0], mark, &format!("change=up {}", nodes[2].name()), &[]);

    let mark = nodes[0].log().lines().len();
    let mut killed = nodes.remove(2);
    killed.kill();
    agree(&nodes);
    one_line(&nodes[0], mark, &format!("down {} (crashed)", killed.name()), &["can lose none"]);
    // The warning is the last line of a loss; a node agrees a moment before it has logged it.
    for node in &nodes {
        let warned = || if node.log().count("can lose none") == 1 { Ok(()) } else { Err(node.log().lines()) };
        eventually("it warns", warned);
    }

    let mark = nodes[0].log().lines().len();
    let mut leaver = nodes.remove(1);
    let leaving = leaver.log().lines().len();
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    agree(&nodes);
    one_line(&leaver, leaving, "left the cluster", &[]);
    one_line(&nodes[0], mark, &format!("down {} (left)", leaver.name()), &[]);
}

/// How many lines of ractor's, or with its span, a node writes while a peer comes and is killed, with this `RUST_LOG`.
fn lines_of_ractor(asked: &str) -> usize {
    let plans = Plan::list(&Block::new(2).ips()).into_iter().map(|plan| plan.variable("RUST_LOG", asked));
    let mut nodes: Vec<Node> = plans.map(|plan| Node::start(&plan)).collect();
    agree(&nodes);
    nodes.remove(1).kill();
    agree(&nodes);
    nodes[0].log().count(" ractor_cluster::") + nodes[0].log().count(" Actor{")
}

#[test]
fn lines_of_ractor_are_there_only_if_they_are_asked_for_by_name() {
    assert_eq!(lines_of_ractor("info"), 0);
    assert!(lines_of_ractor("info,ractor_cluster=info") > 0);
}
