//! `cargo cloister run --commands`.

use std::fs;

use cloister_testkit::obedient::eventually;

use crate::tool::{Tool, wait_until_gone};

/// Waits until the state of a process in `/proc` is, or is not, that of a stopped one.
fn wait_until_paused(pid: i32, paused: bool) {
    let is_paused = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    let what = if paused { "it is paused" } else { "it goes on" };
    eventually(what, || (is_paused() == paused).then_some(()).ok_or("not yet"));
}

/// Waits until the node that was just started can hear SIGTERM; returns the line of the tool about it.
fn wait_for_start(tool: &mut Tool, node: &str) -> String {
    let started = tool.wait_for(&format!("cloister | {node} started: pid "));
    let pid = started.split("pid ").nth(1).unwrap().split(',').next().unwrap();
    tool.wait_for(&format!("{node}   | pid {pid}"));
    started
}

#[test]
fn a_node_is_killed_and_started_again_where_it_was() {
    let mut tool = Tool::commanded(3, "");
    let pids = tool.wait_for_nodes(3);
    let row = tool.lines()[3].clone();
    tool.type_line("k3");
    tool.wait_for("cloister | node-3 was killed by command: signal 9 (SIGKILL)");
    wait_until_gone(&pids[2..]);
    tool.type_line("k3");
    tool.wait_for("node-3 does not run: r3 starts it");
    tool.type_line("k2");
    tool.wait_for("cloister | node-2 was killed by command: signal 9 (SIGKILL)");
    tool.type_line("restart 3");
    let started = wait_for_start(&mut tool, "node-3");
    let address = row.split_whitespace().nth(2).unwrap();
    assert!(started.contains(&format!(", {address}, http://")), "{started} / {row}");
    tool.end_input();
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("the commands have ended: stopping all nodes");
    tool.wait_for("2 of 3 nodes stopped well, 1 killed by command");
}

#[test]
fn a_restart_of_a_running_node_stops_it_first() {
    let mut tool = Tool::commanded(2, "");
    let pids = tool.wait_for_nodes(2);
    tool.type_line("r1");
    tool.wait_for("cloister | node-1 ended: exit status 0");
    let started = wait_for_start(&mut tool, "node-1");
    assert!(!started.contains(&format!("pid {},", pids[0])), "{started}");
    tool.wait_for("node-1   | pid ");
    tool.type_line("q");
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    assert_eq!(tool.count("cloister | node-1 ended: "), 2, "{}", tool.text());
    tool.wait_for("cloister | q: stopping all nodes; Ctrl-C kills them");
    tool.wait_for("2 of 2 nodes stopped well");
}

#[test]
fn a_node_is_paused_goes_on_and_stops_also_while_it_is_paused() {
    let mut tool = Tool::commanded(2, "");
    let pids = tool.wait_for_nodes(2);
    tool.type_line("p2");
    tool.wait_for("node-2 paused: p2 lets it go on");
    wait_until_paused(pids[1], true);
    tool.type_line("l");
    tool.wait_for(&format!("{} (paused)", pids[1]));
    tool.type_line("p2");
    tool.wait_for("node-2 goes on");
    wait_until_paused(pids[1], false);
    tool.type_line("p2");
    wait_until_paused(pids[1], true);
    tool.type_line("s2");
    tool.wait_for("node-2 ended: exit status 0");
    tool.end_input();
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
}

#[test]
fn nodes_are_added_and_removed() {
    let mut tool = Tool::commanded(2, "");
    tool.wait_for_nodes(2);
    let seeds = tool.wait_for("node-1   | seeds ").replace("node-1", "node-3");
    tool.type_line("+");
    wait_for_start(&mut tool, "node-3");
    tool.wait_for("node-3   | number 3 ");
    assert!(tool.lines().contains(&seeds), "the seeds stay the same: {}", tool.text());
    tool.type_line("-");
    tool.wait_for("node-3 ended: exit status 0");
    tool.type_line("-");
    tool.wait_for("node-2 ended: exit status 0");
    tool.end_input();
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("3 of 3 nodes stopped well");
}

#[test]
fn the_tool_waits_for_the_next_command_when_all_nodes_were_stopped() {
    let mut tool = Tool::commanded(1, "");
    tool.wait_for_nodes(1);
    tool.type_line("s1");
    tool.wait_for("node-1 ended: exit status 0");
    tool.type_line("+");
    wait_for_start(&mut tool, "node-1");
    tool.type_line("what");
    tool.wait_for("`what` is no command: k3 kills node 3");
    tool.type_line("s7");
    tool.wait_for("there is no node-7");
    tool.end_input();
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
}

#[test]
fn a_node_that_fails_beside_the_commands_is_a_failure() {
    let mut tool = Tool::commanded(2, "2:exit=3");
    tool.wait_for("node-2 ended by itself: exit status 3");
    tool.end_input();
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
}
