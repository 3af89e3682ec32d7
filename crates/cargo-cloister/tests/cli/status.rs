//! `cargo cloister status`.

use std::process::Command;

use rustix::process::Signal;

use crate::tool::{Tool, free_port, program};

fn status(arguments: &[&str]) -> Tool {
    Tool::start(Command::new(program()).arg("status").args(arguments))
}

/// Two nodes, and the URL of the first.
fn two_nodes() -> (Tool, String) {
    let mut nodes = Tool::fake("run", 2, "", &[]);
    nodes.wait_for_nodes(2);
    let url = nodes.lines()[1].rsplit(' ').next().unwrap().to_owned();
    (nodes, url)
}

#[test]
fn a_node_is_asked_for_its_members_and_peers() {
    let (_nodes, url) = two_nodes();
    let mut tool = status(&[&url]);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("status     up");
    tool.wait_for("epoch      1867000000000000007");
    tool.wait_for("(this node)");
    let own = tool.lines().iter().filter(|line| line.starts_with("app@127.0.0.1:")).count();
    assert_eq!(own, 2, "once as member, once as peer: {}", tool.text());
    assert!(
        tool.lines().iter().any(|line| line.contains("linked") && line.contains("12 ms ago")),
        "{}",
        tool.text()
    );
}

#[test]
fn json_is_printed_as_it_came() {
    let (_nodes, url) = two_nodes();
    let mut tool = status(&["--json", &url]);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    let json: serde_json::Value = serde_json::from_str(&tool.text()).unwrap();
    assert_eq!(json["ring"]["mine"], 5461);
}

#[test]
fn watch_looks_again_until_ctrl_c() {
    let (mut nodes, url) = two_nodes();
    let mut tool = status(&["--watch", &url]);
    tool.wait_for("status     up");
    nodes.signal(Signal::INT);
    nodes.end();
    tool.wait_for("nothing answers at");
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
}

#[test]
fn a_place_where_nothing_answers_is_said_so() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let mut tool = status(&[&url]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for(&format!("error: nothing answers at {url}/members; is the node running"));
}
