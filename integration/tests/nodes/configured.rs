//! Nodes that are configured differently: with other rings they are refused, with other times they are told of.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, agree, eventually, marks, report, start_all};
use cloister_json::Peer;

/// How long a node that does not fit is watched.
const WATCHED: Duration = Duration::from_secs(4);

#[track_caller]
fn wait_for_log(node: &Node, words: &str) {
    let name = node.name().to_owned();
    eventually(&format!("{name} says `{words}`"), || {
        (node.log().count(words) > 0).then_some(()).ok_or("not yet")
    });
}

#[test]
fn a_node_with_other_rings_is_refused_and_both_sides_and_readyz_say_both_values() {
    let plans = Plan::list(&Block::new(4).ips());
    let plans: Vec<Plan> = plans.into_iter().map(|plan| plan.set("RINGS__CACHE__TAGS", "ssd")).collect();
    let mut nodes = start_all(&plans[..3]);
    let (before, _) = agree(&nodes);
    let marks = marks(&nodes);
    let other = Node::start(&plans[3].clone().set("RINGS__CACHE__TAGS", "disk,ssd"));
    for node in &nodes {
        wait_for_log(
            node,
            r#"its rings are cache = {"disk", "ssd"}, those of this node are cache = {"ssd"}"#,
        );
    }
    let here = r#"its rings are cache = {"ssd"}, those of this node are cache = {"disk", "ssd"}"#;
    wait_for_log(&other, here);
    std::thread::sleep(WATCHED);
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
        assert_eq!(node.log().count("a peer is incompatible"), 1, "{} says it once", node.name());
    }
    assert!(other.notices().iter().all(|notice| !notice.is_up()), "it is never up");
    let ready = other.readiness();
    report(&format!("of other rings: {ready:?}"));
    assert!(ready.missing.iter().any(|line| line.contains(here)), "{ready:?}");
    drop(other);
    nodes.push(Node::start(&plans[3]));
    let (after, _) = agree(&nodes);
    assert!(after.epoch > before.epoch);
}

#[test]
fn a_node_with_another_lease_is_let_in_and_told_of_once_with_both_values() {
    let mut plans = Plan::list(&Block::new(3).ips());
    plans[2] = plans[2].clone().set("TIMING__LEASE", "4s").set("TIMING__UNREACHABLE_AFTER", "6s");
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let expected = |here: &str, there: &str| format!("timing.lease is {here} here and {there} there");
    for node in &nodes[..2] {
        wait_for_log(node, &expected("2s", "4s"));
        assert_eq!(node.log().count("configured otherwise"), 1, "{} names one peer", node.name());
    }
    wait_for_log(&nodes[2], &expected("4s", "2s"));
    wait_for_log(&nodes[2], "timing.unreachable_after is 6s here and 3s there");
    assert_eq!(nodes[2].log().count("configured otherwise"), 2, "both peers are otherwise than it");
    // The next incarnation at the same address is no news.
    nodes[2].kill();
    nodes[2] = Node::start(&plans[2]);
    agree(&nodes);
    let peers = nodes[0].members().peers;
    report(&format!("of another lease: {peers:?}"));
    let differs = |name: &str| {
        // An incarnation that has ended is listed as well.
        let is_it = |peer: &&Peer| peer.name.as_deref() == Some(name) && peer.state == "linked";
        peers.iter().find(is_it).expect("it is linked").differs.clone()
    };
    assert_eq!(differs(nodes[1].name()), []);
    let of_other = differs(nodes[2].name());
    let lease = of_other.iter().find(|one| one.key == "timing.lease").expect("the lease differs");
    assert_eq!((lease.here.as_str(), lease.there.as_str()), ("2s", "4s"));
    for node in &nodes[..2] {
        assert_eq!(node.log().count("configured otherwise"), 1, "{} says it once a peer", node.name());
    }
}
