//! Named rings: every node names the same owners, also one that is no member of the ring.

use std::collections::BTreeMap;

use cloister_integration::{Agreement, Block, Node, Notice, Plan, agree, start_all};
use serde_json::Value;

/// How many keys are asked for.
const KEYS: usize = 500;

/// The tags of each node.
const TAGS: [&str; 5] = ["ssd,eu", "ssd", "eu", "eu,ssd", ""];

/// The rings of all nodes, and which nodes belong to each.
const RINGS: [(&str, &str, &[usize]); 4] = [
    ("fast", "ssd", &[0, 1, 3]),
    ("near", "eu", &[0, 2, 3]),
    ("best", "ssd,eu", &[0, 3]),
    ("none", "tape", &[]),
];

#[test]
fn all_nodes_name_the_same_members_and_owners_in_each_ring() {
    let plans = Plan::list(&Block::new(5).ips()).into_iter().zip(TAGS).map(|(plan, tags)| {
        let plan = if tags.is_empty() { plan } else { plan.set("TAGS", tags) };
        let ring = |plan: Plan, (name, tags, _): &(&str, &str, &[usize])| {
            plan.set(&format!("RINGS__{}__TAGS", name.to_uppercase()), tags)
        };
        RINGS.iter().fold(plan, ring).variable("NODE_RINGS", RINGS.map(|(name, ..)| name).join(","))
    });
    let plans: Vec<_> = plans.collect();
    let mut nodes = start_all(&plans);
    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
    let before = check_rings(&view, &mut nodes, &[0, 1, 2, 3, 4]);

    // A node in one ring only is missing only there.
    nodes[1].kill();
    nodes.remove(1);
    let (view, _) = agree(&nodes);
    view.check_claims(&mut nodes);
    let after = check_rings(&view, &mut nodes, &[0, 2, 3, 4]);
    assert_ne!(before[0], after[0], "its keys in `fast` have other owners");
    assert_eq!(before[1..], after[1..], "`near`, `best` and `none` are as before");

    // And comes back to it alone.
    let marks: Vec<usize> = nodes.iter().map(Node::mark).collect();
    let epoch = view.epoch;
    nodes.insert(1, Node::start(&plans[1]));
    let (view, _) = agree(&nodes);
    let members = |(name, ..): (&str, &str, &[usize])| {
        let answer = nodes[1].ask(&format!("ring {name} 1"));
        (name.to_owned(), list(&answer, "members"))
    };
    let rings = BTreeMap::from(RINGS.map(members));
    let others = nodes.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, node)| node);
    for (node, mark) in others.zip(marks) {
        check_change(node, mark, (epoch, view.epoch), &rings);
    }
    let again = check_rings(&view, &mut nodes, &[0, 1, 2, 3, 4]);
    assert_eq!(before[1..], again[1..]);
}

/// Checks what a listener hears of the rings in the round that a newcomer begins: those of the view to come, and the epoch of the view before.
#[track_caller]
fn check_change(
    node: &Node,
    since: usize,
    (before, epoch): (u64, u64),
    rings: &BTreeMap<String, Vec<Value>>,
) {
    let is_round = |notice: &Notice| notice.to == "rehashing";
    let round = node.wait_for_notice("that a view is being agreed on", since, is_round);
    assert_eq!(round.epoch, Some(before), "{round:?}");
    assert_eq!(round.predecessor, Some(before), "{round:?}");
    assert_eq!(&round.rings, rings, "{round:?}");
    let is_up = |notice: &Notice| notice.epoch == Some(epoch) && notice.to == "up";
    let up = node.wait_for_notice("that the view is installed", since, is_up);
    assert_eq!(&up.rings, rings, "{up:?}");
}

/// Checks what the nodes with these numbers say of each ring; returns the owners of its keys.
#[track_caller]
fn check_rings(view: &Agreement, nodes: &mut [Node], numbers: &[usize]) -> Vec<Vec<Value>> {
    let ids: Vec<String> = nodes.iter().map(|node| view.members[view.age_of(node.name())].clone()).collect();
    let owners = RINGS.iter().map(|(name, _, belong)| {
        let answers: Vec<Value> =
            nodes.iter_mut().map(|node| node.ask(&format!("ring {name} {KEYS}"))).collect();
        let belongs = |id: &&String| {
            let at = ids.iter().position(|its| its == *id).expect("a member is one of the nodes");
            belong.contains(&numbers[at])
        };
        // The oldest first, as in the view.
        let members: Vec<&String> = view.members.iter().filter(belongs).collect();
        let owners = list(&answers[0], "owners");
        assert_eq!(owners.len(), KEYS);
        for (answer, me) in answers.iter().zip(&ids) {
            assert_eq!(answer["members"], serde_json::json!(members), "{name} at {me}");
            assert_eq!(list(answer, "owners"), owners, "{name} at {me}");
            let named = owners.iter().enumerate().filter(|(_, owner)| *owner == me);
            let named: Vec<Value> = named.map(|(key, _)| key.into()).collect();
            assert_eq!(list(answer, "mine"), named, "what {me} claims in {name}");
            assert_eq!(
                !named.is_empty(),
                members.contains(&me),
                "each member of {name} owns something: {me}"
            );
        }
        owners
    });
    owners.collect()
}

fn list(answer: &Value, what: &str) -> Vec<Value> {
    answer[what].as_array().cloned().unwrap_or_else(|| panic!("no {what} in {answer}"))
}
