//! `cargo cloister test`.

use rustix::process::Signal;

use crate::tool::{Tool, wait_until_gone};

#[test]
fn a_good_cluster_passes_every_check() {
    let mut tool = Tool::fake("test", 3, "", &[]);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    for n in 1..=3 {
        tool.wait_for(&format!("ok   node-{n} is ready after "));
        tool.wait_for(&format!("ok   node-{n} stopped when told to: exit status 0"));
    }
    tool.wait_for("ok   all 3 nodes tell the same epoch: 1867000000000000007");
    tool.wait_for("ok   all 3 nodes tell the same sentry: app@127.0.0.1:");
    tool.wait_for("ok   all 3 nodes tell the same number of members: 3");
    tool.wait_for("cloister | 9 passed, 0 failed");
}

#[test]
fn a_node_that_is_not_ready_in_time_fails_with_its_own_words() {
    let mut tool = Tool::fake("test", 2, "2:unready", &["--within", "8s"]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("ok   node-1 is ready");
    tool.wait_for("FAIL node-2 is not ready in time: status 503, {\"status\":\"assembling\"");
    tool.wait_for("3 passed, 1 failed");
}

#[test]
fn a_node_that_dies_early_ends_the_wait() {
    let mut tool = Tool::fake("test", 2, "1:unready,2:exit=3", &["--within", "50s"]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("FAIL all nodes are ready: node-2 ended by itself: exit status 3");
    tool.wait_for("node-1 stopped when told to: ");
    tool.wait_for("FAIL node-2 stopped by itself: exit status 3");
}

#[test]
fn two_epochs_fail() {
    let mut tool = Tool::fake("test", 2, "2:epoch=8", &["--within", "8s"]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for(
        "FAIL all nodes tell the same epoch: node-1 1867000000000000007, node-2 1867000000000000008",
    );
    tool.wait_for("ok   all 2 nodes tell the same sentry");
}

#[test]
fn a_bad_stop_fails() {
    let mut tool = Tool::fake("test", 2, "1:stop=4", &[]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("FAIL node-1 stopped when told to: exit status 4");
}

#[test]
fn ctrl_c_ends_a_test_as_failed_and_leaves_nothing() {
    let mut tool = Tool::fake("test", 2, "unready", &[]);
    let pids = tool.wait_for_nodes(2);
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("FAIL all nodes are ready: stopped by Ctrl-C");
    wait_until_gone(&pids);
}
