//! Packets of one node get lost, or those between two.

use std::net::IpAddr;
use std::time::Duration;

use cloister_integration::{
    Budget, Node, PacketLoss, Topology, agree, agreement, between, eventually, marks, names, reunite,
};

use crate::{HEALED, NOTICED, after, five, reports};

/// How long a cut lasts when all that follows from it has been seen.
const LONGER: Duration = Duration::from_secs(2);

#[test]
fn a_node_that_is_cut_off_is_given_up_by_both_sides_and_comes_back() {
    let Some(topology) = five("a_node_that_is_cut_off_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(topology, 3, "a member cut off", PacketLoss::Off);
}

#[test]
fn a_sentry_that_is_cut_off_is_given_up_by_both_sides_and_comes_back() {
    let Some(topology) = five("a_sentry_that_is_cut_off_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(topology, 0, "the sentry cut off", PacketLoss::Off);
}

#[test]
fn a_node_that_no_peer_hears_is_given_up_by_both_sides_and_comes_back() {
    let Some(topology) = five("a_node_that_no_peer_hears_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(topology, 2, "a member that no peer hears", PacketLoss::From);
}

#[test]
fn a_node_that_hears_no_peer_is_given_up_by_both_sides_and_comes_back() {
    let Some(topology) = five("a_node_that_hears_no_peer_is_given_up_by_both_sides_and_comes_back") else {
        return;
    };
    cut_off(topology, 0, "a sentry that hears no peer", PacketLoss::To);
}

fn cut_off(mut topology: Topology, victim: usize, what: &str, cut: fn(IpAddr) -> PacketLoss) {
    let all = marks(&topology.nodes);
    let at = topology.bridge().lose(&[cut(topology.ip(victim))]);
    let lost = topology.nodes.remove(victim);
    let mut noticed = Duration::ZERO;
    for (node, mark) in topology.nodes.iter().zip(all.iter().enumerate().filter(|(at, _)| *at != victim)) {
        let death =
            node.wait_for_notice("a silence", *mark.1, |notice| notice.has_change("node_down", lost.name()));
        let reason = death.change("node_down", lost.name()).and_then(|change| change.reason.clone());
        assert_eq!(reason.as_deref(), Some("unreachable"), "{} is told why", node.name());
        let up = node.up_with(&names(&topology.nodes), *mark.1);
        noticed = noticed.max(between(at, up.at));
    }
    Budget::millis(NOTICED).meet(&format!("{what}: the other four up without it"), noticed);
    let mark = all[victim];
    let down = after(at, &lost, "it is alone", mark, |notice| notice.to == "assembling");
    Budget::millis(NOTICED).meet(&format!("{what}: it has stepped down"), down);
    let split = after(at, &lost, "the network is split", mark, |notice| reports(notice, "network_split"));
    Budget::millis(NOTICED).meet(&format!("{what}: it says that the network is split"), split);
    let (without, _) = agree(&topology.nodes);
    std::thread::sleep(LONGER);
    let (still, _) = agreement(&topology.nodes).expect("nothing happens any more");
    assert_eq!(still, without);

    topology.nodes.insert(victim, lost);
    let healed = topology.bridge().heal();
    let what = format!("{what}: from heal to one view");
    reunite(&what, &mut topology.nodes, healed, Budget::millis(HEALED));
    topology.nodes[victim]
        .wait_for_notice("it is whole again", mark, |notice| reports(notice, "network_healed"));
    topology.record().check();
}

#[test]
fn a_cut_between_two_of_five_costs_one_node_at_most() {
    let Some(mut topology) = five("a_cut_between_two_of_five_costs_one_node_at_most") else { return };
    for (one, other) in [(0, 1), (3, 4), (0, 4)] {
        let what = format!("a cut between number {one} and number {other} by age");
        // The node that was left out comes back with the same age: it is the same process.
        let all = marks(&topology.nodes);
        let at = topology.bridge().lose(&[PacketLoss::Pair(topology.ip(one), topology.ip(other))]);
        let (out, up) = eventually("four are up without the fifth", || four(&topology.nodes));
        assert!(out == one || out == other, "{what}: number {out} left");
        Budget::millis(5000).meet(&format!("{what}: number {out} left, four up"), between(at, up));
        std::thread::sleep(LONGER);
        let (still, since) = four(&topology.nodes).expect("nothing happens any more");
        assert_eq!((still, since), (out, up), "{what}");

        let healed = topology.bridge().heal();
        reunite(
            &format!("{what}: from heal to one view"),
            &mut topology.nodes,
            healed,
            Budget::millis(HEALED),
        );
        for (at, (node, mark)) in topology.nodes.iter().zip(all).enumerate() {
            let left_out =
                |notice: &&cloister_integration::Notice| notice.is_up() && notice.members.len() < 4;
            assert_eq!(node.notices().iter().skip(mark).find(left_out), None, "{what}: seen by number {at}");
        }
    }
    topology.record().check();
}

/// Which of five is not in the view of the other four, and since when they are up.
fn four(nodes: &[Node]) -> Result<(usize, u64), String> {
    let without = |out: usize| {
        let others = nodes.iter().enumerate().filter(move |(at, _)| *at != out).map(|(_, node)| node);
        agreement(others).map(|(_, up)| (out, up))
    };
    let found = (0..nodes.len()).find_map(|out| without(out).ok());
    found.ok_or_else(|| without(0).err().unwrap_or_default())
}
