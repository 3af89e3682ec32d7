//! Nodes come and go: they join, leave in order, are killed, come back.

use std::time::Duration;

use cloister_integration::{
    Agreement, Block, Budget, Node, Notice, Plan, Record, RunDelay, agree, between, eventually, marks,
    median, names, report, start_all,
};

/// Five nodes that are up with one view and watch what they claim, in the order of their age.
fn five() -> (Vec<Plan>, Vec<Node>, Agreement) {
    cluster(&Plan::list(&Block::new(5).ips()))
}

fn cluster(plans: &[Plan]) -> (Vec<Plan>, Vec<Node>, Agreement) {
    let mut nodes = start_all(plans);
    let (view, _) = agree(&nodes);
    nodes.iter_mut().for_each(Node::watch);
    let mut pairs: Vec<_> = plans.iter().cloned().zip(nodes).collect();
    pairs.sort_by_key(|(_, node)| view.age_of(node.name()));
    let (plans, nodes) = pairs.into_iter().unzip();
    (plans, nodes, view)
}

#[test]
fn a_node_that_joins_five_is_taken_in_within_300_ms_of_its_start() {
    let block = Block::new(6);
    let ips = block.ips();
    let (_, mut nodes, before) = cluster(&Plan::list(&ips[..5]));
    let (marks, delay) = (marks(&nodes), RunDelay::since_now(&nodes));
    let mut newcomer = Node::start(&Plan::at(ips[5]).seeds(&ips[..5]));
    newcomer.watch();
    nodes.push(newcomer);
    let (after, up) = agree(&nodes);
    assert!(after.epoch > before.epoch);
    assert_eq!(after.sentry, before.sentry, "the oldest stays the sentry");
    // Its first link is later than its start.
    let took = between(nodes[5].started(), up);
    Budget::millis(300).meet_despite(delay.of(&nodes), "a node joins five: from its start to all up", took);
    for (node, mark) in nodes.iter().zip(marks) {
        let came = node.up_with(&names(&nodes), mark);
        assert!(came.lost > 0, "{} gives slots to the newcomer: {came:?}", node.name());
        let seen: Vec<_> = node.notices().into_iter().skip(mark).map(|notice| notice.to).collect();
        assert_eq!(seen, ["rehashing", "up"], "one round takes the newcomer in");
    }
    after.check_claims(&mut nodes);
    check(Record::default(), &mut nodes);
}

#[test]
fn a_node_that_is_killed_is_down_as_crashed_and_the_others_are_up_within_300_ms() {
    for (victim, role) in [(3, "a member"), (0, "the sentry")] {
        let (_, mut nodes, before) = five();
        let mut dead = nodes.remove(victim);
        let (marks, delay) = (marks(&nodes), RunDelay::since_now(&nodes));
        let at = dead.kill();
        let mut latest = Duration::ZERO;
        for (node, mark) in nodes.iter().zip(marks) {
            let death =
                node.wait_for_notice("its death", mark, |notice| notice.has_change("node_down", dead.name()));
            let reason = death.change("node_down", dead.name()).and_then(|change| change.reason.clone());
            assert_eq!(reason.as_deref(), Some("crashed"), "{} is told why", node.name());
            let up = node.up_with(&names(&nodes), mark);
            latest = latest.max(between(at, up.at));
        }
        let delay = delay.of(&nodes);
        let (after, _) = agree(&nodes);
        assert_eq!(after.sentry, before.members[usize::from(victim == 0)], "the oldest that lives");
        let what = format!("kill -9 of {role} of five: until all others are up");
        Budget::millis(300).meet_despite(delay, &what, latest);
        after.check_claims(&mut nodes);
        nodes.push(dead);
        check(Record::default(), &mut nodes);
    }
}

#[test]
fn a_node_that_gets_sigterm_leaves_its_slots_before_it_ends() {
    for (victim, role) in [(3, "a member"), (0, "the sentry")] {
        let (_, mut nodes, _) = five();
        let mut leaver = nodes.remove(victim);
        let (marks, delay) = (marks(&nodes), RunDelay::since_now(&nodes));
        let at = leaver.signal("TERM");
        let status = leaver.wait();
        let ended = cloister::clock::Clock.now().as_nanos();
        assert_eq!(status.code(), Some(0), "a graceful end");
        let (mut latest, mut claimed) = (Duration::ZERO, 0);
        for (node, mark) in nodes.iter().zip(marks) {
            let leave = node
                .wait_for_notice("its leave", mark, |notice| notice.has_change("node_down", leaver.name()));
            let reason = leave.change("node_down", leaver.name()).and_then(|change| change.reason.clone());
            assert_eq!(reason.as_deref(), Some("left"), "{} is told why", node.name());
            let up = node.up_with(&names(&nodes), mark);
            assert!(up.gained > 0, "{} takes slots over: {up:?}", node.name());
            latest = latest.max(between(at, leave.at));
            claimed = claimed.max(up.at);
        }
        let delay = delay.of(&nodes);
        let (after, _) = agree(&nodes);
        after.check_claims(&mut nodes);
        let what = format!("SIGTERM to {role} of five: until all others know");
        Budget::millis(500).meet_despite(delay, &what, latest);
        // It ends when all have told it that they hold the lease of the view without it. That is when they claim its
        // slots; their listeners write down the time at which they come to read of it.
        let (ended_after, claimed_after) = (between(at, ended), between(at, claimed));
        let moved = format!(
            "    its process ended {ended_after:.1?}, its slots were claimed {claimed_after:.1?} after it"
        );
        Budget::millis(50).meet_despite(delay, &moved, between(ended, claimed));
        nodes.push(leaver);
        check(Record::default(), &mut nodes);
    }
}

#[test]
fn a_leaving_node_claims_nothing_and_stays_until_a_held_round_has_given_its_slots_away() {
    const HOLD: Duration = Duration::from_secs(2);
    let (_, mut nodes, before) = five();
    let mut leaver = nodes.remove(3);
    eventually("it claims something", || {
        leaver.claimed().iter().any(|one| !one.mine.is_empty()).then_some(()).ok_or("not yet")
    });
    nodes[1].ask(&format!("holds mover {}", HOLD.as_millis()));
    let at = leaver.signal("TERM");
    std::thread::sleep(HOLD / 2);
    assert!(leaver.is_running(), "no node has taken its slots over yet");
    let mut record = Record::default();
    let claimed = leaver.claimed();
    record.add(leaver.name(), claimed);
    // It has the signal when it is given the processor.
    let soon = u64::try_from((HOLD / 4).as_nanos()).expect("it is short");
    record.check_silent(leaver.name(), before.epoch, at + soon);
    assert_eq!(leaver.wait().code(), Some(0), "a graceful end");
    let ended = cloister::clock::Clock.now().as_nanos();
    let held = nodes[1].notices_of("mover").into_iter().find(|notice| notice.held).expect("it got a hold");
    assert!(between(held.at, ended) >= HOLD, "it ended {:?} after the hold began", between(held.at, ended));
    let (after, _) = agree(&nodes);
    after.check_claims(&mut nodes);
    nodes.push(leaver);
    check(Record::default(), &mut nodes);
}

#[test]
fn a_rolling_restart_of_five_never_loses_consensus() {
    let (plans, mut nodes, before) = five();
    let consensus = 3;
    let mut incarnations: Vec<Vec<Notice>> = Vec::new();
    let mut record = Record::default();
    let began = cloister::clock::Clock.now().as_nanos();
    for at in 0..5 {
        nodes[at].signal("TERM");
        assert_eq!(nodes[at].wait().code(), Some(0));
        incarnations.push(nodes[at].notices());
        record.add_all([&mut nodes[at]]);
        nodes[at] = Node::start(&plans[at]);
        nodes[at].watch();
        agree(&nodes);
    }
    let (after, ended) = agree(&nodes);
    assert!(after.epoch > before.epoch);
    assert!(!after.members.iter().any(|member| before.members.contains(member)), "five new incarnations");
    incarnations.extend(nodes.iter().map(Node::notices));
    for incarnation in &incarnations {
        let up = incarnation.iter().position(Notice::is_up).expect("each incarnation was up");
        let fell = incarnation[up..].iter().find(|notice| notice.to == "assembling");
        assert!(fell.is_none(), "a node fell out of the cluster: {fell:?}");
    }
    let holding = |at: u64, statuses: &[&str]| {
        let present = incarnations
            .iter()
            .filter_map(|incarnation| incarnation.iter().rev().find(|notice| notice.at <= at));
        present.filter(|notice| notice.epoch.is_some() && statuses.contains(&notice.to.as_str())).count()
    };
    let moments: Vec<u64> = incarnations
        .iter()
        .flatten()
        .map(|notice| notice.at)
        .filter(|at| (began..ended).contains(at))
        .collect();
    let fewest = moments.iter().map(|at| holding(*at, &["up", "rehashing"])).min().unwrap_or_default();
    assert!(fewest >= consensus, "only {fewest} nodes held a view at some moment");
    report(&format!(
        "rolling restart of five in {:.1?}: at {} moments never fewer than {fewest} nodes with a view",
        between(began, ended),
        moments.len()
    ));
    after.check_claims(&mut nodes);
    check(record, &mut nodes);
}

#[test]
fn a_node_that_is_killed_and_restarted_at_once_is_admitted_each_of_twenty_times() {
    let (plans, mut nodes, _) = cluster(&Plan::list(&Block::new(3).ips()));
    let mut took = Vec::new();
    let mut record = Record::default();
    for round in 0..20 {
        // The sentry of the first view, then the one that has become it, and so on: it may be any.
        let victim = round % 3;
        nodes[victim].kill();
        let mut dead = std::mem::replace(&mut nodes[victim], Node::start(&plans[victim]));
        nodes[victim].watch();
        record.add_all([&mut dead]);
        let (_, up) = agree(&nodes);
        took.push(between(nodes[victim].started(), up));
    }
    let slowest = took.iter().max().copied().unwrap_or_default();
    report(&format!("restart in place after kill -9, 20 times: median {:.1?}", median(took)));
    Budget::millis(2000).meet("    the slowest", slowest);
    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
    check(record, &mut nodes);
}

/// No two incarnations claimed one thing at one time: neither those in the record nor the present ones.
#[track_caller]
fn check(mut record: Record, nodes: &mut [Node]) {
    record.add_all(nodes);
    record.check();
}
