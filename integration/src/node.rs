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

use crate::http::{self, Answer};
use crate::{Claimed, Heard, Line, Machine, Plan, Replied, eventually, laws};

/// A node that runs. It is killed when this is dropped, however the test ends.
#[derive(Debug)]
pub struct Node {
    plan: Plan,
    process: Process<Spoken>,
    started: u64,
    /// How often it was sent each command.
    told: BTreeMap<String, usize>,
}

/// A line of its standard output, and what it means.
#[derive(Debug)]
struct Spoken {
    text: String,
    line: Option<Line>,
}

impl Node {
    /// Starts a process; returns when the system has started it, long before it is up.
    pub fn start(plan: &Plan) -> Self {
        match plan.descriptors {
            None => Self::run(Command::new(program()), plan),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\"")]).arg(program());
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
        let process = Process::start(&mut command, Spoken::read);
        Self { plan: plan.clone(), process, started: now(), told: BTreeMap::new() }
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

    /// Waits until it has said something with these words, not counting the first `since` lines.
    #[track_caller]
    pub fn says(&self, words: &str, since: usize) {
        let find =
            |lines: &[Spoken]| lines.iter().skip(since).any(|line| line.text.contains(words)).then_some(());
        self.process.output().find(find).unwrap_or_else(|| {
            let said = self
                .process
                .output()
                .look(|lines| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>());
            panic!("{} does not say {words:?} after {since} lines, but: {said:#?}", self.name())
        });
    }

    /// How many lines it has said so far.
    pub fn lines(&self) -> usize {
        self.process.output().look(<[Spoken]>::len)
    }

    /// What it has logged.
    pub fn log(&self) -> &Output {
        self.process.errors()
    }

    /// What the listener that was there from the beginning has heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard_by("first")
    }

    /// What a listener has heard so far.
    pub fn heard_by(&self, listener: &str) -> Vec<Heard> {
        self.process.output().look(|lines| heard(lines, listener).cloned().collect())
    }

    /// What the listener that was there from the beginning has heard last.
    pub fn heard_last(&self) -> Option<Heard> {
        self.process.output().look(|lines| heard(lines, "first").last().cloned())
    }

    /// The first thing that the listener that was there from the beginning hears from number `since` on and that fits.
    #[track_caller]
    pub fn hears(&self, what: &str, since: usize, mut fits: impl FnMut(&Heard) -> bool) -> Heard {
        let find = |lines: &[Spoken]| heard(lines, "first").skip(since).find(|heard| fits(heard)).cloned();
        self.process.output().find(find).unwrap_or_else(|| panic!("{} does not hear: {what}", self.name()))
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
        self.process.output().look(|lines| heard(lines, "first").count())
    }

    /// Has it record its own answers to whether it owns some keys, and whether it is the sentry.
    pub fn watch(&mut self) {
        self.tell("watch");
    }

    /// What it has answered since it was told to watch itself; of one that has ended, perhaps without the last tenth of a second.
    #[track_caller]
    pub fn claimed(&mut self) -> Vec<Claimed> {
        if self.is_running() {
            self.ask("watched");
        } else {
            self.process.finish();
        }
        let claimed = |spoken: &Spoken| match &spoken.line {
            Some(Line::Claimed(claimed)) => Some(claimed.clone()),
            _ => None,
        };
        self.process.output().look(|lines| lines.iter().filter_map(claimed).collect())
    }

    /// Sends a command, and does not wait until it is obeyed.
    pub fn tell(&mut self, command: &str) {
        *self.told.entry(command.to_owned()).or_default() += 1;
        self.process.tell(command);
    }

    /// The reply to a command, to the last if it was sent more than once.
    #[track_caller]
    pub fn replied(&self, command: &str) -> Replied {
        let is_it = |spoken: &Spoken| match &spoken.line {
            Some(Line::Replied(reply)) if reply.command == command => Some(reply.clone()),
            _ => None,
        };
        let last = self.told.get(command).copied().unwrap_or_default().saturating_sub(1);
        let reply = self.process.output().find(|lines| lines.iter().filter_map(is_it).nth(last));
        reply.unwrap_or_else(|| panic!("{} does not reply to `{command}`", self.name()))
    }

    /// Sends a command, and waits for the reply.
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
            let said = self.process.output().look(|lines| {
                let texts: Vec<_> = lines.iter().map(|spoken| spoken.text.as_str()).collect();
                texts.join("\n")
            });
            let log = self.process.errors().lines();
            eprintln!("--- {} said\n{said}\n--- and logged\n{}", self.plan.name, log.join("\n"));
            return;
        }
        let listeners: BTreeSet<String> = self
            .process
            .output()
            .look(|lines| all_heard(lines).map(|heard| heard.listener.clone()).collect());
        for listener in listeners {
            let lawful = laws::check(&self.heard_by(&listener));
            lawful.unwrap_or_else(|broken| panic!("{}, listener {listener}: {broken}", self.plan.name));
        }
    }
}

impl Spoken {
    fn read(text: String) -> Self {
        Self { line: serde_json::from_str(&text).ok(), text }
    }
}

/// The present moment, in nanoseconds of the clock of this host.
pub fn now() -> u64 {
    Clock.now().as_nanos()
}

fn all_heard(lines: &[Spoken]) -> impl Iterator<Item = &Heard> {
    lines.iter().filter_map(|spoken| match &spoken.line {
        Some(Line::Heard(heard)) => Some(heard),
        _ => None,
    })
}

fn heard<'a>(lines: &'a [Spoken], listener: &str) -> impl Iterator<Item = &'a Heard> {
    all_heard(lines).filter(move |heard| heard.listener == listener)
}

/// The program of the nodes: what `CLOISTER_TEST_PROGRAM` names, such as one that was built in another way, else the one that was
/// built with the tests. Cargo puts programs beside the directory of tests: it is beside this program, or above this test.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("CLOISTER_TEST_PROGRAM") {
        return program.into();
    }
    let me = std::env::current_exe().expect("a program knows its own path");
    let directory = me.parent().expect("a program lies in a directory");
    let directory = directory.parent().filter(|_| directory.ends_with("deps")).unwrap_or(directory);
    directory.join("integration-node").with_extension(std::env::consts::EXE_EXTENSION)
}

/// How long it took from one moment to another, zero if it was the other way round.
pub fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}
