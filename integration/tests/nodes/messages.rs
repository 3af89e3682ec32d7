//! Two releases of a program send each other messages, and another program does.

use cloister_integration::{Block, Node, Plan, agree, eventually, report};
use serde_json::{Value, json};

/// The name of the counter of messages that cannot be read.
const UNREADABLE: &str = "cloister_rejected_total{reason=\"unreadable\"}";

/// The name of the counter of messages that a receiver could not read, as it has told this node.
const UNREADABLE_THERE: &str = "cloister_rejected_total{reason=\"unreadable_at_receiver\"}";

/// What the log of their sender says.
const TOLD: &str = "messages of this node cannot be read by their receiver";

/// What the log says of one.
const LOGGED: &str = "a message of another node cannot be read";

/// One node for each of these carts, which all see each other's.
fn nodes(carts: &[&str]) -> Vec<Node> {
    let plans = Plan::list(&Block::new(2).ips());
    let start = |(plan, cart): (Plan, &&str)| Node::start(&plan.variable("NODE_CART", cart));
    found(plans.into_iter().zip(carts).map(start).collect())
}

/// The nodes, once they all see each other's carts.
fn found(mut nodes: Vec<Node>) -> Vec<Node> {
    agree(&nodes);
    let names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
    for node in &mut nodes {
        for name in &names {
            eventually("the carts are found", || match node.ask(&format!("cart first found {name}")) {
                found if found["answer"] == json!(true) => Ok(()),
                found => Err(found.to_string()),
            });
        }
    }
    nodes
}

/// An error without how long its call took.
fn without_time(error: &str) -> String {
    let (before, rest) = error.split_once(" (after ").unwrap_or_else(|| panic!("it says how long: {error}"));
    let (_, after) = rest.split_once(')').expect("a closed parenthesis");
    before.to_owned() + after
}

#[test]
fn messages_of_two_releases_are_read_as_far_as_both_know_them_and_refused_beyond_that() {
    let mut nodes = nodes(&["first", "second"]);
    let [first, second] = [0, 1].map(|at: usize| nodes[at].name().to_owned());
    let [sender, receiver] = &mut nodes[..] else { panic!("two") };
    // A field more, to a release that has it not: it is left out. A field less: its default.
    receiver.ask(&format!("cart second add {first}"));
    sender.ask(&format!("cart first add {second}"));
    assert_eq!(receiver.ask(&format!("cart second count {first}")), json!({ "answer": 1 }));
    assert_eq!(sender.ask(&format!("cart first count {second}")), json!({ "answer": 1 }));

    let error = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_owned();
    let refused = sender.ask(&format!("cart first clear {second}"));
    for part in ["Cart", "this release has no such variant", "Drop { item: String }", second.as_str()] {
        assert!(error(&refused).contains(part), "{part}: {refused}");
    }
    assert_eq!(refused["may_have_arrived"], json!(false), "{refused}");
    let again = sender.ask(&format!("cart first clear {second}"));
    assert_eq!(without_time(&error(&again)), without_time(&error(&refused)));
    assert_eq!(again["may_have_arrived"], json!(false), "{again}");
    assert_eq!((receiver.counter(UNREADABLE), receiver.log().count(LOGGED)), (2, 1), "logged once");
    report(&format!("a variant that a release does not have:\n{}", error(&refused)));

    // Its receiver drops the port: the caller learns so at once, and not at its timeout.
    let dropped = receiver.ask(&format!("cart second drop {second}"));
    assert!(error(&dropped).contains("without an answer"), "in one process: {dropped}");
    let began = std::time::Instant::now();
    let dropped = sender.ask(&format!("cart second drop {second}"));
    assert!(error(&dropped).contains("without an answer"), "between two: {dropped}");
    assert_eq!(dropped["may_have_arrived"], json!(true), "{dropped}");
    assert!(began.elapsed().as_secs() < 10, "the timeout is twice that");
    assert_eq!(sender.ask(&format!("cart first count {second}")), json!({ "answer": 1 }), "it goes on");
}

#[test]
fn a_message_to_an_actor_of_another_type_is_an_error_that_names_both_and_no_garbage() {
    let mut nodes = nodes(&["first", "other"]);
    let other = nodes[1].name().to_owned();
    let refused = nodes[0].ask(&format!("cart first count {other}"));
    let error = refused["error"].as_str().unwrap_or_default();
    for part in ["Cart::Count", "Other: Count", "it is of another type", other.as_str()] {
        assert!(error.contains(part), "{part}: {refused}");
    }
    assert_eq!((nodes[1].counter(UNREADABLE), nodes[1].log().count(LOGGED)), (1, 1));
    // A cast is not answered: both nodes log and count it.
    for _ in 0..3 {
        nodes[0].ask(&format!("cart first add {other}"));
    }
    eventually("casts that cannot be read are counted", || {
        match (nodes[1].counter(UNREADABLE), nodes[0].counter(UNREADABLE_THERE)) {
            (4, 4) => Ok(()),
            counts => Err(format!("{counts:?}")),
        }
    });
    assert_eq!(
        (nodes[0].log().count(TOLD), nodes[1].log().count(TOLD)),
        (2, 0),
        "once for each kind, at the sender alone"
    );
    // One with a port for an answer, too.
    assert_eq!(nodes[0].ask(&format!("cart first counted {other}")), json!({ "answer": null }));
    eventually("its sender is told", || match nodes[0].counter(UNREADABLE_THERE) {
        5 => Ok(()),
        count => Err(count),
    });
    assert_eq!(nodes[0].log().count(TOLD), 2, "as the call before");
    let local = nodes[1].ask(&format!("cart first count {other}"));
    let error = local["error"].as_str().unwrap_or_default();
    assert!(error.contains("First") && error.contains("Other"), "in one process: {local}");
}

/// The macro's and ractor's own: the answer comes as it was given, to whichever port the message carries.
#[test]
fn a_message_that_is_cast_is_answered_to_the_port_that_it_carries() {
    let plans = Plan::list(&Block::new(2).ips()).into_iter();
    let plans: Vec<Plan> = plans.map(|plan| plan.variable("NODE_CART", "first").worker("echo")).collect();
    let mut nodes: Vec<Node> = plans.iter().map(Node::start).collect();
    agree(&nodes);
    let other = nodes[1].name().to_owned();
    eventually("the cart of the other is found", || {
        let found = nodes[0].ask(&format!("cart first found {other}"));
        if found["answer"] == json!(true) { Ok(()) } else { Err(found) }
    });
    assert_eq!(nodes[0].ask(&format!("cart first counted {other}")), json!({ "answer": 0 }));
    for key in 0..20 {
        // Some are owned by the one node, some by the other.
        let answered = nodes[0].ask(&format!("answered key-{key}"));
        assert_eq!(answered, json!({ "sent": true, "answer": "echo" }), "key-{key}");
    }
}

/// One node has a cart of ractor's own derive, the other one of the macro's.
#[test]
fn a_message_of_ractors_own_is_compared_by_its_type_both_ways_and_by_every_way() {
    let mut nodes = nodes(&["bare", "first"]);
    let [bare, first] = [0, 1].map(|at: usize| nodes[at].name().to_owned());
    for way in ["cast_on", "cast", "counted_on", "counted", "call_on", "call", "multicall"] {
        // To those that take it.
        let right = nodes[1].ask(&format!("cart bare {way} {bare}"));
        assert!(right["error"].is_null(), "{way}: {right}");
        let right = nodes[0].ask(&format!("cart first-by {way} {first}"));
        assert!(right["error"].is_null(), "{way}: {right}");
    }
    assert_eq!(
        nodes[1].ask(&format!("cart bare call {bare} again")),
        json!({ "answer": 2 }),
        "as it was answered"
    );
    assert_eq!(nodes[0].ask(&format!("cart first-by call_on {first} again")), json!({ "answer": 2 }));

    // The sender, what it sends, what is sent by its name, what the other takes.
    let wrong = [
        (0, "bare", &first, "Bare", "Cart: Add { item: String }"),
        (1, "first-by", &bare, "Cart::", "Bare"),
        (1, "strange", &bare, "Strange", "Bare"),
    ];
    let mut unreadable = [0; 2];
    for (sender, release, receiver, sent, expected) in wrong {
        for way in ["call_on", "call", "multicall"] {
            let began = std::time::Instant::now();
            let refused = nodes[sender].ask(&format!("cart {release} {way} {receiver}"));
            let error = refused["error"].as_str().unwrap_or_default();
            for part in [sent, expected, "it is of another type", receiver.as_str()] {
                assert!(error.contains(part), "{way}, {part}: {refused}");
            }
            assert_eq!(refused["may_have_arrived"], json!(false), "{refused}");
            assert!(began.elapsed().as_secs() < 10, "the timeout is twice that");
        }
        for way in ["cast_on", "cast"] {
            nodes[sender].ask(&format!("cart {release} {way} {receiver} wrong"));
        }
        for way in ["counted_on", "counted"] {
            let dropped = nodes[sender].ask(&format!("cart {release} {way} {receiver} wrong"));
            assert_eq!(dropped, json!({ "answer": u64::MAX }), "its port is dropped");
        }
        unreadable[sender] += 7;
        eventually("the sender is told", || match nodes[sender].counter(UNREADABLE_THERE) {
            count if count == unreadable[sender] => Ok(()),
            count => Err(format!("{release}: {count}")),
        });
    }
    assert_eq!((nodes[0].log().count(TOLD), nodes[1].log().count(TOLD)), (1, 3), "once for each kind");
    assert_eq!(
        nodes[1].ask(&format!("cart bare call_on {bare} last")),
        json!({ "answer": 2 }),
        "nothing was taken"
    );
}

/// Two nodes have carts of ractor's own derive, in the versions of the two columns; none is a version, too.
#[test]
fn a_message_of_ractors_own_in_another_version_is_refused_both_ways_and_one_in_the_same_is_taken() {
    for (versions, fit) in [([Some(2), Some(2)], true), ([Some(2), Some(3)], false), ([None, Some(2)], false)]
    {
        let plans = Plan::list(&Block::new(2).ips()).into_iter().zip(versions).map(|(plan, version)| {
            let plan = plan.variable("NODE_CART", "bare");
            version.map_or(plan.clone(), |version| plan.variable("NODE_VERSION", version))
        });
        let mut nodes = found(plans.map(|plan| Node::start(&plan)).collect());
        let names = [0, 1].map(|at: usize| nodes[at].name().to_owned());
        for (sender, receiver) in [(0, 1), (1, 0)] {
            for way in ["call_on", "call", "multicall"] {
                let own = nodes[sender].ask(&format!("cart bare {way} {}", names[sender]));
                assert!(own["error"].is_null(), "{versions:?}, {way}, on the node itself: {own}");
                let answer = nodes[sender].ask(&format!("cart bare {way} {}", names[receiver]));
                if fit {
                    assert!(answer["error"].is_null(), "{versions:?}, {way}: {answer}");
                    continue;
                }
                let error = answer["error"].as_str().unwrap_or_default();
                let named =
                    versions.iter().flatten().all(|version| error.contains(&format!("version {version}")));
                assert!(named && error.contains("it is of another version of the type"), "{way}: {answer}");
                assert_eq!(answer["may_have_arrived"], json!(false), "{answer}");
            }
            for way in ["cast_on", "cast", "counted_on", "counted"] {
                nodes[sender].ask(&format!("cart bare {way} {}", names[receiver]));
            }
            // The two by `multicall` ask both nodes.
            let unread = if fit { 0 } else { 8 };
            eventually("the sender is told", || match nodes[sender].counter(UNREADABLE_THERE) {
                count if count == unread => Ok(()),
                count => Err(count),
            });
        }
        for (node, name) in nodes.iter_mut().zip(&names) {
            let taken = node.ask(&format!("cart bare call_on {name} last"));
            assert_eq!(taken, json!({ "answer": if fit { 2 } else { 0 } }), "{versions:?}");
        }
    }
}
