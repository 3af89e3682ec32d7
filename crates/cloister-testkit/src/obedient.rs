//! A node of a test that is this test program, started again: it obeys the lines of its input, and answers each with a line.

use std::fmt::Debug;
#[cfg(feature = "nodes")]
use std::io::BufRead;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::loopback::free_port;
use crate::process::{Process, this_test};
use crate::wait::eventually_within;

/// What any of these things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Retries `attempt` until it succeeds. Panics with its last error after [`PATIENCE`].
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, attempt: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(what, PATIENCE, attempt)
}

/// Waits until something is so. Panics after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || is_so().then_some(()).ok_or("not yet"));
}

/// Set in a process that is a node: its role.
const ROLE: &str = "CLOISTERTEST_ROLE";

/// What a process that is a node is to be.
#[derive(Clone, Debug)]
pub struct Role {
    /// The words that [`ObedientNode::start`] was given.
    pub words: Vec<String>,
    /// Its port.
    pub port: u16,
    /// The ports of the nodes that it looks for.
    pub ports: Vec<u16>,
}

impl Role {
    /// The addresses of the nodes that it looks for.
    pub fn seeds(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// What this process is to be; `None` if it is a test and no node.
    #[cfg(feature = "nodes")]
    fn of_this_process() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        // What the harness of tests has printed ends here.
        println!();
        let mut words = role.split_whitespace().map(str::to_owned);
        let mut ports =
            words.next()?.split(',').map(|port| port.parse().expect("a port")).collect::<Vec<u16>>();
        let port = ports.remove(0);
        Some(Self { words: words.collect(), port, ports })
    }
}

/// A node of a test.
#[derive(Debug)]
pub struct ObedientNode {
    /// The process.
    pub process: Process,
    asked: usize,
}

/// How many clusters run.
static CLUSTERS: Mutex<usize> = Mutex::new(0);

/// A cluster has ended.
static CLUSTER_ENDED: Condvar = Condvar::new();

/// The right of a test to run a cluster.
#[derive(Debug)]
pub struct Turn(());

/// Waits until fewer clusters run in the tests of this program than there are processors: each is three or four processes that are compiled
/// without optimisation.
pub fn turn() -> Turn {
    let max = std::thread::available_parallelism().map_or(1, usize::from);
    let running = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let running = CLUSTER_ENDED.wait_while(running, |running| *running >= max);
    *running.unwrap_or_else(PoisonError::into_inner) += 1;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        *CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CLUSTER_ENDED.notify_one();
    }
}

/// As many ports of 127.0.0.1 that are free, and that this process never gets twice.
pub fn ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port(1)).collect()
}

/// Runs `node` if this process is one, on so many threads; does nothing in a test. The log goes to standard error.
#[cfg(feature = "nodes")]
pub fn run(threads: usize, node: impl AsyncFnOnce(Role)) {
    let Some(role) = Role::of_this_process() else { return };
    tracing_subscriber::fmt()
        .with_env_filter("warn,cloister=info,ractor=error")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.expect("a runtime").block_on(node(role));
}

/// Answers every command, a line of the input, with what `answer` makes of it. Each is a task of its own on the runtime of the caller.
#[cfg(feature = "nodes")]
pub fn obey<A: Future<Output = String> + Send + 'static>(answer: impl Fn(String) -> A + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some((mark, command)) = line.split_once(' ') {
                let (mark, answer) = (mark.to_owned(), answer(command.to_owned()));
                runtime.spawn(async move { println!("{mark} {}", answer.await) });
            }
        }
    });
}

impl ObedientNode {
    /// Starts the test `test` of this program as a node at `port`, which looks for nodes at `ports`. `words` say what else it is to be.
    pub fn start(test: &str, words: &str, port: u16, ports: &[u16]) -> Self {
        let ports: Vec<String> = std::iter::once(&port).chain(ports).map(u16::to_string).collect();
        let mut command = this_test(test);
        command.env(ROLE, format!("{} {words}", ports.join(","))).stdin(Stdio::piped());
        Self { process: Process::start(&mut command, |line| line), asked: 0 }
    }

    /// Waits until it has printed this line.
    #[track_caller]
    pub fn wait_for(&self, line: &str) {
        let find = |lines: &[String]| lines.iter().any(|its| its == line).then_some(());
        let errors = || self.process.errors().lines();
        self.process.output().find(find).unwrap_or_else(|| panic!("no {line:?}, but {:#?}", errors()));
    }

    /// Begins a command; its number.
    pub fn begin(&mut self, command: &str) -> usize {
        self.asked += 1;
        self.process.write_line(&format!("#{} {command}", self.asked));
        self.asked
    }

    /// Waits for the answer to a command.
    #[track_caller]
    pub fn answer(&self, number: usize) -> String {
        let mark = format!("#{number} ");
        eventually(&format!("an answer to {number}"), || {
            let lines = self.process.output().lines();
            let answer = lines.iter().find_map(|line| line.strip_prefix(&mark)).map(str::to_owned);
            answer.ok_or_else(|| (lines, self.process.errors().lines()))
        })
    }

    /// The answer to a command.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        let number = self.begin(command);
        self.answer(number)
    }

    /// Asks until the answer is this.
    #[track_caller]
    pub fn ask_until(&mut self, command: &str, wanted: &str) {
        eventually(&format!("{command}: {wanted}"), || match self.ask(command) {
            answer if answer == wanted => Ok(()),
            answer => Err((answer, self.process.errors().lines())),
        });
    }

    /// The lines that it has printed which begin so.
    pub fn lines_with(&self, start: &str) -> Vec<String> {
        self.process.output().lines().into_iter().filter(|line| line.starts_with(start)).collect()
    }
}
