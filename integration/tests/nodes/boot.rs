//! Nodes come together: by a list, in any order, at once, too few at first.

use std::time::Duration;

use cloister_integration::{
    Block, Budget, Node, Plan, agree, assembly_time, between, check_assembly, median, report, start_all,
};
use cloister_json::Readiness;

/// A minority is watched for as long as this.
const WATCHED: Duration = Duration::from_secs(4);

#[test]
fn three_nodes_agree_in_whichever_order_they_start_and_however_far_apart() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let pauses = [[0, 5000], [300, 0], [1000, 1500], [2500, 2500], [5000, 0], [20, 4000]];
    std::thread::scope(|scope| {
        for (order, pauses) in orders.into_iter().zip(pauses) {
            scope.spawn(move || assemble_in_order(order, pauses.map(Duration::from_millis)));
        }
    });
}

fn assemble_in_order(order: [usize; 3], pauses: [Duration; 2]) {
    let plans = Plan::list(&Block::new(3).ips());
    let mut nodes = vec![Node::start(&plans[order[0]])];
    for (number, pause) in order[1..].iter().zip(pauses) {
        std::thread::sleep(pause);
        nodes.push(Node::start(&plans[*number]));
    }
    let (view, up) = agree(&nodes);
    view.check_claims(&mut nodes);
    view.check_one_up_each(&nodes);
    let took = assembly_time(&nodes, up);
    report(&format!(
        "3 nodes started in order {order:?}, {pauses:?} apart: one view {took:.1?} after the last start"
    ));
}

#[test]
fn three_nodes_started_at_once_by_a_list_are_up_within_a_second() {
    started_at_once(3, 5, |what, took| Budget::millis(1000).meet(what, took));
}

#[test]
fn ten_nodes_started_at_once_by_a_list_are_up_within_two_seconds() {
    started_at_once(10, 3, |what, took| Budget::millis(2000).meet(what, took));
}

/// Four seconds on a machine that has nothing else to do. They are spent on 190 handshakes, and a busy machine spreads them over
/// as many as twenty: so this one is judged by its rounds and by what it cost the processors.
#[test]
fn twenty_nodes_started_at_once_by_a_list_are_up_within_four_seconds() {
    started_at_once(20, 3, |what, took| Budget::millis(4000).show(what, took));
}

fn started_at_once(size: u8, runs: usize, judge: impl Fn(&str, Duration)) {
    let plans = Plan::list(&Block::new(size).ips());
    let run = |_| {
        let mut nodes = start_all(&plans);
        let (view, up) = agree(&nodes);
        check_assembly(&nodes);
        view.check_claims(&mut nodes);
        assembly_time(&nodes, up)
    };
    let runs: Vec<_> = (0..runs).map(run).collect();
    judge(&format!("{size} nodes started at once by a list, median of {runs:.1?}"), median(runs.clone()));
}

#[test]
fn two_of_a_consensus_of_three_wait_and_name_the_missing_until_the_third_comes() {
    let plans: Vec<_> =
        Plan::list(&Block::new(3).ips()).into_iter().map(|plan| plan.set("CONSENSUS", 3)).collect();
    let mut nodes = start_all(&plans[..2]);
    for node in &mut nodes {
        node.send_command("wait 3000");
    }
    std::thread::sleep(WATCHED);
    let missing = plans[2].address();
    for node in &nodes {
        assert!(node.notices().iter().all(|notice| !notice.is_up()), "two of three are never up");
        let waited = node.replied("wait 3000").value;
        assert_eq!(waited["up"], false);
        let took = waited["took_ms"].as_u64().expect("a number");
        assert!((3000..4000 + WATCHED.as_millis() as u64).contains(&took), "it ended in time: {took} ms");
        let error = waited["error"].as_str().expect("a text");
        assert!(error.contains(&missing), "it names {missing}: {error}");
        let ready = node.get("/readyz");
        assert_eq!(ready.code, 503);
        let ready: Readiness = ready.json();
        assert_eq!(ready.status, "assembling");
        assert!(!ready.missing.is_empty());
        for words in &ready.missing {
            assert!(error.contains(words), "the same words: `{words}` and `{error}`");
        }
    }
    let error = nodes[0].replied("wait 3000").value;
    report(&format!("two of three, after 3 s: {}", error["error"]));

    nodes.push(Node::start(&plans[2]));
    let (view, up) = agree(&nodes);
    view.check_claims(&mut nodes);
    view.check_one_up_each(&nodes);
    for node in &nodes {
        assert_eq!(node.get("/readyz").code, 200);
    }
    let took = between(nodes[2].started(), up);
    report(&format!("the third of three was started: all up after {took:.1?}"));
}
