//! The network falls into parts, for each policy, and while other things go on.

use std::time::Duration;

use cloister_integration::{
    Budget, PacketLoss, Topology, agreement, between, eventually, marks, now, required, reunite,
};

use crate::{HEALED, reports};

/// How long a split lasts when both sides have come to rest.
const LONGER: Duration = Duration::from_secs(2);

/// The last part of it, in which nothing may change.
const AT_REST: u64 = 1_000_000_000;

/// How the five fall apart, by their age, the sentry first; and which part goes on.
type Split = (&'static [&'static [usize]], Option<usize>);

#[test]
fn of_a_split_the_part_with_consensus_goes_on() {
    let splits: [Split; 4] = [
        (&[&[0, 1, 2], &[3, 4]], Some(0)),
        (&[&[0, 1], &[2, 3, 4]], Some(1)),
        (&[&[0, 1], &[2, 3], &[4]], None),
        (&[&[1, 2, 3, 4], &[0]], Some(0)),
    ];
    split_each("of_a_split_the_part_with_consensus_goes_on", "consensus", 3, &splits);
}

#[test]
fn of_a_split_the_majority_goes_on() {
    let splits: [Split; 4] = [
        (&[&[0, 1, 2], &[3, 4]], Some(0)),
        (&[&[0, 1], &[2, 3, 4]], Some(1)),
        (&[&[0, 1], &[2, 3], &[4]], None),
        (&[&[1, 2, 3, 4], &[0]], Some(0)),
    ];
    split_each("of_a_split_the_majority_goes_on", "majority", 2, &splits);
}

#[test]
fn of_a_split_the_part_with_the_oldest_goes_on_if_so_told() {
    let splits: [Split; 5] = [
        (&[&[0, 1, 2], &[3, 4]], Some(0)),
        (&[&[0, 1], &[2, 3, 4]], Some(0)),
        (&[&[0, 1], &[2, 3], &[4]], Some(0)),
        (&[&[0, 2, 3, 4], &[1]], Some(0)),
        // Alone it has no consensus, and without it the others may not.
        (&[&[1, 2, 3, 4], &[0]], None),
    ];
    split_each("of_a_split_the_part_with_the_oldest_goes_on_if_so_told", "keep-oldest", 2, &splits);
}

fn split_each(test: &str, policy: &str, consensus: usize, splits: &[Split]) {
    if !required("root", test) {
        return;
    }
    let mut topology = Topology::new(5, |plan| plan.set("SPLIT", policy).set("CONSENSUS", consensus));
    topology.assemble();
    topology.watch();
    // No process exits, so ages do not change.
    for (parts, winner) in splits {
        split(&mut topology, policy, parts, *winner);
    }
    topology.record().check();
}

fn split(topology: &mut Topology, policy: &str, parts: &[&[usize]], winner: Option<usize>) {
    let what = format!("{policy}, split {parts:?}");
    let winners = winner.map_or(&[][..], |winner| parts[winner]);
    let marks = marks(&topology.nodes);
    let at =
        topology.bridge().lose(&[PacketLoss::Groups(parts.iter().map(|part| topology.ips(part)).collect())]);
    let losers: Vec<_> = (0..topology.nodes.len()).filter(|number| !winners.contains(number)).collect();
    for loser in &losers {
        let node = &topology.nodes[*loser];
        node.wait_for_notice("it is in a part that may not go on", marks[*loser], |notice| {
            notice.to == "assembling"
        });
        node.wait_for_notice("the network is split", marks[*loser], |notice| {
            reports(notice, "network_split")
        });
    }
    if !winners.is_empty() {
        let (_, up) =
            eventually("the winners are up", || agreement(winners.iter().map(|at| &topology.nodes[*at])));
        Budget::millis(5000).meet(&format!("{what}: {winners:?} up"), between(at, up));
    }
    std::thread::sleep(LONGER);

    let record = topology.record();
    let end = now();
    let up = record.up_throughout(end - AT_REST, end);
    let expected = winners.iter().map(|at| topology.nodes[*at].name()).collect();
    assert_eq!(up, expected, "{what}: the nodes that are up while it lasts");
    let healed = topology.bridge().heal();
    reunite(&format!("{what}: from heal to one view"), &mut topology.nodes, healed, Budget::millis(HEALED));
    for loser in losers {
        let node = &topology.nodes[loser];
        node.wait_for_notice("the network is whole again", marks[loser], |notice| {
            reports(notice, "network_healed")
        });
    }
    // Two sides may say up for as long as it takes a process to be given the processor; they claim nothing then.
    let both = record.both_up();
    Budget::millis(100).meet(&format!("{what}: views of two epochs up at one time, at most"), both);
}
