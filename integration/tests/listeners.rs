//! What listeners do is their own affair, unless they hold a round.

use std::time::Duration;

use cloister_integration::{Block, Budget, Node, Plan, agree, between, report, start_all};

/// How long a holder moves its data.
const HOLD: Duration = Duration::from_secs(2);

fn three(configure: impl Fn(Plan) -> Plan) -> (Vec<Plan>, Vec<Node>) {
    let block = Block::new(4);
    let ips = block.ips();
    let mut plans: Vec<_> = Plan::list(&ips[..3]).into_iter().map(&configure).collect();
    plans.push(configure(Plan::at(ips[3]).seeds(&ips[..3])));
    let nodes = start_all(&plans[..3]);
    agree(&nodes);
    (plans, nodes)
}

#[test]
fn a_listener_that_dies_and_one_that_is_slow_by_ten_seconds_delay_no_other() {
    let (plans, mut nodes) = three(|plan| plan);
    nodes[0].ask("dies mortal");
    nodes[0].ask("dawdles sloth 10000");
    nodes[0].ask("observes witness");
    nodes.push(Node::start(&plans[3]));
    let (view, up) = agree(&nodes);
    let took = between(nodes[3].started(), up);
    Budget::millis(400).meet("beside a slow listener a fourth node joins: from its start to all up", took);
    view.check_claims(&mut nodes);
    assert_eq!(nodes[0].notices_of("mortal").len(), 2, "the present state and the change it died of");
    let witness = nodes[0].notices_of("witness");
    assert!(witness.last().is_some_and(|notice| notice.is_up() && notice.members.len() == 4), "{witness:#?}");

    // And again, now that one of them is dead.
    let mut dead = nodes.remove(1);
    let killed = dead.kill();
    let (_, up) = agree(&nodes);
    Budget::millis(300)
        .meet("beside a slow listener one is killed: until the others are up", between(killed, up));
    assert_eq!(nodes[0].notices_of("mortal").len(), 2);
    assert_eq!(nodes[0].notices_of("sloth").len(), 1, "it is still busy with the present state");
}

#[test]
fn a_listener_that_holds_a_round_for_two_seconds_is_waited_for_by_all() {
    let (plans, mut nodes) = three(|plan| plan);
    nodes[1].ask(&format!("holds mover {}", HOLD.as_millis()));
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    nodes.push(Node::start(&plans[3]));
    let (view, up) = agree(&nodes);
    let held = nodes[1].notices_of("mover").into_iter().find(|notice| notice.held).expect("it got a hold");
    assert_eq!(held.to, "rehashing");
    for (node, mark) in nodes.iter().zip(marks.iter().chain([&0])) {
        let up =
            node.wait_for_notice("up with four", *mark, |notice| notice.is_up() && notice.members.len() == 4);
        assert!(between(held.at, up.at) >= HOLD, "{} did not wait: {up:?}", node.name());
    }
    let took = between(held.at, up);
    report(&format!("a hold of {HOLD:?}: all are up {took:.2?} after it was given"));
    view.check_claims(&mut nodes);
}

#[test]
fn a_listener_that_never_lets_go_is_waited_for_until_the_rehash_timeout() {
    let timeout = Duration::from_millis(1000);
    let (plans, mut nodes) = three(|plan| plan.set("TIMING__REHASH_TIMEOUT", "1s"));
    nodes[1].ask("holds glutton 60000");
    nodes.push(Node::start(&plans[3]));
    let (view, up) = agree(&nodes);
    let held = nodes[1].notices_of("glutton").into_iter().find(|notice| notice.held).expect("it got a hold");
    let took = between(held.at, up);
    // Its time begins with the promise, which is a little before the listener reads of it.
    let all = between(nodes[3].started(), up);
    assert!(all >= timeout, "it had its time: {all:?}");
    Budget::millis(1500).meet("    and no more", all);
    report(&format!(
        "a hold without end, rehash_timeout {timeout:?}: all are up {took:.2?} after it was given"
    ));
    view.check_claims(&mut nodes);
}
