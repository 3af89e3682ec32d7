//! A machine that has four times as much to do as it can, and a node that is held up again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use cloister_integration::{Block, Node, Plan, agree, between, lasting, report, required, start_all};

/// How much more there is to do than can be done.
const TOO_MUCH: usize = 4;

/// A node is held up for as long as this,
const HELD_UP: Duration = Duration::from_secs(1);

/// and goes on for as long as this.
const GOES_ON: Duration = Duration::from_secs(9);

#[test]
fn on_a_machine_with_four_times_too_much_to_do_no_healthy_node_is_given_up() {
    if !required("time", "on_a_machine_with_four_times_too_much_to_do_no_healthy_node_is_given_up") {
        return;
    }
    let time = lasting("five nodes under strain", Duration::from_secs(40), Duration::from_secs(300));
    let mut nodes = start_all(&Plan::list(&Block::new(5).ips()));
    agree(&nodes);
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    let busy = TOO_MUCH * available_parallelism().map_or(1, usize::from);
    let done = AtomicBool::new(false);
    let mut pauses = 0;
    std::thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let end = Instant::now() + time;
        while Instant::now() < end {
            nodes[4].signal("STOP");
            std::thread::sleep(HELD_UP);
            nodes[4].signal("CONT");
            std::thread::sleep(GOES_ON);
            pauses += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    let moved: Vec<_> = nodes.iter().zip(&marks).map(|(node, mark)| node.mark() - mark).collect();
    report(&format!(
        "    {busy} busy threads, {pauses} pauses of {HELD_UP:?}: events that each received: {moved:?}"
    ));
    for (node, mark) in nodes.iter().zip(&marks) {
        for notice in node.notices().split_off(*mark) {
            let after = between(nodes[0].started(), notice.at);
            report(&format!(
                "    {} hears after {after:.1?}: {} to {}: {:?}",
                node.name(),
                notice.from,
                notice.to,
                notice.changes
            ));
        }
    }
    let held_up = nodes[4].name();
    for (node, mark) in nodes.iter().zip(&marks) {
        let notices = node.notices().split_off(*mark);
        let changes = notices.iter().flat_map(|notice| &notice.changes);
        let of_others = |id: &String| !id.starts_with(&format!("{held_up}#"));
        let mut down =
            changes.filter(|one| one.kind == "node_down" && one.node.as_ref().is_some_and(of_others));
        assert_eq!(down.next(), None, "{} gave up a healthy node: {notices:#?}", node.name());
    }
    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
}
