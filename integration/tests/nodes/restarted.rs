//! A registered actor that ends: calls wait for one that its manager starts again, and hear at once that another is gone.

use cloister_integration::{Block, Node, Plan, agree, eventually, report, start_all};
use serde_json::{Value, json};

/// Two nodes, each with an actor of this kind that is started again and one that is not.
fn nodes(kind: &str) -> Vec<Node> {
    let plans = Plan::list(&Block::new(2).ips()).into_iter();
    let plans: Vec<Plan> = plans.map(|plan| plan.variable("NODE_CHILD", kind)).collect();
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
    for node in &mut nodes {
        for name in &names {
            for actor in ["phoenix", "mortal"] {
                eventually("the actors are found", || found(node, actor, name, 1));
            }
        }
    }
    nodes
}

/// Whether the node finds so many actors of this name on the node of that name.
fn found(node: &mut Node, actor: &str, name: &str, expected: u64) -> Result<(), String> {
    let found = node.ask(&format!("child {actor} found {name} 0"));
    if found["answer"] == json!(expected) { Ok(()) } else { Err(found.to_string()) }
}

fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_default()
}

#[test]
fn calls_by_key_wait_for_an_actor_that_is_restarted_and_what_was_in_its_mailbox_has_died() {
    let mut nodes = nodes("plain");
    let owner = nodes[1].name().to_owned();
    let [other, own] = &mut nodes[..] else { panic!("two") };
    // In its mailbox: a second of work, the failure, and a call behind them.
    other.ask(&format!("child phoenix work {owner} 0"));
    other.ask(&format!("child phoenix fail {owner} 0"));
    let behind = other.ask(&format!("child phoenix started {owner} 20000"));
    assert!(error(&behind).contains("ended or dropped the call"), "{behind}");
    assert_eq!(behind["may_have_arrived"], json!(true));
    // It is down for two seconds more. A call of each node waits.
    let commands = ["first", "second"].map(|which| format!("child phoenix started {owner} 20000 {which}"));
    for (node, command) in [&mut *other, &mut *own].into_iter().zip(&commands) {
        node.send_command(command);
    }
    for (node, command) in [&*other, &*own].into_iter().zip(&commands) {
        let answer = node.replied(command).value;
        assert_eq!(answer["answer"], json!(2), "by the second start: {answer}");
        assert!(answer["took_ms"].as_u64() >= Some(1_000), "it was kept: {answer}");
        report(&format!("a call by key to an actor that is restarted within 2 s: {answer}"));
    }
    // The same with less time than that: it is only kept, by the inbox of the owner, and its sender hears so.
    other.ask(&format!("child phoenix fail {owner} 0 again"));
    eventually("the actor is down", || found(own, "phoenix", &owner, 0));
    let command = format!("child phoenix started {owner} 1400");
    for node in [&mut *other, &mut *own] {
        node.send_command(&command);
    }
    for node in [&*other, &*own] {
        let kept = node.replied(&command).value;
        assert_eq!(kept["may_have_arrived"], json!(false), "{kept}");
        assert!(error(&kept).contains(&format!("(last sent to {owner} in the view ")), "{kept}");
        assert!(error(&kept).contains("it was not handled, so it may be sent again"), "{kept}");
    }
    let third = other.ask(&format!("child phoenix started {owner} 20000 third"));
    assert_eq!(third["answer"], json!(3), "no sooner and no later: {third}");
    // One that ends by itself is not started again: its callers hear so at once.
    other.ask(&format!("child phoenix end {owner} 0"));
    for node in [other, own] {
        eventually("no actor is there", || {
            let answer = node.ask(&format!("child phoenix started {owner} 20000"));
            let is_reported =
                error(&answer).contains("no actor is registered as") && error(&answer).contains(&owner);
            if is_reported && answer["may_have_arrived"] == json!(false) { Ok(()) } else { Err(answer) }
        });
    }
}

#[test]
fn the_name_of_an_actor_that_dies_is_withdrawn_on_all_nodes_and_callers_hear_so_at_once() {
    let mut nodes = nodes("plain");
    let owner = nodes[1].name().to_owned();
    nodes[0].ask(&format!("child mortal fail {owner} 0"));
    for node in &mut nodes {
        eventually("the name is withdrawn", || found(node, "mortal", &owner, 0));
        let answer = node.ask(&format!("child mortal started {owner} 20000"));
        for part in ["no actor is registered as \"mortal\"", owner.as_str()] {
            assert!(error(&answer).contains(part), "{part}: {answer}");
        }
        assert!(answer["took_ms"].as_u64() < Some(10_000), "the limit is twice that: {answer}");
        assert_eq!(answer["may_have_arrived"], json!(false));
    }
    let still = nodes[0].ask(&format!("child phoenix started {owner} 20000"));
    assert_eq!(still["answer"], json!(1), "the other actor of that node goes on: {still}");
}

#[test]
fn the_end_of_a_vital_actor_is_a_restart_of_its_node_for_the_others_and_calls_by_key_go_on() {
    let mut nodes = nodes("vital");
    let owner = nodes[1].name().to_owned();
    let [other, own] = &mut nodes[..] else { panic!("two") };
    let incarnation = |node: &mut Node| node.ask("claims 1")["me"].clone();
    let (before, mark) = (incarnation(own), other.mark());
    other.ask(&format!("child phoenix fail {owner} 0"));
    other.wait_for_notice("that the node is gone", mark, |notice| notice.has_change("node_down", &owner));
    // It joins when its actor has started again, and then a key of its own is answered by it.
    let calls = [0, 1].map(|number| format!("child phoenix started {owner} 20000 {number}"));
    eventually("the node is back, and its actor answers", || {
        let answers = calls.each_ref().map(|call| other.ask(call)["answer"].clone());
        if answers == [json!(2), json!(2)] { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    let after = incarnation(own);
    assert_ne!(before, after, "another incarnation");
    assert_eq!(own.log().count("this node begins anew"), 1, "one line");
    report(&format!("a vital actor failed: {before} went, and {after} came"));
}

/// It is sent again to the next owner, whose actor is being restarted: the first may have handled it all the same.
#[test]
fn a_call_that_may_be_repeated_and_is_not_answered_is_uncertain_of_the_node_whose_link_was_lost() {
    let mut nodes = nodes("plain");
    let (mut owner, mut other) = (nodes.pop().expect("two"), nodes.pop().expect("two"));
    let (name, own_name) = (owner.name().to_owned(), other.name().to_owned());
    other.ask(&format!("child phoenix fail {own_name} 0"));
    eventually("its actor is down", || found(&mut other, "phoenix", &own_name, 0));
    other.ask(&format!("child phoenix work {name} 0"));
    let call = format!("child phoenix started-again {name} 1500");
    other.send_command(&call);
    // It is in the mailbox, behind a second of work.
    std::thread::sleep(std::time::Duration::from_millis(300));
    owner.kill();
    let answer = other.replied(&call).value;
    assert_eq!(answer["may_have_arrived"], json!(true), "{answer}");
    assert!(answer["took_ms"].as_u64() >= Some(1_500), "the next owner was waited for: {answer}");
    for part in ["the link was lost before \"phoenix\" on ", &name, "in the view"] {
        assert!(error(&answer).contains(part), "{part}: {answer}");
    }
}
