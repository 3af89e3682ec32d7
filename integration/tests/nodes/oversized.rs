//! A message that no peer would take does not end the link to it, by whatever way it was sent.

use cloister_integration::{Block, Node, Plan, agree, eventually, report};

/// The name of the counter of what was not sent.
const REFUSED: &str = "cloister_rejected_total{reason=\"oversized\"}";

#[test]
fn a_message_or_an_answer_over_the_limit_is_not_sent_and_the_link_lives() {
    let plans = Plan::list(&Block::new(2).ips());
    let mut nodes: Vec<_> = plans.iter().map(|plan| Node::start(&plan.clone().worker("echo"))).collect();
    let (view, _) = agree(&nodes);
    let other = nodes[1].name().to_owned();
    eventually("the worker of the other is found", || {
        match nodes[0].get("/metrics").code == 200
            && nodes[0].ask("workers").as_array().map(Vec::len) == Some(2)
        {
            true => Ok(()),
            false => Err("not yet"),
        }
    });
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();

    let sent = nodes[0].ask(&format!("sends {other} 15"));
    assert_eq!(sent["taken"], 15 << 20, "{sent}");
    let sent = nodes[0].ask(&format!("sends {other} 17"));
    assert_eq!(sent["taken"], 15 << 20, "the larger one did not come, the call after it did: {sent}");
    refusal(&nodes[0]);

    let given = nodes[0].ask(&format!("fetches {other} 15 20000"));
    assert_eq!(given["given"], 15 << 20, "{given}");
    let given = nodes[0].ask(&format!("fetches {other} 17 2000"));
    assert!(given["given"].is_null(), "{given}");
    let line = refusal(&nodes[1]);
    assert!(line.contains("max=16777216") && line.contains("bytes=178"), "sizes: {line}");
    report(&format!("a message and an answer of 17 MiB are not sent:\n{line}"));

    let sent = nodes[0].ask(&format!("sends {other} 1"));
    assert_eq!(sent["taken"], 16 << 20, "the link is the same: {sent}");
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "no node was moved");
    }
    assert_eq!(agree(&nodes).0, view);
}

/// The one line that says that something was not sent, which was counted once before. The call that shows that the link
/// goes on may overtake it: the socket leaves the message out, and another task counts and logs it.
#[track_caller]
fn refusal(node: &Node) -> String {
    const SAID: &str = "over the limit of a frame";
    let find = |lines: &[String]| lines.iter().find(|line| line.contains(SAID)).cloned();
    let line = node.log().find(find).expect("it is logged");
    assert_eq!((node.counter(REFUSED), node.log().count(SAID)), (1, 1), "counted and logged once");
    line
}
