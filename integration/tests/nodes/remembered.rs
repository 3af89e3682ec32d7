//! Processes that restart and remember: `state_file`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_integration::{Block, Node, Plan, Record, agree, eventually, report, start_all};

/// How much longer those that remember are watched than those that do not take to begin.
const LONGER: Duration = Duration::from_secs(4);

/// Three nodes that are up, each with a file in this directory if there is one.
fn three(ips: &[Ipv4Addr], files: Option<&Path>) -> (Vec<Plan>, Vec<Node>) {
    let plans: Vec<Plan> = Plan::list(ips).into_iter().map(|plan| with_file(plan, files)).collect();
    let nodes = start_all(&plans);
    agree(&nodes);
    (plans, nodes)
}

fn with_file(plan: Plan, files: Option<&Path>) -> Plan {
    match files {
        Some(files) => {
            let file = files.join(plan.address());
            plan.set("STATE_FILE", file.display())
        }
        None => plan,
    }
}

/// The first is stopped as a whole; the others are killed, and start again with only each other as their seeds.
fn restart_two(ips: &[Ipv4Addr], files: Option<&Path>) -> Vec<Node> {
    let (_, mut nodes) = three(ips, files);
    nodes.iter_mut().for_each(Node::watch);
    nodes[0].signal("STOP");
    for node in &mut nodes[1..] {
        node.kill();
    }
    let again = ips[1..].iter().map(|ip| with_file(Plan::at(*ip).seeds(&ips[1..]), files));
    let mut again: Vec<Node> = again.map(|plan| Node::start(&plan)).collect();
    again.iter_mut().for_each(Node::watch);
    nodes.truncate(1);
    nodes.into_iter().chain(again).collect()
}

/// What `/readyz` says is missing.
fn missing(node: &Node) -> String {
    node.readiness().missing.join("; ")
}

#[test]
fn two_of_three_that_restart_out_of_reach_of_the_third_wait_for_it_if_they_remember_it() {
    let block = Block::new(6);
    let ips = block.ips();
    let home = tempfile::tempdir().expect("a directory");
    let mut with = restart_two(&ips[..3], Some(home.path()));
    let without = restart_two(&ips[3..], None);
    // The hole that the README speaks of: the third goes on when it is reachable again, and these two are a cluster beside it.
    let (second, _) = agree(&without[1..]);
    assert_eq!(second.members.len(), 2);
    std::thread::sleep(LONGER);
    for node in &with[1..] {
        assert!(!node.notices().iter().any(|notice| notice.is_up()), "{} has begun a cluster", node.name());
        let why = eventually("it says why", || match missing(node) {
            why if why.contains("may still be a cluster") => Ok(why),
            why => Err(why),
        });
        assert!(why.contains("the state file remembers a view of"), "{why}");
        assert!(why.contains(&format!("it@{}:4370 (unreachable)", ips[0])), "{why}");
        assert!(why.contains("Remove the state file of this node and restart it"), "{why}");
        report(&format!("{}: {why}", node.name()));
    }
    // No seed of theirs names it: they look for it because they remember it.
    with[0].signal("CONT");
    agree(&with);
    let mut record = Record::default();
    record.add_all(&mut with);
    record.check();
    without[0].signal("CONT");
}

#[test]
fn a_cluster_whose_processes_are_all_killed_comes_up_again() {
    let home = tempfile::tempdir().expect("a directory");
    let ips = Block::new(3).ips();
    let (plans, mut nodes) = three(&ips, Some(home.path()));
    let (before, _) = agree(&nodes);
    for node in &mut nodes {
        node.kill();
    }
    let (after, _) = agree(&start_all(&plans));
    assert!(after.epoch > before.epoch);
}

#[test]
fn a_node_that_left_in_order_joins_again_and_its_file_says_so() {
    let home = tempfile::tempdir().expect("a directory");
    let ips = Block::new(3).ips();
    let (plans, mut nodes) = three(&ips, Some(home.path()));
    let file = home.path().join(plans[2].address());
    let up = fs::read(&file).expect("it keeps what it remembers");
    let mut leaver = nodes.remove(2);
    leaver.signal("TERM");
    assert!(leaver.wait().success());
    assert_ne!(fs::read(&file).expect("it is there"), up, "that it left is remembered");
    agree(&nodes);
    nodes.push(Node::start(&plans[2]));
    agree(&nodes);
}

/// A directory where the file must be written first takes the place of a disk that is full.
#[test]
fn a_node_that_cannot_write_its_file_says_so_once_and_the_others_go_on_without_it() {
    let home = tempfile::tempdir().expect("a directory");
    let ips = Block::new(4).ips();
    let (_, mut nodes) = three(&ips[..3], Some(home.path()));
    let file = home.path().join(nodes[2].address().to_string());
    let in_the_way = home.path().join(format!("{}.new", nodes[2].address()));
    // The node may be writing its file: then the name is taken until that is renamed.
    eventually("no file is being written", || fs::create_dir(&in_the_way).map_err(|error| error.to_string()));
    let broken = nodes.remove(2);
    nodes.push(Node::start(&with_file(Plan::at(ips[3]).seeds(&ips[..3]), Some(home.path()))));
    agree(&nodes);
    let why = eventually("it says why", || match missing(&broken) {
        why if why.contains("the state file cannot be written") => Ok(why),
        why => Err(why),
    });
    assert!(why.contains(&format!("state_file {}: cannot be written: ", file.display())), "{why}");
    // It has tried again meanwhile.
    std::thread::sleep(LONGER);
    let warned = broken.log().count("what this node must remember cannot be written");
    assert_eq!(warned, 1, "{:#?}", broken.log().lines());

    fs::remove_dir(&in_the_way).expect("it is empty");
    nodes.push(broken);
    agree(&nodes);
}

/// Starts a node that must end by itself, and returns what it logged.
fn refused(plan: &Plan) -> String {
    let mut node = Node::start(plan);
    assert!(!node.wait().success(), "{} starts", node.name());
    node.log().lines().join("\n")
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start_and_says_which_and_why() {
    let home = tempfile::tempdir().expect("a directory");
    let ips = Block::new(2).ips();
    let at = |path: &PathBuf| Plan::at(ips[0]).set("STATE_FILE", path.display());
    let foreign = home.path().join("foreign");
    fs::write(&foreign, "name = \"shop\"\n").expect("a file");
    let damaged = home.path().join("damaged");
    fs::write(&damaged, "cloister state 1 it\nsha256 00\n").expect("a file");
    let nowhere = home.path().join("nowhere").join("state");
    let cases = [
        (&foreign, "is not a state file: name another path"),
        (&damaged, "is damaged (its checksum does not fit)"),
        (&nowhere, "create it, in a container as a mounted volume"),
    ];
    for (path, why) in cases {
        let error = refused(&at(path));
        assert!(error.contains(&format!("state_file {}", path.display())), "{error}");
        assert!(error.contains(why), "{error}");
    }

    let path = home.path().join("state");
    let node = Node::start(&at(&path));
    node.wait_for_notice("up alone", 0, |notice| notice.is_up());
    let error = refused(&Plan::at(ips[1]).set("STATE_FILE", path.display()));
    assert!(error.contains("another process uses it"), "{error}");
}
