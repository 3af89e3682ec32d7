//! Two builds in one cluster: one is replaced by the other node by node, or they do not fit and say so.

use std::time::Duration;

use cloister_integration::{Block, Budget, Node, Plan, agree, eventually, marks, report, reunite, start_all};

/// How long a node that does not fit is watched.
const WATCHED: Duration = Duration::from_secs(4);

#[test]
fn a_build_that_says_more_and_speaks_one_protocol_more_replaces_another_node_by_node() {
    let plans = Plan::list(&Block::new(5).ips());
    let mut nodes = start_all(&plans);
    let (before, _) = agree(&nodes);
    for at in 0..5 {
        nodes[at].signal("TERM");
        assert_eq!(nodes[at].wait().code(), Some(0));
        let node = Node::start(&plans[at].clone().variable("NODE_BUILD", "1-2"));
        nodes[at] = node;
        let started = nodes[at].started();
        reunite(&format!("{} of 5 of the new build", at + 1), &mut nodes, started, Budget::millis(3000));
    }
    for node in &nodes {
        let notices = node.notices();
        let up = notices.iter().position(cloister_integration::Notice::is_up).expect("it is up");
        assert!(notices[up..].iter().all(|notice| notice.to != "assembling"), "consensus is never lost");
        assert_eq!(node.log().count("is incompatible"), 0);
    }
    let (after, _) = agree(&nodes);
    assert!(after.epoch > before.epoch);
}

#[test]
fn a_build_that_speaks_other_protocols_is_refused_and_both_sides_say_why() {
    let plans = Plan::list(&Block::new(4).ips());
    let mut nodes = start_all(&plans[..3]);
    let (before, _) = agree(&nodes);
    let marks = marks(&nodes);
    let outsider = Node::start(&plans[3].clone().variable("NODE_BUILD", "2-3"));
    let wait_for_log = |node: &Node, words: &str| {
        let name = node.name().to_owned();
        eventually(&format!("{name} says `{words}`"), || {
            (node.log().count(words) > 0).then_some(()).ok_or("not yet")
        });
    };
    for node in &nodes {
        wait_for_log(node, "it speaks protocols 2 to 3, this node speaks 1 to 1");
        let named = format!("a peer is incompatible and is refused peer={}#", outsider.name());
        assert_eq!(node.log().count(&named), 1, "{:#?}", node.log().lines());
    }
    wait_for_log(&outsider, "it speaks protocols 1 to 1, this node speaks 2 to 3");
    std::thread::sleep(WATCHED);
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
    }
    assert!(outsider.notices().iter().all(|notice| !notice.is_up()), "it is never up");
    let readyz = outsider.get("/readyz").body;
    report(&format!("of another protocol: {readyz}"));
    let why = "it speaks protocols 1 to 1, this node speaks 2 to 3";
    assert!(readyz.contains(why), "an operator reads the reason there: {readyz}");
    drop(outsider);
    // The next build speaks both.
    nodes.push(Node::start(&plans[3].clone().variable("NODE_BUILD", "1-3")));
    let (after, _) = agree(&nodes);
    assert!(after.epoch > before.epoch);
    after.check_claims(&mut nodes);
}
