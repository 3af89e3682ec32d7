//! A running `cargo-cloister`, read line by line with a generous deadline.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use cloister_testkit::loopback;
use cloister_testkit::obedient::eventually;
use cloister_testkit::process::Process;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Longer than anything here takes on the slowest machine.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cargo-cloister"))
}

/// The program that plays the node. `cargo test` builds examples too; `cargo test --test cli` does not.
pub(crate) fn fake_node() -> PathBuf {
    let path = program().with_file_name("examples").join("fake_node");
    assert!(path.exists(), "build the fixture first: cargo build -p cargo-cloister --example fake_node");
    path
}

/// A port that is free on 127.0.0.1 to 127.0.0.4, and never given out twice.
pub(crate) fn free_port() -> u16 {
    loopback::free_port(4)
}

/// The tool, killed at the end of the test if it still runs; its reaper then ends its nodes.
pub(crate) struct Tool {
    process: Process,
}

impl Tool {
    /// Starts it with these arguments.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        command.env_remove("NO_COLOR").stdin(stdin);
        Self { process: Process::start_merged(command, |line| line) }
    }

    /// `cargo cloister COMMAND`, as cargo calls it, for nodes that are `fake_node` with these quirks.
    pub(crate) fn fake(command: &str, nodes: u8, fake: &str, more: &[&str]) -> Self {
        Self::start(&mut fake_command(command, nodes, fake, more))
    }

    /// The same for `run --commands`: commands go in by [`Tool::type_line`].
    pub(crate) fn commanded(nodes: u8, fake: &str) -> Self {
        let mut command = fake_command("run", nodes, fake, &["--commands"]);
        Self::start_with(&mut command, Stdio::piped())
    }

    /// Writes a line to its stdin.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.process.write_line(line);
    }

    /// Closes its stdin.
    pub(crate) fn end_input(&mut self) {
        self.process.end_input();
    }

    /// How many lines that it has printed so far contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let line = self.process.output().find_within(STOP_TIMEOUT, find);
        line.unwrap_or_else(|| panic!("no `{text}` in:\n{}", self.text()))
    }

    /// Waits until all of `nodes` are running and able to hear SIGTERM; returns their process ids.
    pub(crate) fn wait_for_nodes(&mut self, nodes: u8) -> Vec<i32> {
        (1..=nodes)
            .map(|n| {
                let line = self.wait_for(&format!("node-{n}   | pid "));
                line.rsplit(' ').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    /// Closes the pipe at the tool's next line, as `| head` does.
    pub(crate) fn stop_reading(&self) {
        self.process.output().stop_reading();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }

    /// Waits until it has ended and everything is printed.
    pub(crate) fn end(&mut self) -> ExitStatus {
        assert!(self.process.output().ended_within(STOP_TIMEOUT), "still running after:\n{}", self.text());
        let status = self.process.ended_within(STOP_TIMEOUT);
        status.unwrap_or_else(|| panic!("still running after:\n{}", self.text()))
    }

    /// Waits until it has ended; returns its exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        self.end().code().unwrap_or_else(|| panic!("no exit code after:\n{}", self.text()))
    }

    /// All lines that it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.process.output().lines()
    }

    /// All that was printed.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }
}

pub(crate) fn fake_command(command: &str, nodes: u8, fake: &str, more: &[&str]) -> Command {
    let ports = [free_port().to_string(), free_port().to_string()];
    let mut tool = Command::new(program());
    tool.args(["cloister", command, "-n", &nodes.to_string(), "--port", &ports[0]])
        .args(["--admin-port", &ports[1], "--env", &format!("FAKE={fake}"), "--exe"])
        .arg(fake_node())
        .args(more);
    tool
}

/// Waits until none of the processes is there any more.
pub(crate) fn wait_until_gone(pids: &[i32]) {
    let runs = |pid: &&i32| test_kill_process(Pid::from_raw(**pid).unwrap()).is_ok() && !is_zombie(**pid);
    eventually("all have ended", || {
        let left: Vec<&i32> = pids.iter().filter(runs).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} still run")) }
    });
}

/// Whether the process is a zombie: in a container, its new parent often does not wait for it.
fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
