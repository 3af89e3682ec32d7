//! A node of a test that is this test program, started again: it obeys the lines of its input, and answers each with a line.

use std::io::BufRead;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::loopback::free_port;
use crate::process::{Process, this_test};

/// What any of these things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Set in a process that is a node: its role.
const ROLE: &str = "CLOISTERTEST_ROLE";

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

/// What this process is to be, if it is a node and no test: the words that [`ObedientNode::start`] was given.
pub fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    // What the harness of tests has printed ends here.
    println!();
    Some(role.split(' ').map(str::to_owned).collect())
}

/// Hands every line of the input to `obey`, with the mark that its answer begins with.
pub fn obey(mut obey: impl FnMut(String, String) + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some((mark, command)) = line.split_once(' ') {
                obey(mark.to_owned(), command.to_owned());
            }
        }
    });
}

impl ObedientNode {
    /// Starts the test `test` of this program as a node.
    pub fn start(test: &str, role: &[String]) -> Self {
        let mut command = this_test(test);
        command.env(ROLE, role.join(" ")).stdin(Stdio::piped());
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.process.output().lines();
            if let Some(answer) = lines.iter().find_map(|line| line.strip_prefix(&mark)) {
                return answer.to_owned();
            }
            let errors = || self.process.errors().lines();
            assert!(Instant::now() < deadline, "no answer to {number}: {lines:#?} {:#?}", errors());
            std::thread::sleep(Duration::from_millis(5));
        }
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(command);
            if answer == wanted {
                return;
            }
            let errors = || self.process.errors().lines();
            assert!(Instant::now() < deadline, "{command}: {answer}, not {wanted}; {:#?}", errors());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The lines that it has printed which begin so.
    pub fn lines_with(&self, start: &str) -> Vec<String> {
        self.process.output().lines().into_iter().filter(|line| line.starts_with(start)).collect()
    }
}
