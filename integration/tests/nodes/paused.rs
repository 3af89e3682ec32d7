//! A process that is paused and thawed, as by a suspended machine or a debugger: its sockets stay open, and it does not
//! know what it missed.

use std::time::Duration;

use cloister_integration::{
    Block, Budget, Node, Plan, Record, agree, between, eventually, marks, names, report, reunite, start_all,
};

/// How long the paused one stays so after the others have gone on.
const LONGER: Duration = Duration::from_secs(2);

#[test]
fn a_member_that_is_paused_is_unreachable_and_claims_nothing_when_it_resumes() {
    freeze(3, "a member");
}

#[test]
fn a_sentry_that_is_paused_is_unreachable_and_claims_nothing_when_it_resumes() {
    freeze(0, "the sentry");
}

fn freeze(age: usize, role: &str) {
    let mut nodes = start_all(&Plan::list(&Block::new(5).ips()));
    let (before, _) = agree(&nodes);
    nodes.sort_by_key(|node| before.age_of(node.name()));
    for node in &mut nodes {
        node.watch();
    }
    eventually("each claims something", || claims_of_all(&mut nodes));
    let paused = nodes.remove(age);
    let marks = marks(&nodes);
    let at = paused.signal("STOP");
    let mut delays = Vec::new();
    for (node, mark) in nodes.iter().zip(&marks) {
        let down = node
            .wait_for_notice("its silence", *mark, |notice| notice.has_change("node_down", paused.name()));
        let reason = down.change("node_down", paused.name()).and_then(|change| change.reason.clone());
        assert_eq!(reason.as_deref(), Some("unreachable"), "{} is told why", node.name());
        delays.push(between(at, down.at));
        // Told by its silence. Without that it would still be given up as one that hangs, and only much later.
        assert_eq!(node.log().count("reason=\"no heartbeat\""), 0, "{:#?}", node.log().lines());
        assert!(node.log().count("reason=\"silent\"") > 0, "{:#?}", node.log().lines());
        node.up_with(&names(&nodes), *mark);
    }
    let (first, last) = (delays.iter().min().copied(), delays.iter().max().copied());
    let least = Duration::from_millis(2500);
    Budget::millis(4000).meet_not_before(
        least,
        &format!("{role} of five paused: first told"),
        first.unwrap_or_default(),
    );
    Budget::millis(4000).meet(&format!("{role} of five paused: last told"), last.unwrap_or_default());
    let (without, up) = agree(&nodes);
    report(&format!("{role} of five paused: the other four up {:.1?} after it", between(at, up)));
    without.check_claims(&mut nodes);
    std::thread::sleep(LONGER);

    let mark = paused.mark();
    let thawed = paused.signal("CONT");
    nodes.insert(age, paused);
    let back = nodes[age].up_with(&names(&nodes), mark);
    Budget::millis(3000).meet(&format!("{role} of five thawed: up again"), between(thawed, back.at));
    let after =
        reunite(&format!("{role} of five thawed: one view"), &mut nodes, thawed, Budget::millis(3000));
    assert!(after.epoch > without.epoch);

    let mut record = Record::default();
    record.add_all(&mut nodes);
    record.check();
    record.check_silent(nodes[age].name(), before.epoch, thawed);
}

fn claims_of_all(nodes: &mut [Node]) -> Result<(), String> {
    let silent = nodes.iter_mut().find_map(|node| {
        let claims = node.claimed().iter().any(|one| !one.mine.is_empty());
        (!claims).then(|| node.name().to_owned())
    });
    silent.map_or(Ok(()), Err)
}
