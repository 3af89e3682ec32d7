//! What listeners do is their own affair, unless they hold a round.

use std::time::Duration;

use cloister_integration::{
    Block, Budget, Node, Plan, RunDelay, agree, between, eventually, report, start_all,
};

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
    let delay = RunDelay::since_now(&nodes);
    nodes.push(Node::start(&plans[3]));
    let (view, up) = agree(&nodes);
    let took = between(nodes[3].started(), up);
    let what = "beside a slow listener a fourth node joins: from its start to all up";
    Budget::millis(400).meet_despite(delay.of(&nodes), what, took);
    view.check_claims(&mut nodes);
    assert_eq!(nodes[0].notices_of("mortal").len(), 2, "the present state and the change it died of");
    let witness = nodes[0].notices_of("witness");
    assert!(witness.last().is_some_and(|notice| notice.is_up() && notice.members.len() == 4), "{witness:#?}");

    // And again, now that one of them is dead.
    let mut dead = nodes.remove(1);
    let delay = RunDelay::since_now(&nodes);
    let killed = dead.kill();
    let (_, up) = agree(&nodes);
    let what = "beside a slow listener one is killed: until the others are up";
    Budget::millis(300).meet_despite(delay.of(&nodes), what, between(killed, up));
    assert_eq!(nodes[0].notices_of("mortal").len(), 2);
    assert_eq!(nodes[0].notices_of("sloth").len(), 1, "it is still busy with the present state");
}

#[test]
fn a_listener_that_holds_a_round_for_two_seconds_is_waited_for_by_all() {
    let (plans, mut nodes) = three(|plan| plan);
    nodes[1].ask(&format!("holds mover {}", HOLD.as_millis()));
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    nodes.push(Node::start(&plans[3]));
    // A load balancer must not lose all nodes at a time: those that were up stay ready, and calls by key wait.
    let hold = || nodes[1].notices_of("mover").into_iter().find(|notice| notice.held).ok_or("none yet");
    eventually("a hold", hold);
    for node in &nodes[..3] {
        let ready = node.get("/readyz");
        assert!(ready.code == 200 && ready.body.contains("rehashing"), "{}: {ready:?}", node.name());
    }
    assert_eq!(nodes[3].get("/readyz").code, 503, "it was never up");
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

#[test]
fn a_listener_that_warms_up_delays_a_join_and_a_leave_while_all_stay_up_and_delays_no_loss() {
    let (plans, mut nodes) = three(|plan| plan);
    nodes[1].ask(&format!("warms cache {}", HOLD.as_millis()));
    let first_pause = |nodes: &[Node], marks: &[usize]| {
        let pauses = nodes.iter().zip(marks).map(|(node, mark)| {
            let notices = node.notices().split_off(*mark);
            let pause = notices.iter().find(|notice| notice.to != "up");
            pause.unwrap_or_else(|| panic!("{} was never told of a round: {notices:#?}", node.name())).at
        });
        pauses.min().expect("there are nodes")
    };
    let planned = |node: &Node, so_far: usize| {
        let held: Vec<_> = node.notices_of("cache").into_iter().filter(|notice| notice.held).collect();
        assert_eq!(held.len(), so_far + 1, "{held:#?}");
        assert_eq!(held[so_far].to, "up");
        held[so_far].clone()
    };

    // A join: all three are up until the listener has had its time, and the round itself waits for nothing.
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    nodes.push(Node::start(&plans[3]));
    let (view, up) = agree(&nodes);
    let join = planned(&nodes[1], 0);
    assert!(join.gained + join.lost > 0, "it is told what will move: {join:?}");
    assert!(between(join.at, first_pause(&nodes[..3], &marks)) >= HOLD);
    report(&format!(
        "a join, announced {HOLD:?} ahead: all are up {:.2?} after that",
        between(join.at, up) - HOLD
    ));
    view.check_claims(&mut nodes);

    // A leave: the same.
    let mut leaver = nodes.pop().expect("there are four");
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    leaver.signal("TERM");
    let readiness = eventually("the leaver is not ready while the others warm up", || {
        let readiness = leaver.readiness();
        if readiness.missing.is_empty() { Err(readiness) } else { Ok(readiness) }
    });
    assert_eq!(readiness.status, "up");
    assert!(readiness.missing[0].contains("the others to take over what it holds"), "{readiness:?}");
    assert!(leaver.wait().success());
    let (_, up) = agree(&nodes);
    let leave = planned(&nodes[1], 1);
    assert!(between(leave.at, first_pause(&nodes, &marks)) >= HOLD);
    report(&format!(
        "a leave, announced {HOLD:?} ahead: all are up {:.2?} after that",
        between(leave.at, up) - HOLD
    ));

    // A loss: at once.
    let mut dead = nodes.pop().expect("there are three");
    let killed = dead.kill();
    let (_, up) = agree(&nodes);
    Budget::millis(1_000).meet("a kill: until the others are up", between(killed, up));
    assert_eq!(nodes[1].notices_of("cache").iter().filter(|notice| notice.held).count(), 2);
}
