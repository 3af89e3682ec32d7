//! The network splits while something else is under way.

use std::time::Duration;

use cloister_integration::{
    Budget, Node, PacketLoss, Topology, agreement, between, eventually, marks, now, required, reunite,
};

use crate::HEALED;

/// How long after something has begun the network splits: before the first link, while links are made, in the round,
/// and after it.
const MIDWAY: [u64; 6] = [0, 40, 80, 120, 180, 300];

/// How long a split lasts when those that may go on have done so.
const LONGER: Duration = Duration::from_millis(1000);

/// How long a node that leaves may take at most: `leave_timeout`, and a little to close what is open.
const LEFT_WITHIN: u64 = 8000;

#[test]
fn a_split_in_the_middle_of_a_join_leaves_no_node_hanging() {
    if !required("root", "a_split_in_the_middle_of_a_join_leaves_no_node_hanging") {
        return;
    }
    let mut topology = Topology::new(6, |plan| plan);
    topology.assemble();
    topology.watch();
    for (at, pause) in MIDWAY.into_iter().enumerate() {
        // The newcomer is once in the part that goes on, once in the other.
        let (winners, losers): (&[usize], &[usize]) =
            if at % 2 == 0 { (&[0, 1, 2, 3], &[4, 5]) } else { (&[0, 1, 2, 5], &[3, 4]) };
        leave(&mut topology.nodes[5]);
        eventually("five are left", || agreement(&topology.nodes[..5]));
        topology.renew(5);
        let what = format!("a split {pause} ms after the start of a newcomer, {winners:?} | {losers:?}");
        split(&mut topology, Duration::from_millis(pause), winners, losers);
        heal(&mut topology, &what, HEALED);
    }
    finish(topology);
}

#[test]
fn a_split_in_the_middle_of_a_leave_leaves_no_node_hanging() {
    if !required("root", "a_split_in_the_middle_of_a_leave_leaves_no_node_hanging") {
        return;
    }
    let mut topology = Topology::new(6, |plan| plan.set("CONSENSUS", 3));
    topology.assemble();
    topology.watch();
    for (at, pause) in [0, 2, 5, 10, 20, 50].into_iter().enumerate() {
        // With it the part has consensus, or not even so; once it is the sentry.
        let (leaver, parts): (usize, [&[usize]; 2]) = match at % 3 {
            0 => (5, [&[0, 1, 2, 3], &[4, 5]]),
            1 => (3, [&[0, 1, 2, 3], &[4, 5]]),
            _ => (0, [&[0, 1, 2, 3], &[4, 5]]),
        };
        let what = format!("a split {pause} ms after number {leaver} was told to leave, {parts:?}");
        let asked_at = topology.nodes[leaver].signal("TERM");
        std::thread::sleep(Duration::from_millis(pause));
        topology.bridge().lose(&[PacketLoss::Groups(parts.iter().map(|part| topology.ips(part)).collect())]);
        assert_eq!(topology.nodes[leaver].wait().code(), Some(0), "{what}: it ends well");
        Budget::millis(LEFT_WITHIN).meet(&format!("{what}: it ends"), between(asked_at, now()));
        let winners: Vec<_> = parts[0].iter().filter(|number| **number != leaver).collect();
        eventually("the others go on", || agreement(winners.iter().map(|number| &topology.nodes[**number])));
        topology.bridge().heal();
        topology.renew(leaver);
        heal(&mut topology, &what, HEALED);
        // The youngest node now need not be number 5, but that is all the same to the others.
    }
    finish(topology);
}

#[test]
fn a_split_in_the_middle_of_a_held_round_leaves_no_node_hanging() {
    if !required("root", "a_split_in_the_middle_of_a_held_round_leaves_no_node_hanging") {
        return;
    }
    const HOLD: Duration = Duration::from_secs(2);
    let mut topology = Topology::new(6, |plan| plan);
    topology.assemble();
    topology.watch();
    for (holder, winners, losers) in
        [(1, [0, 1, 2, 3], [4, 5]), (4, [0, 1, 2, 3], [4, 5]), (0, [1, 2, 3, 4], [0, 5])]
    {
        leave(&mut topology.nodes[5]);
        eventually("five are left", || agreement(&topology.nodes[..5]));
        let name = format!("mover-{holder}");
        topology.nodes[holder].ask(&format!("holds {name} {}", HOLD.as_millis()));
        topology.renew(5);
        let held = |node: &Node| node.notices_of(&name).iter().any(|notice| notice.held);
        eventually("the round is held", || held(&topology.nodes[holder]).then_some(()).ok_or("not yet"));
        let what = format!("a split while number {holder} holds a round, {winners:?} | {losers:?}");
        split(&mut topology, HOLD / 4, &winners, &losers);
        // The holder holds the round that takes all in again, too, and perhaps one that is overtaken before.
        heal(&mut topology, &what, HEALED + 2 * u64::try_from(HOLD.as_millis()).unwrap_or_default());
    }
    finish(topology);
}

/// Splits the network after a pause, and waits until one part has gone on alone.
fn split(topology: &mut Topology, pause: Duration, winners: &[usize], losers: &[usize]) {
    std::thread::sleep(pause);
    topology.bridge().lose(&[PacketLoss::Groups(vec![topology.ips(winners), topology.ips(losers)])]);
    eventually("one part goes on", || agreement(winners.iter().map(|number| &topology.nodes[*number])));
    let marks = marks(&topology.nodes);
    std::thread::sleep(LONGER);
    for number in winners {
        assert_eq!(topology.nodes[*number].mark(), marks[*number], "nothing happens any more");
    }
    for number in losers {
        let last = topology.nodes[*number].last_notice();
        assert!(last.is_none_or(|notice| !notice.is_up()), "number {number} is not up");
    }
}

#[track_caller]
fn heal(topology: &mut Topology, what: &str, bar: u64) {
    let healed = topology.bridge().heal();
    reunite(&format!("{what}: from heal to one view"), &mut topology.nodes, healed, Budget::millis(bar));
}

fn leave(node: &mut Node) {
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
}

fn finish(mut topology: Topology) {
    topology.record().check();
}
