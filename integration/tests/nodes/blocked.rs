//! A program that blocks all threads of its runtime: its node stays a member, its peers hear nothing, and it says itself for
//! how long it did not answer.

use std::time::Duration;

use cloister_integration::{
    Block, Node, Plan, agree, between, eventually, get, marks, now, report, start_all,
};
use cloister_json::Readiness;
use tempfile::TempDir;

use cloister_testkit::certificates::{Authority, Order};

/// For how long the program is blocked: longer than a peer is silent before it is unreachable, and than a lease lasts.
const BLOCKED_MS: u64 = 5000;

/// How much later than the block begins it may be seen.
const SEEN_MS: u64 = 3000;

/// A signal within a second of another is the same request.
const ONE_REQUEST: Duration = Duration::from_millis(1100);

#[test]
fn a_program_that_blocks_its_one_worker_thread_stays_a_member_and_says_so() {
    block(1, |plan| plan);
}

#[test]
fn with_tls_too_a_program_that_blocks_stays_a_member_and_says_so() {
    let (home, authority) = (TempDir::new().expect("a directory"), Authority::new("cluster"));
    block(1, |plan| {
        let paths = authority.equip(&home.path().join(plan.address()), &Order::default());
        let [cert, key, ca] = [paths.cert, paths.key, paths.ca].map(|path| path.display().to_string());
        plan.set("TLS__CERT", cert).set("TLS__KEY", key).set("TLS__CA", ca)
    });
}

#[test]
fn a_program_that_blocks_the_runtime_of_its_main_thread_stays_a_member_and_says_so() {
    block(0, |plan| plan);
}

/// The first one cannot be heard by a program that is blocked, so the node does not leave.
#[test]
fn a_program_that_blocks_is_ended_by_a_second_sigterm() {
    let plan = Plan::at(Block::new(1).ips()[0]).threads(1);
    let mut nodes = start_all(&[plan]);
    agree(&nodes);
    nodes[0].send_command("blocks 600000");
    eventually("/readyz says that the runtime does not answer", || stalled_ms(&nodes[0]));
    let first = nodes[0].signal("TERM");
    eventually("it is another request", || {
        let passed = between(first, now());
        if passed > ONE_REQUEST { Ok(()) } else { Err(passed) }
    });
    nodes[0].signal("TERM");
    assert_eq!(nodes[0].wait().code(), Some(143));
}

fn block(threads: usize, secure: impl Fn(Plan) -> Plan) {
    let plans: Vec<_> = Plan::list(&Block::new(3).ips()).into_iter().map(secure).collect();
    let mut nodes = start_all(&[plans[0].clone().threads(threads), plans[1].clone(), plans[2].clone()]);
    let (before, _) = agree(&nodes);
    let marks = marks(&nodes);
    let command = format!("blocks {BLOCKED_MS}");

    nodes[0].send_command(&command);
    let silent = eventually("/readyz says that the runtime does not answer", || stalled_ms(&nodes[0]));
    report(&format!("/readyz said so for the first time after {silent} ms of silence"));
    assert!(silent < SEEN_MS, "it was seen late: after {silent} ms");
    let alive = get(nodes[0].admin(), "/livez").expect("the admin server answers meanwhile");
    assert_eq!(alive.code, 503, "a probe of the process sees it, too: {}", alive.body);
    assert!(nodes[0].counter("cloister_up ") == 1, "it is up meanwhile");

    let took = nodes[0].replied(&command).value["took_ms"].as_u64();
    assert!(took.is_some_and(|took| took >= BLOCKED_MS), "the runtime was blocked: {took:?}");
    eventually("/readyz is well again", || match nodes[0].get("/readyz") {
        ready if ready.code == 200 => Ok(()),
        ready => Err(ready),
    });
    // What the others would have heard by now: more than what they take to give up a silent peer has passed since it began.
    for (node, mark) in nodes.iter().zip(&marks) {
        assert_eq!(node.notices().split_off(*mark), [], "{} was moved", node.name());
    }
    let (after, _) = agree(&nodes);
    assert_eq!(after, before);
    after.check_claims(&mut nodes);

    let log = nodes[0].log();
    assert_eq!(log.count("the runtime of this program does not answer"), 1, "{:#?}", log.lines());
    let line = eventually("the log says for how long", || {
        let lines = log.lines();
        let line = lines.iter().find(|line| line.contains("the runtime of this program answers again"));
        line.cloned().ok_or(lines)
    });
    let seconds =
        line.split_once("stalled=").and_then(|(_, rest)| rest.split_once('s')?.0.parse::<f64>().ok());
    // It is asked every 500 ms. What the threads of the node were late themselves, on a busy machine, is left out.
    let least = Duration::from_millis(BLOCKED_MS - 2000).as_secs_f64();
    assert!(seconds.is_some_and(|seconds| seconds >= least), "{line}");
    let page = nodes[0].get("/metrics").body;
    let longest = page.lines().find_map(|line| line.strip_prefix("cloister_runtime_longest_stall_seconds "));
    assert!(longest.and_then(|text| text.parse::<f64>().ok()).is_some_and(|max| max >= least), "{page}");
}

/// For how long `/readyz` says that the runtime has not answered; it is no success meanwhile.
fn stalled_ms(node: &Node) -> Result<u64, String> {
    let ready = get(node.admin(), "/readyz").map_err(|error| error.to_string())?;
    let silent = ready.json::<Readiness>().stalled_ms.ok_or_else(|| ready.body.clone())?;
    assert_eq!(ready.code, 503, "{}", ready.body);
    assert!(ready.body.contains("has not answered for"), "{}", ready.body);
    Ok(silent)
}
