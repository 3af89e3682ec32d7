//! Containers of one compose service, of the unchanged quickstart or another example, find each other by the name of the service.
//!
//! These tests build an image and start containers, so they run only where `CLOISTER_TEST_REQUIRE` lists `docker`.

mod carts;
mod faults;
mod majority;
mod node;
mod project;
mod slow_dns;
mod workers;

use std::time::{Duration, Instant};

use cloister_integration::{eventually_within, report, required};
use cloister_json::{Readiness, Tables};
use node::{Node, View};
use project::Project;

/// How long containers that run may take to agree.
const AGREED_WITHIN: Duration = Duration::from_secs(5);

/// How long anything may take that is not measured.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_service_scaled_from_three_to_five_to_two_has_one_view_at_each_size() {
    if !required("docker", "a_service_scaled_from_three_to_five_to_two_has_one_view_at_each_size") {
        return;
    }
    let project = Project::new("scale", &[]);

    scale(&project, 3);
    let three = agreed(&project.nodes(), 3);
    eventually_within("healthy", WAIT_TIMEOUT, || {
        let health: Vec<String> = project.nodes().iter().map(Node::health).collect();
        if health.iter().all(|health| health == "healthy") { Ok(()) } else { Err(health) }
    });

    scale(&project, 5);
    let five = agreed(&project.nodes(), 5);
    assert!(five.epoch > three.epoch, "the epoch must rise: {three:?}, then {five:?}");

    let mut nodes = project.nodes();
    let leaver = nodes.pop().expect("five nodes run");
    let name = leaver.name();
    let events = nodes[0].events();
    report(&format!("docker stop took {} ms", leaver.stop().as_millis()));
    assert_eq!(leaver.exit_code(), 0, "a node that is told to stop leaves in time, and is not killed");
    let reason = events.reason_of_departure(&name, WAIT_TIMEOUT);
    assert_eq!(reason, "left", "docker stop is a graceful leave");
    leaver.remove();
    let four = agreed(&nodes, 4);
    assert!(four.epoch > five.epoch, "the epoch must rise: {five:?}, then {four:?}");

    scale(&project, 2);
    let two = agreed(&project.nodes(), 2);
    assert!(two.epoch > four.epoch, "the epoch must rise: {four:?}, then {two:?}");
}

#[test]
fn two_of_three_claim_nothing_until_the_third_is_back() {
    if !required("docker", "two_of_three_claim_nothing_until_the_third_is_back") {
        return;
    }
    let project = Project::new("consensus", &["consensus-three.yaml"]);
    scale(&project, 3);
    let before = agreed(&project.nodes(), 3);

    let mut nodes = project.nodes();
    let third = nodes.pop().expect("three nodes run");
    third.stop();
    eventually_within("both say what is missing", WAIT_TIMEOUT, || {
        for node in &nodes {
            let ready = node.get("/readyz")?;
            if ready.code != 503 || ready.parsed::<Readiness>()?.missing.is_empty() {
                return Err(format!("/readyz of {node} says {ready:?}"));
            }
            let view = node.view()?;
            if view.is_up() || view.is_sentry {
                return Err(format!("/members of {node} says {view:?}"));
            }
        }
        Ok(())
    });

    scale(&project, 3);
    let after = agreed(&project.nodes(), 3);
    assert!(after.epoch > before.epoch, "the epoch must rise: {before:?}, then {after:?}");
}

/// Runs this many containers, no matter how many ran before.
fn scale(project: &Project, size: usize) {
    report(&format!("compose took {} ms to scale to {size}", project.scale(size).as_millis()));
}

/// The one view of all these nodes, and no other node. They must come to it in time, with one sentry, and with one
/// owner for each key.
fn agreed(nodes: &[Node], size: usize) -> View {
    assert_eq!(nodes.len(), size, "compose runs as many containers as it was told to: {nodes:?}");
    let started = Instant::now();
    let view = eventually_within("one view", AGREED_WITHIN, || {
        let views: Vec<View> = nodes.iter().map(Node::view).collect::<Result<_, String>>()?;
        let one = views.iter().all(|view| view.is_up() && view.same_as(&views[0]));
        let sentries = views.iter().filter(|view| view.is_sentry).count();
        if one && sentries == 1 && views[0].members.len() == size {
            Ok(views[0].clone())
        } else {
            Err(format!("{views:#?}"))
        }
    });
    report(&format!("{size} containers agree {} ms after compose was done", started.elapsed().as_millis()));

    for key in ["a", "user/7", "0123456789", "key"] {
        let claims: Vec<node::Claim> = nodes.iter().map(|node| node.whois(key)).collect();
        let owner = &claims[0].owner;
        assert!(claims.iter().all(|claim| claim.owner == *owner), "one owner of {key}: {claims:?}");
        assert_eq!(claims.iter().filter(|claim| claim.is_mine).count(), 1, "one node owns {key}: {claims:?}");
        assert!(view.members.contains(owner), "the owner of {key} is a member of {view:?}");
    }
    view
}

/// Waits until every slot of all tables has all its copies. Nothing must be lost.
fn replicated(nodes: &[Node]) {
    eventually_within("all copies are there", WAIT_TIMEOUT, || {
        for node in nodes {
            let tables: Tables = node.get("/tables")?.parsed()?;
            for table in tables.tables {
                assert_eq!(table.lost, 0, "slots of {} at {node}", table.name);
                if table.under_replicated > 0 {
                    return Err(format!("{} slots of {} at {node}", table.under_replicated, table.name));
                }
            }
        }
        Ok(())
    });
}
