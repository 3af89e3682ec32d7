//! A node that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use cloister::clock::Clock;
use cloister_json::{Members, Readiness};
use cloister_testkit::output::{Output, WAIT_TIMEOUT};
use cloister_testkit::process::{Process, without_configuration};
use serde_json::Value;

use crate::http::{self, Response};
use crate::{Claimed, Line, Machine, Notice, Plan, Replied, eventually, laws};

/// A node that runs. It is killed when this is dropped, however the test ends.
#[derive(Debug)]
pub struct Node {
    plan: Plan,
    process: Process<Printed>,
    started: u64,
    /// How often it was sent each command.
    sent: BTreeMap<String, usize>,
}

/// A line of its standard output, and what it means.
#[derive(Debug)]
struct Printed {
    text: String,
    line: Option<Line>,
}

impl Node {
    /// Starts a process; returns when the system has started it, long before it is up.
    pub fn start(plan: &Plan) -> Self {
        match plan.descriptors {
            None => Self::run(Command::new(program()), plan),
            Some(max) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {max}; exec \"$0\"")]).arg(program());
                Self::run(shell, plan)
            }
        }
    }

    /// Starts a process on a machine.
    pub fn start_on(machine: &Machine, plan: &Plan) -> Self {
        let mut command = machine.program();
        command.arg(program());
        Self::run(command, plan)
    }

    /// Starts a process of another program, as long as it ends by itself on SIGTERM. What can be read and asked is what that
    /// program says.
    pub fn start_program(program: &Path, plan: &Plan) -> Self {
        Self::run(Command::new(program), plan)
    }

    fn run(mut command: Command, plan: &Plan) -> Self {
        without_configuration(&mut command)
            .current_dir(std::env::temp_dir())
            .envs(&plan.environment)
            .stdin(Stdio::piped());
        let process = Process::start(&mut command, Printed::read);
        Self { plan: plan.clone(), process, started: now(), sent: BTreeMap::new() }
    }

    /// What the others call it.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// From now on the others call it this.
    pub fn rename(&mut self, name: impl Into<String>) {
        self.plan.name = name.into();
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
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

    /// Waits until it has printed a line with these words, not counting the first `since` lines.
    #[track_caller]
    pub fn wait_for_line(&self, words: &str, since: usize) {
        let find =
            |lines: &[Printed]| lines.iter().skip(since).any(|line| line.text.contains(words)).then_some(());
        self.process.output().find(find).unwrap_or_else(|| {
            let lines = self
                .process
                .output()
                .look(|lines| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>());
            panic!("{} does not print {words:?} after {since} lines, but: {lines:#?}", self.name())
        });
    }

    /// How many lines it has printed so far.
    pub fn lines(&self) -> usize {
        self.process.output().look(<[Printed]>::len)
    }

    /// What it has logged.
    pub fn log(&self) -> &Output {
        self.process.errors()
    }

    /// The notices to the listener that was there from the beginning.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices_of("first")
    }

    /// The notices to a listener so far.
    pub fn notices_of(&self, listener: &str) -> Vec<Notice> {
        self.process.output().look(|lines| notices_of(lines, listener).cloned().collect())
    }

    /// The last notice to the listener that was there from the beginning.
    pub fn last_notice(&self) -> Option<Notice> {
        self.process.output().look(|lines| notices_of(lines, "first").last().cloned())
    }

    /// Waits for the first notice from number `since` on that fits, to the listener that was there from the beginning.
    #[track_caller]
    pub fn wait_for_notice(&self, what: &str, since: usize, mut fits: impl FnMut(&Notice) -> bool) -> Notice {
        let find =
            |lines: &[Printed]| notices_of(lines, "first").skip(since).find(|notice| fits(notice)).cloned();
        self.process.output().find(find).unwrap_or_else(|| panic!("{} has no notice of: {what}", self.name()))
    }

    /// Waits until it is up with members of exactly these names.
    #[track_caller]
    pub fn up_with(&self, names: &[&str], since: usize) -> Notice {
        let mut names = names.to_vec();
        names.sort_unstable();
        self.wait_for_notice(&format!("up with {names:?}"), since, |notice| {
            notice.is_up() && notice.names() == names
        })
    }

    /// How many notices it has had so far.
    pub fn mark(&self) -> usize {
        self.process.output().look(|lines| notices_of(lines, "first").count())
    }

    /// Has it record its own answers to whether it owns some keys, and whether it is the sentry.
    pub fn watch(&mut self) {
        self.send_command("watch");
    }

    /// What it has answered since it was asked to watch itself; of one that has ended, perhaps without the last tenth of a second.
    #[track_caller]
    pub fn claimed(&mut self) -> Vec<Claimed> {
        if self.is_running() {
            self.ask("watched");
        } else {
            self.process.finish();
        }
        let claimed = |printed: &Printed| match &printed.line {
            Some(Line::Claimed(claimed)) => Some(claimed.clone()),
            _ => None,
        };
        self.process.output().look(|lines| lines.iter().filter_map(claimed).collect())
    }

    /// Sends a command, and does not wait until it is obeyed.
    pub fn send_command(&mut self, command: &str) {
        *self.sent.entry(command.to_owned()).or_default() += 1;
        self.process.write_line(command);
    }

    /// The reply to a command, to the last if it was sent more than once.
    #[track_caller]
    pub fn replied(&self, command: &str) -> Replied {
        let is_it = |printed: &Printed| match &printed.line {
            Some(Line::Replied(reply)) if reply.command == command => Some(reply.clone()),
            _ => None,
        };
        let last = self.sent.get(command).copied().unwrap_or_default().saturating_sub(1);
        let reply = self.process.output().find(|lines| lines.iter().filter_map(is_it).nth(last));
        reply.unwrap_or_else(|| panic!("{} does not reply to `{command}`", self.name()))
    }

    /// Sends a command, and waits for the reply.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Value {
        self.send_command(command);
        self.replied(command).value
    }

    /// Asks its admin server for a page; waits while there is none yet.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        eventually(&format!("{} answers {path}", self.name()), || http::get(self.plan.admin, path))
    }

    /// What it answers to `GET /members`.
    #[track_caller]
    pub fn members(&self) -> Members {
        self.get("/members").json()
    }

    /// What it answers to `GET /readyz`.
    #[track_caller]
    pub fn readiness(&self) -> Readiness {
        self.get("/readyz").json()
    }

    /// How much memory it has, in KiB. Linux only.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.and_then(|line| line.split_whitespace().next());
        words.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("{path} has no VmRSS: {status}"))
    }

    /// How much time processors have spent on it so far, by all threads together. Linux only.
    #[track_caller]
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // Behind the name of the program, which may be anything in parentheses: ticks as user are 12th, as system 13th.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>());
        let ticks = |at: usize| fields.as_ref()?.get(at)?.parse::<u64>().ok();
        let ticks = ticks(11).zip(ticks(12)).unwrap_or_else(|| panic!("{path}: {stat}"));
        // To programs the kernel counts a hundred ticks a second on every architecture that we know.
        Duration::from_millis(10 * (ticks.0 + ticks.1))
    }

    /// A counter of `/metrics`, by its whole name.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let page = self.get("/metrics").body;
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// Sends the process a signal, such as `TERM`.
    /// Returns the moment before.
    pub fn signal(&self, signal: &str) -> u64 {
        let at = now();
        self.process.signal(signal);
        at
    }

    /// Ends the process as `kill -9` does, and returns when it is gone: the moment just before it was killed.
    pub fn kill(&mut self) -> u64 {
        let at = now();
        self.process.kill();
        at
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.process.ended_within(WAIT_TIMEOUT);
        let status = status.unwrap_or_else(|| panic!("not in {WAIT_TIMEOUT:?}: {} ends", self.plan.name));
        self.process.finish();
        status
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.end();
        self.process.finish();
        if std::thread::panicking() {
            let printed = self.process.output().look(|lines| {
                let texts: Vec<_> = lines.iter().map(|printed| printed.text.as_str()).collect();
                texts.join("\n")
            });
            let log = self.process.errors().lines();
            eprintln!("--- {} printed\n{printed}\n--- and logged\n{}", self.plan.name, log.join("\n"));
            return;
        }
        let listeners: BTreeSet<String> = self
            .process
            .output()
            .look(|lines| all_notices(lines).map(|notice| notice.listener.clone()).collect());
        for listener in listeners {
            let lawful = laws::check(&self.notices_of(&listener));
            lawful.unwrap_or_else(|broken| panic!("{}, listener {listener}: {broken}", self.plan.name));
        }
    }
}

impl Printed {
    fn read(text: String) -> Self {
        Self { line: serde_json::from_str(&text).ok(), text }
    }
}

/// The present moment, in nanoseconds of the clock of this host.
pub fn now() -> u64 {
    Clock.now().as_nanos()
}

fn all_notices(lines: &[Printed]) -> impl Iterator<Item = &Notice> {
    lines.iter().filter_map(|printed| match &printed.line {
        Some(Line::Notice(notice)) => Some(notice),
        _ => None,
    })
}

fn notices_of<'a>(lines: &'a [Printed], listener: &str) -> impl Iterator<Item = &'a Notice> {
    all_notices(lines).filter(move |notice| notice.listener == listener)
}

/// The program of the nodes, which was built with the tests. Cargo puts programs beside the directory of tests: it is beside this
/// program, or above this test.
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
