//! What befalls containers: they are killed, paused, cut off, moved and restarted, and their name server fails.

use std::time::{Duration, Instant};

use cloister_integration::{Budget, eventually_within, required};

use crate::node::Node;
use crate::project::{Project, nft, run};
use crate::slow_dns::SlowDns;
use crate::{WAIT_TIMEOUT, agreed, scale};

/// How long the others, and then all, may take to agree, on an idle machine.
const WITHIN: Budget = Budget::millis(6000);

/// For how long a name server says nothing.
const OUTAGE: Duration = Duration::from_secs(15);

/// How late its answers are. A node asks it twice: for its own address, and for those of the others.
const LATE: Duration = Duration::from_millis(2500);

#[test]
fn containers_that_are_killed_paused_or_restarted_are_left_out_and_come_back() {
    if !required("docker", "containers_that_are_killed_paused_or_restarted_are_left_out_and_come_back") {
        return;
    }
    let project = Project::new("faults", &[]);
    scale(&project, 3);
    agreed(&project.nodes(), 3);
    // Each time another one, the sentry among them.
    for (at, (harm, heal)) in [("kill", "start"), ("pause", "unpause")].into_iter().enumerate() {
        let mut others = project.nodes();
        let victim = others.remove(at).container().to_owned();
        let began = Instant::now();
        run(&["docker", harm, &victim]);
        measured(&format!("docker {harm}: two agree"), &others, 2, began);
        let began = Instant::now();
        run(&["docker", heal, &victim]);
        measured(&format!("docker {heal}: all agree"), &project.nodes(), 3, began);
    }
    let victim = project.nodes()[2].container().to_owned();
    run(&["docker", "restart", &victim]);
    measured("docker restart: all agree", &project.nodes(), 3, Instant::now());
}

#[test]
fn a_container_that_loses_its_network_and_gets_another_address_comes_back() {
    if !required("docker", "a_container_that_loses_its_network_and_gets_another_address_comes_back") {
        return;
    }
    let project = Project::new("moved", &[]);
    scale(&project, 3);
    agreed(&project.nodes(), 3);
    let network = project.network();
    for at in 0..3 {
        let mut others = project.nodes();
        let victim = others.remove(at);
        let (container, before) = (victim.container().to_owned(), victim.address());
        let began = Instant::now();
        run(&["docker", "network", "disconnect", &network, &container]);
        measured("docker network disconnect: two agree", &others, 2, began);
        // Another container has taken its address.
        let squatters = project.squatters(&before);
        let began = Instant::now();
        run(&["docker", "network", "connect", "--alias", "app", &network, &container]);
        let nodes = project.nodes();
        let after = nodes.iter().find(|node| node.container() == container).map(Node::address);
        assert_ne!(after.as_ref(), Some(&before), "it has another address");
        measured(&format!("docker network connect, {before} is now {after:?}: all agree"), &nodes, 3, began);
        for squatter in squatters {
            run(&["docker", "rm", "--force", &squatter]);
        }
    }
}

#[test]
fn containers_whose_name_server_is_silent_stay_together_and_are_found_by_a_newcomer() {
    if !required("docker", "containers_whose_name_server_is_silent_stay_together_and_are_found_by_a_newcomer")
    {
        return;
    }
    let project = Project::new("silent", &[]);
    scale(&project, 3);
    let nodes = project.nodes();
    let before = agreed(&nodes, 3);
    for node in &nodes {
        silence(node);
    }
    std::thread::sleep(OUTAGE);
    let after = agreed(&nodes, 3);
    assert_eq!(after.epoch, before.epoch, "no node is moved");
    let began = Instant::now();
    scale(&project, 4);
    measured("a fourth, while three have no name server: all agree", &project.nodes(), 4, began);
}

/// Drops what the name server of the engine answers to this container.
fn silence(node: &Node) {
    nft(
        node,
        "table inet cloister {
            chain in {
                type filter hook input priority -300
                ip saddr 127.0.0.11 drop
            }
        }",
    );
}

#[test]
fn containers_whose_name_server_is_late_find_each_other_and_a_newcomer_finds_them() {
    if !required("docker", "containers_whose_name_server_is_late_find_each_other_and_a_newcomer_finds_them") {
        return;
    }
    let project = Project::new("late", &["waits.yaml"]);
    let slow = SlowDns::new(LATE);
    scale(&project, 3);
    let nodes = project.nodes();
    for node in &nodes {
        slow.delay(node);
    }
    let began = Instant::now();
    nodes.iter().for_each(begin);
    measured(&format!("three, each answer of DNS {LATE:?} late: all agree"), &nodes, 3, began);
    assert!(began.elapsed() >= LATE, "no node is found before the first answer");
    let before = agreed(&nodes, 3);
    std::thread::sleep(OUTAGE);
    assert_eq!(agreed(&nodes, 3).epoch, before.epoch, "no node is moved");

    scale(&project, 4);
    let nodes = project.nodes();
    let newcomer = nodes.iter().find(|node| node.view().is_err()).expect("one has not begun");
    slow.delay(newcomer);
    let began = Instant::now();
    begin(newcomer);
    measured(&format!("a fourth, each answer of DNS {LATE:?} late: all agree"), &nodes, 4, began);
}

/// Lets the program of a container begin that waits for it.
fn begin(node: &Node) {
    run(&["docker", "exec", node.container(), "touch", "/tmp/begin"]);
}

/// Waits until these agree, and says how long it took since a moment.
fn measured(what: &str, nodes: &[Node], size: usize, since: Instant) {
    eventually_within(what, WAIT_TIMEOUT, || {
        let views: Vec<_> = nodes.iter().map(Node::view).collect::<Result<_, String>>()?;
        let one = views.iter().all(|view| view.is_up() && view.same_as(&views[0]));
        if one && views[0].members.len() == size { Ok(()) } else { Err(format!("{views:#?}")) }
    });
    WITHIN.meet(what, since.elapsed());
    agreed(nodes, size);
}
