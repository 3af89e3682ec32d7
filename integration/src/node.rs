//! A node that runs.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cloister::clock::Clock;
use serde_json::Value;

use crate::http::{self, Answer};
use crate::{Heard, Line, Output, Plan, Replied, eventually, laws};

/// A node that runs. It is killed when this is dropped, however the test ends.
#[derive(Debug)]
pub struct Node {
    plan: Plan,
    child: Child,
    started: u64,
    said: Output,
    logged: Output,
}

impl Node {
    /// Starts a process; returns when the system has started it, long before it is up.
    pub fn start(plan: &Plan) -> Self {
        let mut command = Command::new(program());
        for (variable, _) in std::env::vars_os() {
            // What configures the surroundings of the tests must not configure the nodes.
            if variable.to_string_lossy().starts_with("CLOISTER_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .current_dir(std::env::temp_dir())
            .envs(&plan.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display()));
        let said = Output::of(child.stdout.take().expect("invariant: it is piped"));
        let logged = Output::of(child.stderr.take().expect("invariant: it is piped"));
        Self { plan: plan.clone(), child, started: now(), said, logged }
    }

    /// What the others call it.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// When it was started, in nanoseconds of the clock of this host.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Where its admin server listens.
    pub fn admin(&self) -> SocketAddr {
        self.plan.admin
    }

    /// Where it listens for the other nodes. Panics if it is known by a name.
    pub fn address(&self) -> SocketAddr {
        self.plan.address().parse().expect("a node that is known by its IP address")
    }

    /// What it has logged.
    pub fn log(&self) -> &Output {
        &self.logged
    }

    /// What the listener that was there from the beginning has heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard_by("first")
    }

    /// What a listener has heard so far.
    pub fn heard_by(&self, listener: &str) -> Vec<Heard> {
        heard(&self.said.lines(), listener)
    }

    /// The first thing that the listener that was there from the beginning hears from number `since` on and that fits.
    #[track_caller]
    pub fn hears(&self, what: &str, since: usize, mut fits: impl FnMut(&Heard) -> bool) -> Heard {
        let find = |lines: &[String]| heard(lines, "first").into_iter().skip(since).find(|heard| fits(heard));
        self.said.find(find).unwrap_or_else(|| panic!("{} does not hear: {what}", self.name()))
    }

    /// Waits until it is up with members of exactly these names.
    #[track_caller]
    pub fn up_with(&self, names: &[&str], since: usize) -> Heard {
        let mut names = names.to_vec();
        names.sort_unstable();
        self.hears(&format!("up with {names:?}"), since, |heard| heard.is_up() && heard.names() == names)
    }

    /// How much it has heard so far.
    pub fn mark(&self) -> usize {
        self.heard().len()
    }

    /// Sends a command, and does not wait until it is obeyed.
    pub fn tell(&mut self, command: &str) {
        let stdin = self.child.stdin.as_mut().expect("invariant: it is piped");
        writeln!(stdin, "{command}").unwrap_or_else(|error| panic!("{}: {error}", self.plan.name));
    }

    /// The reply to a command that was sent.
    #[track_caller]
    pub fn replied(&self, command: &str) -> Replied {
        let is_it = |line: &String| match serde_json::from_str(line) {
            Ok(Line::Replied(reply)) if reply.command == command => Some(reply),
            _ => None,
        };
        let reply = self.said.find(|lines| lines.iter().rev().find_map(is_it));
        reply.unwrap_or_else(|| panic!("{} does not reply to `{command}`", self.name()))
    }

    /// Sends a command, and waits for the reply. Each command is sent to a node once, or told apart by its words.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        self.replied(command).value
    }

    /// Asks its admin server for a page; waits while there is none yet.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        eventually(&format!("{} answers {path}", self.name()), || http::get(self.plan.admin, path))
    }

    /// Sends the process a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("there is a `kill`").success(), "cannot send {signal} to {}", self.name());
    }

    /// Ends the process as `kill -9` does, and returns when it is gone: the moment just before it was killed.
    pub fn kill(&mut self) -> u64 {
        let at = now();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        at
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.plan.name.clone();
        let status = eventually(&format!("{name} ends"), || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(other),
        });
        self.said.finish();
        self.logged.finish();
        status
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said.finish();
        self.logged.finish();
        let lines = self.said.lines();
        if std::thread::panicking() {
            let log = self.logged.lines();
            eprintln!(
                "--- {} said\n{}\n--- and logged\n{}",
                self.plan.name,
                lines.join("\n"),
                log.join("\n")
            );
            return;
        }
        let mut listeners: Vec<String> = all_heard(&lines).map(|heard| heard.listener).collect();
        listeners.sort_unstable();
        listeners.dedup();
        for listener in listeners {
            let lawful = laws::check(&heard(&lines, &listener));
            lawful.unwrap_or_else(|broken| panic!("{}, listener {listener}: {broken}", self.plan.name));
        }
    }
}

/// The present moment, in nanoseconds of the clock of this host.
fn now() -> u64 {
    Clock.now().as_nanos()
}

fn all_heard(lines: &[String]) -> impl Iterator<Item = Heard> {
    lines.iter().filter_map(|line| match serde_json::from_str(line) {
        Ok(Line::Heard(heard)) => Some(heard),
        _ => None,
    })
}

fn heard(lines: &[String], listener: &str) -> Vec<Heard> {
    all_heard(lines).filter(|heard| heard.listener == listener).collect()
}

/// Cargo puts programs beside the directory of tests: it is beside this program, or above this test.
fn program() -> PathBuf {
    let me = std::env::current_exe().expect("a program knows its own path");
    let directory = me.parent().expect("a program lies in a directory");
    let directory = directory.parent().filter(|_| directory.ends_with("deps")).unwrap_or(directory);
    directory.join("integration-node").with_extension(std::env::consts::EXE_EXTENSION)
}

/// How long it took from one moment to another, zero if it was the other way round.
pub fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}
