//! Twenty nodes of which one is killed, stopped, restarted or paused every second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloister_integration::{
    Block, Budget, Node, Plan, Random, Record, Usage, agree, eventually, lasting, report, required, reunite,
};

/// How many nodes there are.
const SIZE: usize = 20;

/// These are left alone: whatever is left over is left over with them.
const LEFT_ALONE: usize = 2;

/// So many of the others may be away at one time: with them there would be no consensus.
const AWAY: usize = 9;

/// How far apart they are started.
const APART: Duration = Duration::from_millis(250);

/// What keeps a node away, and until when.
enum Away {
    Dead(Instant),
    Leaving(Instant),
    Paused(Instant),
}

#[test]
fn twenty_nodes_that_come_and_go_every_second_have_one_view_when_they_rest_and_leave_nothing_behind() {
    const TEST: &str =
        "twenty_nodes_that_come_and_go_every_second_have_one_view_when_they_rest_and_leave_nothing_behind";
    if !required("time", TEST) {
        return;
    }
    let time =
        lasting("twenty nodes, a fault every second", Duration::from_secs(75), Duration::from_secs(600));
    let mut random = Random::new("    churn");
    let plans = Plan::list(&Block::new(20).ips());
    // All at once is another test's affair, see `boot.rs`.
    let start = |plan| {
        std::thread::sleep(APART);
        Node::start(plan)
    };
    let mut nodes: Vec<_> = plans.iter().map(start).collect();
    agree(&nodes);
    nodes.iter_mut().for_each(Node::watch);
    let mut record = Record::default();
    // With all others linked, as in the end.
    let before: Vec<_> = nodes.iter_mut().take(LEFT_ALONE).map(Usage::of).collect();
    let mut away: BTreeMap<usize, Away> = BTreeMap::new();
    let mut counts = [0; 4];

    let began = Instant::now();
    let mut next = began;
    while began.elapsed() < time {
        return_to_life(&plans, &mut nodes, &mut away, &mut record, false);
        let victim =
            LEFT_ALONE + usize::try_from(random.below((SIZE - LEFT_ALONE) as u64)).unwrap_or_default();
        let later = |random: &mut Random, max: u64| Instant::now() + Duration::from_millis(random.below(max));
        if !away.contains_key(&victim) && away.len() < AWAY {
            // A process that has just begun does not know yet what to do when it is told to stop.
            let has_begun = nodes[victim].last_notice().is_some_and(|notice| notice.is_up());
            let what = match random.below(4) {
                2 if !has_begun => 1,
                what => what,
            };
            counts[usize::try_from(what).unwrap_or_default()] += 1;
            let state = match what {
                0 => {
                    nodes[victim].kill();
                    Away::Dead(Instant::now())
                }
                1 => {
                    nodes[victim].kill();
                    Away::Dead(later(&mut random, 5000))
                }
                2 => {
                    nodes[victim].signal("TERM");
                    Away::Leaving(later(&mut random, 5000))
                }
                _ => {
                    nodes[victim].signal("STOP");
                    Away::Paused(later(&mut random, 6000))
                }
            };
            away.insert(victim, state);
        }
        next += Duration::from_secs(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    eventually("all are there again", || {
        return_to_life(&plans, &mut nodes, &mut away, &mut record, true);
        if away.is_empty() { Ok(()) } else { Err(away.len()) }
    });
    let quiet = cloister_integration::now();
    let [restarted, killed, stopped, paused] = counts;
    report(&format!("    restarted {restarted}, killed {killed}, stopped {stopped}, paused {paused}"));
    reunite("twenty nodes after their churn: one view", &mut nodes, quiet, Budget::millis(5000));
    for (node, before) in nodes.iter_mut().zip(before) {
        before.check_flat(&format!("    {} was left alone", node.name()), Usage::of(node));
    }
    record.add_all(&mut nodes);
    record.check();
}

/// Starts, or lets go on, those whose time has come, or all.
fn return_to_life(
    plans: &[Plan],
    nodes: &mut [Node],
    away: &mut BTreeMap<usize, Away>,
    record: &mut Record,
    all: bool,
) {
    let now = Instant::now();
    away.retain(|victim, state| {
        let node = &mut nodes[*victim];
        let is_due = match state {
            Away::Dead(until) | Away::Paused(until) => all || *until <= now,
            Away::Leaving(until) => (all || *until <= now) && !node.is_running(),
        };
        if !is_due {
            return true;
        }
        if let Away::Paused(_) = state {
            node.signal("CONT");
            return false;
        }
        let mut old = std::mem::replace(node, Node::start(&plans[*victim]));
        if let Away::Leaving(_) = state {
            assert_eq!(old.wait().code(), Some(0), "{} left well", old.name());
        }
        node.watch();
        record.add_all([&mut old]);
        false
    });
}
