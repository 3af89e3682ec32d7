//! What lasts: a node far away for minutes, a link that comes and goes, a name server that says nothing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cloister_integration::{
    Bridge, Budget, Node, Notice, PacketLoss, Plan, Topology, Usage, agree, agreement, bridge_ip, marks,
    names, report, required, reunite,
};

use crate::five;

#[test]
fn a_node_that_was_isolated_for_three_minutes_comes_back_by_itself() {
    const ISOLATED: Duration = Duration::from_secs(180);
    let Some(mut topology) = five("a_node_that_was_isolated_for_three_minutes_comes_back_by_itself") else {
        return;
    };
    let marks = marks(&topology.nodes);
    topology.bridge().lose(&[PacketLoss::Off(topology.ip(0))]);
    let mut lost = topology.nodes.remove(0);
    lost.wait_for_notice("it is alone", marks[0], |notice| notice.to == "assembling");
    let (without, _) = agree(&topology.nodes);
    let before: Vec<_> = topology.nodes.iter_mut().chain([&mut lost]).map(Usage::of).collect();
    std::thread::sleep(ISOLATED);
    let (still, _) = agreement(&topology.nodes).expect("nothing happens while it is away");
    assert_eq!(still, without);
    for (node, before) in topology.nodes.iter_mut().chain([&mut lost]).zip(before) {
        before.check_flat(&format!("    {} meanwhile", node.name()), Usage::of(node));
    }
    // It had been the sentry, and comes back to a cluster that has another.
    topology.nodes.insert(0, lost);
    let healed = topology.bridge().heal();
    let what = format!("the sentry isolated for {ISOLATED:?}: from heal to one view");
    reunite(&what, &mut topology.nodes, healed, Budget::millis(6000));
    topology.record().check();
}

#[test]
fn a_link_that_flaps_for_a_minute_costs_a_bounded_number_of_rounds() {
    const FLAPPING: Duration = Duration::from_secs(60);
    const PHASE: Duration = Duration::from_millis(200);
    let Some(mut topology) = five("a_link_that_flaps_for_a_minute_costs_a_bounded_number_of_rounds") else {
        return;
    };
    let all = marks(&topology.nodes);
    let before: Vec<_> = topology.nodes.iter_mut().map(Usage::of).collect();
    let end = Instant::now() + FLAPPING;
    let mut times = 0;
    while Instant::now() < end {
        topology.bridge().lose(&[PacketLoss::Off(topology.ip(3))]);
        std::thread::sleep(PHASE);
        topology.bridge().heal();
        std::thread::sleep(PHASE);
        times += 1;
    }
    let healed = topology.bridge().heal();
    reunite(
        "a link that flapped: from the last time to one view",
        &mut topology.nodes,
        healed,
        Budget::millis(3000),
    );
    let rounds = |(node, mark): (&Node, &usize)| {
        node.notices().iter().skip(*mark).filter(|notice| notice.to == "rehashing").count()
    };
    let rounds: Vec<_> = topology.nodes.iter().zip(&all).map(rounds).collect();
    report(&format!(
        "    {times} times off and on for {PHASE:?} each; rounds that each node saw: {rounds:?}"
    ));
    // To be given up takes `unreachable_after`, each time anew; then a round without it, and one with it.
    let max = 2 * FLAPPING.as_secs() / 3;
    assert!(rounds.iter().all(|rounds| *rounds as u64 <= max), "more than {max}: {rounds:?}");
    for (node, before) in topology.nodes.iter_mut().zip(before) {
        before.check_flat(&format!("    {}", node.name()), Usage::of(node));
    }
    topology.record().check();
}

#[test]
fn packet_loss_of_a_fiftieth_moves_no_node_and_of_a_fifth_breaks_nothing() {
    const LOSSY: Duration = Duration::from_secs(30);
    let Some(mut topology) = five("packet_loss_of_a_fiftieth_moves_no_node_and_of_a_fifth_breaks_nothing")
    else {
        return;
    };
    let (before, _) = agree(&topology.nodes);
    lossy(&topology, 2, LOSSY);
    let healed = topology.bridge().heal();
    let after = reunite(
        "2 % packet loss: from its end to one view",
        &mut topology.nodes,
        healed,
        Budget::millis(3000),
    );
    assert_eq!(after, before, "no node was moved");
    // TCP sends again after 200 ms, then after twice as long each time. When one in five packets is lost, four losses in a row are
    // nothing rare, and they are more than `unreachable_after`: in 11 of 26 such half minutes a node was given up.
    lossy(&topology, 20, LOSSY);
    let healed = topology.bridge().heal();
    reunite("20 % packet loss: from its end to one view", &mut topology.nodes, healed, Budget::millis(3000));
    topology.record().check();
}

/// Loses so many of a hundred packets for a while, and reports what was heard.
fn lossy(topology: &Topology, share: u8, time: Duration) {
    let all = marks(&topology.nodes);
    topology.bridge().lose(&[PacketLoss::Share(share)]);
    std::thread::sleep(time);
    let moved = topology.nodes.iter().zip(&all).map(|(node, mark)| node.mark() - mark);
    let moved: Vec<_> = moved.collect();
    report(&format!("{time:?} of {share} % packet loss: events that each node received: {moved:?}"));
}

#[test]
fn without_a_name_server_a_restarted_node_is_found_by_the_address_that_members_know() {
    const OUTAGE: Duration = Duration::from_secs(60);
    const TEST: &str = "without_a_name_server_a_restarted_node_is_found_by_the_address_that_members_know";
    if !required("root", TEST) {
        return;
    }
    let ips: Vec<IpAddr> = (0..5).map(bridge_ip).collect();
    let records: Vec<_> = ips.iter().map(|ip| ("app".to_owned(), *ip)).collect();
    let plan = |ip: &IpAddr| Plan::at(*ip).set("SEEDS", "app").set("CONSENSUS", 3);
    let mut topology = Topology::with(Bridge::new(&records), &ips, ips.iter().map(plan).collect());
    topology.assemble();
    topology.watch();
    topology.bridge().name_server_answers(false);
    let all = marks(&topology.nodes);
    let before = Instant::now();
    std::thread::sleep(OUTAGE / 3);
    for (node, mark) in topology.nodes.iter().zip(&all) {
        assert_eq!(node.notices().split_off(*mark), [], "{} was moved", node.name());
    }

    let victim = 2;
    topology.nodes[victim].kill();
    let others = topology.nodes.iter().enumerate().filter(|(number, _)| *number != victim);
    agree(others.map(|(_, node)| node).collect::<Vec<_>>());
    // The members look it up in vain meanwhile, more than once: an error must not make them forget what they know.
    std::thread::sleep(OUTAGE / 4);
    topology.renew(victim);
    let started = topology.nodes[victim].started();
    reunite("restarted without a name server: up", &mut topology.nodes, started, Budget::millis(6000));
    let marks = marks(&topology.nodes);
    std::thread::sleep(OUTAGE.saturating_sub(before.elapsed()));
    topology.bridge().name_server_answers(true);
    std::thread::sleep(OUTAGE / 10);
    for (number, (node, mark)) in topology.nodes.iter().zip(marks).enumerate() {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved", node.name());
        let its = names(&topology.nodes)[victim];
        let moved = |notice: &Notice| {
            let moved = notice.changes.iter().filter(|one| one.kind.starts_with("node_"));
            moved.filter_map(|one| one.node.clone()).collect::<Vec<_>>()
        };
        let moved = node.notices().iter().skip(all[number]).flat_map(moved).collect::<Vec<_>>();
        let foreign = moved.iter().find(|node| !node.contains(its));
        assert!(number == victim || foreign.is_none(), "nothing but the restart: {moved:?}");
    }
    topology.record().check();
}
