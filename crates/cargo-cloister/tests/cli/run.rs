//! `cargo cloister run`.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use cloister_testkit::obedient::until;
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{Tool, fake_command, fake_node, free_port, program, wait_until_gone};

#[test]
fn three_nodes_know_each_other_and_stop_well_on_ctrl_c() {
    let mut tool = Tool::fake("run", 3, "", &["--env", "GREETING=hello", "--", "--an", "argument"]);
    let pids = tool.wait_for_nodes(3);
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    wait_until_gone(&pids);

    let seeds = tool.wait_for("node-1   | seeds ");
    let seeds: Vec<_> = seeds.rsplit(' ').next().unwrap().split(',').collect();
    assert_eq!(seeds.len(), 3, "{seeds:?}");
    for (n, seed) in (1..).zip(&seeds) {
        let (host, port) = seed.split_once(':').unwrap();
        tool.wait_for(&format!("node-{n}   | seeds {}", seeds.join(",")));
        tool.wait_for(&format!("node-{n}   | host {host} port {port}"));
        tool.wait_for(&format!("node-{n}   | greeting hello"));
        tool.wait_for(&format!("node-{n}   | arguments [\"--an\", \"argument\"]"));
        tool.wait_for(&format!("node-{n}   | a word on stderr"));
        tool.wait_for(&format!("cloister | node-{n} ended: exit status 0"));
        let heard =
            tool.lines().iter().filter(|line| **line == format!("node-{n}   | SIGTERM heard")).count();
        assert_eq!(heard, 1, "SIGTERM is passed on once: {}", tool.text());
    }
    assert!(tool.lines()[0].starts_with("node "), "the table of nodes comes first: {}", tool.text());
    assert!(
        tool.lines()[1].contains(seeds[0]) && tool.lines()[1].contains("http://127.0.0.1:"),
        "{}",
        tool.text()
    );
    assert!(!tool.text().contains('\x1b'), "no colour where there is no terminal");
    tool.wait_for("3 of 3 nodes stopped well");
}

#[test]
fn the_table_has_pids_addresses_and_variables_of_the_number() {
    let mut tool =
        Tool::fake("run", 2, "", &["--env", "PORT={3000+n}", "--env", "GREETING=node {n} of {\"a\":1}"]);
    let pids = tool.wait_for_nodes(2);
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&tool.lines()[0]), ["node", "pid", "address", "admin", "PORT", "GREETING"]);
    for (n, pid) in (1..).zip(pids) {
        let row = words(&tool.lines()[n]);
        assert_eq!(row[..2], [format!("node-{n}"), pid.to_string()]);
        assert_eq!(row[4], format!("{}", 3000 + n));
        tool.wait_for(&format!("node-{n}   | number {n} port {}", 3000 + n));
        tool.wait_for(&format!("node-{n}   | greeting node {n} of {{\"a\":1}}"));
    }
}

#[test]
fn a_node_that_is_stopped_from_outside_in_order_has_left() {
    let mut tool = Tool::fake("run", 2, "", &[]);
    let pids = tool.wait_for_nodes(2);
    kill_process(Pid::from_raw(pids[1]).unwrap(), Signal::TERM).unwrap();
    tool.wait_for("cloister | node-2 left: exit status 0");
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("2 of 2 nodes stopped well");
}

#[test]
fn sigterm_and_sighup_stop_gracefully_too() {
    for signal in [Signal::TERM, Signal::HUP] {
        let mut tool = Tool::fake("run", 2, "", &[]);
        tool.wait_for_nodes(2);
        tool.signal(signal);
        assert_eq!(tool.exit_code(), 0, "{}", tool.text());
        tool.wait_for("2 of 2 nodes stopped well");
    }
}

#[test]
fn a_node_that_dies_is_reported_at_once_and_the_others_go_on() {
    let mut tool = Tool::fake("run", 3, "2:exit=3", &[]);
    tool.wait_for("cloister | node-2 ended by itself: exit status 3");
    let said = tool.lines().iter().position(|line| line == "node-2   | last words").unwrap();
    let reported = tool.lines().iter().position(|line| line.contains("node-2 ended by itself")).unwrap();
    assert!(said < reported, "its last words come before its end: {}", tool.text());
    let pid = tool.wait_for("node-1   | pid ").rsplit(' ').next().unwrap().parse().unwrap();
    tool.wait_for("node-3   | pid ");

    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    tool.wait_for("cloister | node-1 was killed from outside: signal 9 (SIGKILL)");
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("cloister | node-3 ended: exit status 0");
    tool.wait_for("1 of 3 nodes stopped well");
}

#[test]
fn when_all_nodes_have_ended_by_themselves_so_does_the_tool() {
    let mut tool = Tool::fake("run", 2, "1:exit=0,2:crash", &[]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("node-1 left: exit status 0");
    tool.wait_for("node-2 ended by itself: signal 6 (SIGABRT)");
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let mut tool = Tool::fake("run", 2, "2:stubborn", &[]);
    let pids = tool.wait_for_nodes(2);
    tool.signal(Signal::INT);
    tool.wait_for("node-1 ended: exit status 0");
    tool.wait_for("node-2   | SIGTERM heard");
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("cloister | Ctrl-C again: killing node-2");
    tool.wait_for("node-2 ended: signal 9 (SIGKILL)");
    wait_until_gone(&pids);
}

#[test]
fn a_node_that_does_not_stop_within_its_time_is_killed() {
    let mut tool = Tool::fake("run", 2, "1:stubborn", &["--stop-timeout", "3s"]);
    let pids = tool.wait_for_nodes(2);
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("not stopped 3s after SIGTERM: killing node-1");
    tool.wait_for("node-1 ended: signal 9 (SIGKILL)");
    wait_until_gone(&pids);
}

#[test]
fn with_for_it_stops_by_itself_and_well() {
    let mut tool = Tool::fake("run", 2, "", &["--for", "5s"]);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("time is up");
}

#[test]
fn a_node_that_stops_with_an_error_is_not_well() {
    let mut tool = Tool::fake("run", 2, "2:stop=4", &[]);
    tool.wait_for_nodes(2);
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("node-2 ended: exit status 4");
    tool.wait_for("1 of 2 nodes stopped well");
}

#[test]
fn nodes_do_not_outlive_a_tool_that_is_killed() {
    // The child of the third node does not end by itself: it is killed when this time is over.
    let mut tool = Tool::fake("run", 3, "3:child", &["--stop-timeout", "3s"]);
    let mut pids = tool.wait_for_nodes(3);
    let child = tool.wait_for("node-3   | child ");
    pids.push(child.rsplit(' ').next().unwrap().parse().unwrap());
    tool.signal(Signal::KILL);
    wait_until_gone(&pids);
    assert!(tool.end().code().is_none());
    tool.wait_for("cargo-cloister has ended suddenly: stopping 3 nodes");
}

#[test]
fn what_a_node_has_started_does_not_outlive_it() {
    let mut tool = Tool::fake("run", 1, "child", &[]);
    let mut pids = tool.wait_for_nodes(1);
    pids.push(tool.wait_for("node-1   | child ").rsplit(' ').next().unwrap().parse().unwrap());
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    wait_until_gone(&pids);
}

#[test]
fn lines_of_busy_nodes_stay_whole() {
    let mut tool = Tool::fake("run", 4, "noise", &[]);
    tool.wait_for_nodes(4);
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    for n in 1..=4 {
        for kind in ["out", "err"] {
            let prefix = format!("node-{n}   | {kind} ");
            let lines: Vec<_> =
                tool.lines().iter().filter(|line| line.starts_with(&prefix)).cloned().collect();
            let expected: Vec<_> = (0..1_000).map(|i| format!("{prefix}{i} ok")).collect();
            assert!(lines == expected, "node {n}, {kind}: {} lines", lines.len());
        }
        tool.wait_for(&format!("node-{n}   | no text: \u{fffd}\u{fffd}"));
    }
}

#[test]
fn colour_can_be_asked_for() {
    let mut tool = Tool::fake("run", 2, "", &["--color", "always"]);
    tool.wait_for("\x1b[0m\x1b[36mnode-1   |\x1b[0m pid ");
    tool.wait_for("\x1b[0m\x1b[33mnode-2   |\x1b[0m pid ");
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
}

#[test]
fn a_reader_that_goes_away_stops_the_nodes() {
    let mut tool = Tool::fake("run", 2, "chatty", &[]);
    let pids = tool.wait_for_nodes(2);
    tool.stop_reading();
    wait_until_gone(&pids);
    assert_eq!(tool.exit_code(), 0);
}

/// As `| less` does, or a collector of logs that hangs.
#[test]
fn a_reader_that_stalls_keeps_no_node_from_stopping() {
    let mut tool = fake_command("run", 2, "loud", &[]);
    let mut tool = tool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(tool.stdout.take().unwrap());
    let pid = |line: String| line.split_once("   | pid ").map(|(_, pid)| pid.trim().parse().unwrap());
    let pids: Vec<i32> = output.by_ref().lines().filter_map(|line| pid(line.unwrap())).take(2).collect();
    // Nothing more is read: the pipe is full, and so is what waits for it.
    until("no more is written", || {
        let before = ioctl_fionread(output.get_ref()).unwrap();
        sleep(Duration::from_millis(500));
        before > 0 && ioctl_fionread(output.get_ref()).unwrap() == before
    });
    kill_process(Pid::from_raw(tool.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    wait_until_gone(&pids);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("2 of 2 nodes stopped well"), "{rest}");
    assert_eq!(tool.wait().unwrap().code(), Some(0));
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
    let port = free_port();
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut tool = Tool::start(
        Command::new(program())
            .args(["run", "-n", "2", "--admin-port", &free_port().to_string()])
            .args(["--port", &port.to_string(), "--exe"])
            .arg(fake_node()),
    );
    assert_eq!(tool.exit_code(), 1);
    tool.wait_for(&format!("error: 127.0.0.1:{port} is taken by another program"));
}

#[test]
fn the_alias_of_the_seeds_in_the_shell_does_not_get_in_the_way() {
    let mut tool = Tool::start(
        Command::new(program())
            .env("CLOISTER__SENTRY", "elsewhere:1")
            .args(["run", "-n", "1", "--port", &free_port().to_string()])
            .args(["--admin-port", &free_port().to_string(), "--exe"])
            .arg(fake_node()),
    );
    tool.wait_for_nodes(1);
    tool.wait_for("sentry None");
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
}

#[test]
fn a_program_that_cannot_be_started_ends_it_all() {
    let home = tempfile::tempdir().unwrap();
    let program_without_interpreter = home.path().join("program");
    fs::write(&program_without_interpreter, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&program_without_interpreter, Permissions::from_mode(0o755)).unwrap();
    let mut tool = Tool::start(
        Command::new(program())
            .args(["run", "-n", "2", "--port", &free_port().to_string()])
            .args(["--admin-port", &free_port().to_string(), "--exe"])
            .arg(program_without_interpreter),
    );
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("node-1 could not be started: No such file or directory");
    tool.wait_for("0 of 2 nodes stopped well");
}
