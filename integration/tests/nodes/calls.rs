//! A call to all members has what answers there are, and a reason for each that is not.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, agree, eventually, report};

/// How long the call waits: the slow one never answers. All others do long before: one that panics writes a backtrace first, which
/// takes seconds on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_call_to_five_of_which_one_is_slow_one_panics_and_one_dies_has_a_partial_result_at_the_limit() {
    let ips = Block::new(5).ips();
    let roles = ["echo", "echo", "slow", "panics", "slow"];
    let plans = Plan::list(&ips).into_iter().zip(roles).map(|(plan, role)| plan.worker(role));
    let mut nodes: Vec<_> = plans.map(|plan| Node::start(&plan)).collect();
    agree(&nodes);
    let mut asked = 0;
    eventually("the caller finds five workers", || {
        asked += 1;
        let found = nodes[0].ask("workers");
        if found.as_array().map(Vec::len) == Some(5) { Ok(()) } else { Err(found) }
    });

    let call = format!("multicall {}", LIMIT.as_millis());
    nodes[0].send_command(&call);
    // It dies while it is being asked: before, it would be no member any more.
    let mut dead = nodes.remove(4);
    eventually("the one that will die is asked", || match dead.ask("asked") {
        count if count == 1 => Ok(()),
        count => Err(count),
    });
    dead.kill();
    let result = nodes[0].replied(&call).value;
    report(&format!("a call to five, limit {LIMIT:?}: {result}"));

    let took = Duration::from_millis(result["took_ms"].as_u64().expect("a number"));
    assert!(took >= LIMIT && took < LIMIT * 2, "at the limit: {took:?}");
    let answers = result["ok"].as_object().expect("answers by node");
    assert_eq!(answers.len(), 2, "{result}");
    assert_eq!(answers[nodes[0].name()], "echo");
    assert_eq!(answers[nodes[1].name()], "echo");
    let reasons = result["failed"].as_object().expect("reasons by node");
    assert_eq!(reasons.len(), 3, "{result}");
    let on = |node: &Node| format!("\"worker\" on {}", node.name());
    let silent = format!("no answer from {} within 10s; ", on(&nodes[2]));
    let died = format!("{} ended or dropped the call without an answer after ", on(&nodes[3]));
    let lost = format!("the link was lost before {} answered, after ", on(&dead));
    for (node, words) in [(&nodes[2], silent), (&nodes[3], died), (&dead, lost)] {
        let reason = reasons[node.name()].as_str().expect("words");
        assert!(reason.starts_with(&words), "{words}: {reason}");
        let what_to_do = "; the message may have been handled: send it again only if it may be handled twice";
        assert!(reason.ends_with(what_to_do), "{reason}");
    }

    // Each of them is in the metrics, and what the cluster did on the way.
    let metrics = nodes[0].get("/metrics").body;
    let counted = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        let count = line.and_then(|count| count.trim().parse::<f64>().ok());
        count.unwrap_or_else(|| panic!("no {series} in {metrics}"))
    };
    for outcome in ["timed_out", "died", "link_lost"] {
        let count = counted(&format!("cloister_call_duration_seconds_count{{outcome=\"{outcome}\"}}"));
        assert_eq!(count, 1.0, "{outcome}");
    }
    assert!(counted("cloister_call_duration_seconds_count{outcome=\"ok\"}") >= 2.0);
    assert!(counted("cloister_round_duration_seconds_count{outcome=\"installed\"}") >= 1.0);
    assert!(counted("cloister_dials_total{outcome=\"connected\"}") + counted("cloister_connections") >= 1.0);
    assert!(counted("cloister_heartbeat_silence_seconds_count") >= 4.0);

    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
}

/// On the owner most are not timed, since that would take as long as a tenth of the call.
#[test]
fn each_call_by_key_is_counted_once_in_the_metrics() {
    let plans = Plan::list(&Block::new(2).ips()).into_iter().map(|plan| plan.worker("echo"));
    let mut nodes: Vec<_> = plans.map(|plan| Node::start(&plan)).collect();
    agree(&nodes);
    eventually("the caller finds both workers", || {
        let found = nodes[0].ask("workers");
        if found.as_array().map(Vec::len) == Some(2) { Ok(()) } else { Err(found) }
    });
    let count = |node: &Node| {
        let metrics = node.get("/metrics").body;
        let series = "cloister_call_duration_seconds_count{outcome=\"ok\"}";
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)).expect("it is there");
        line.trim().parse::<f64>().expect("a number") as u64
    };
    let before = count(&nodes[0]);
    let rates = nodes[0].ask("rate keyed 200");
    let done = |part: &str| rates[part]["done"].as_u64().expect("a number");
    assert!(done("keyed_here") > 16, "{rates}");
    assert_eq!(count(&nodes[0]) - before, done("keyed") + done("keyed_here"), "{rates}");
}
