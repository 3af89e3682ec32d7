//! A node reports in advance what a loss or a split would do: in the log, in `/readyz`, in `/members` and in `/metrics`.

use cloister_integration::{Block, Node, Plan, agree, eventually, start_all};
use cloister_json::{Members, Readiness};

/// What one node reports now.
#[derive(Debug, PartialEq)]
struct Outlook {
    warnings: Vec<String>,
    members: u64,
    counted: u64,
    spare: u64,
    risk: u64,
}

fn outlook(node: &Node) -> Outlook {
    let ready = node.get("/readyz");
    assert_eq!(ready.code, 200, "a warning is no reason to send no requests: {}", ready.body);
    let Members { warnings, split, .. } = node.members();
    assert_eq!(ready.json::<Readiness>().warnings, warnings, "both pages say the same");
    let split = split.expect("it is in a view");
    let (counted, spare) = (node.counter("cloister_counted"), node.counter("cloister_spare"));
    assert_eq!((split.counted, split.spare), (Some(counted), Some(spare)), "{split:?}");
    let risk = node.counter("cloister_split_risk");
    assert_eq!(split.allows_two, Some(risk == 1), "{split:?}");
    Outlook { warnings, members: split.members.expect("a number"), counted, spare, risk }
}

fn quiet(members: u64, counted: u64, spare: u64) -> Outlook {
    Outlook { warnings: Vec::new(), members, counted, spare, risk: 0 }
}

/// How often a node has logged a warning with these words.
fn logged(node: &Node, words: &str) -> usize {
    node.log().lines().iter().filter(|line| line.contains("WARN") && line.contains(words)).count()
}

#[test]
fn a_cluster_of_which_two_parts_may_go_on_says_so_once_each_time_it_becomes_one() {
    const RISK: &str = "if the network splits, two parts may both go on";
    let plans: Vec<Plan> = Plan::list(&Block::new(4).ips())
        .into_iter()
        .map(|plan| plan.set("SPLIT", "consensus").set("CONSENSUS", 2))
        .collect();
    let mut nodes = start_all(&plans[..3]);
    agree(&nodes);
    for node in &nodes {
        assert_eq!((outlook(node), logged(node, RISK)), (quiet(3, 3, 1), 0));
    }
    for time in 1..=2 {
        nodes.push(Node::start(&plans[3]));
        agree(&nodes);
        for node in &nodes {
            let outlook = outlook(node);
            let [warning] = &outlook.warnings[..] else { panic!("one warning: {outlook:?}") };
            assert!(warning.starts_with("4 members and `consensus` = 2: if the network splits"), "{warning}");
            assert!(
                warning.contains("Set `split` = \"majority\", or a `consensus` of at least 3"),
                "{warning}"
            );
            assert_eq!((outlook.members, outlook.counted, outlook.spare, outlook.risk), (4, 4, 2, 1));
        }
        // The fourth is a new process each time.
        eventually("once each time", || {
            let counts: Vec<usize> = nodes.iter().map(|node| logged(node, RISK)).collect();
            if counts == [time, time, time, 1] { Ok(()) } else { Err(counts) }
        });
        nodes[3].signal("TERM");
        nodes[3].wait();
        nodes.pop();
        agree(&nodes);
        assert_eq!(outlook(&nodes[0]), quiet(3, 3, 1));
    }
}

#[test]
fn a_cluster_that_can_lose_no_further_member_says_so_until_one_comes_or_is_counted_no_more() {
    const SHORT: &str = "can lose none";
    let plans = Plan::list(&Block::new(3).ips());
    let mut nodes = start_all(&plans);
    agree(&nodes);
    for node in &nodes {
        assert_eq!((outlook(node), logged(node, SHORT)), (quiet(3, 3, 1), 0));
    }
    nodes[2].kill();
    nodes.pop();
    agree(&nodes);
    for node in &nodes {
        let outlook = outlook(node);
        let [warning] = &outlook.warnings[..] else { panic!("one warning: {outlook:?}") };
        assert!(warning.starts_with("2 members, counted 3: can lose none."), "{warning}");
        assert_eq!((outlook.members, outlook.counted, outlook.spare, outlook.risk), (2, 3, 0, 0));
        eventually("it is in the log", || (logged(node, SHORT) == 1).then_some(()).ok_or("not yet"));
    }
    nodes.push(Node::start(&plans[2]));
    agree(&nodes);
    assert_eq!(outlook(&nodes[0]), quiet(3, 3, 1));
    // It leaves in order and counts no more: the two are as many as they are meant to be.
    nodes[2].signal("TERM");
    nodes[2].wait();
    nodes.pop();
    agree(&nodes);
    for node in &nodes {
        assert_eq!((outlook(node), logged(node, SHORT)), (quiet(2, 2, 0), 1));
    }
}
