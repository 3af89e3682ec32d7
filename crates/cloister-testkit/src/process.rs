//! A process that a test starts, and what it prints.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::output::Output;

/// Set in a process that runs one test: the name of the test.
const ALONE: &str = "CLOISTERTEST_ALONE";

/// How often a process is asked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A process that runs, with the lines of its standard output and of its standard error. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process<T = String> {
    child: Child,
    output: Output<T>,
    errors: Output,
}

impl<T: Send + 'static> Process<T> {
    /// Starts a process. Each line of its standard output is what `read` makes of it. Standard input is as `command` has it.
    pub fn start(command: &mut Command, read: fn(String) -> T) -> Self {
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let output = Output::read_as(child.stdout.take().expect("invariant: it is piped"), read);
        let errors = Output::of(child.stderr.take().expect("invariant: it is piped"));
        Self { child, output, errors }
    }

    /// Starts a process of which standard output and standard error are read as one, in the order in which lines arrive.
    pub fn start_merged(command: &mut Command, read: fn(String) -> T) -> Self {
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let pipes: Vec<Box<dyn Read + Send>> = vec![
            Box::new(child.stdout.take().expect("invariant: it is piped")),
            Box::new(child.stderr.take().expect("invariant: it is piped")),
        ];
        Self {
            child,
            output: Output::read_all(pipes, read),
            errors: Output::read_all(Vec::new(), |line| line),
        }
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its standard output, or of both if they are read as one.
    pub fn output(&self) -> &Output<T> {
        &self.output
    }

    /// The lines of its standard error, if they are read apart.
    pub fn errors(&self) -> &Output {
        &self.errors
    }

    /// Writes a line to its standard input, which must be piped.
    pub fn write_line(&mut self, command: &str) {
        let stdin = self.child.stdin.as_mut().expect("invariant: it is piped");
        writeln!(stdin, "{command}").unwrap_or_else(|error| panic!("it takes no `{command}`: {error}"));
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status();
        assert!(sent.expect("there is a `kill`").success(), "cannot send {signal} to {}", self.id());
    }

    /// Ends it as `kill -9` does, and returns when it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Kills it if it has not ended yet, and returns when it has.
    pub fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself; `None` if it has not after `timeout`.
    pub fn ended_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.child.try_wait().expect("a child can be waited for");
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until it has closed its standard output and its standard error, and all lines are read.
    pub fn finish(&mut self) {
        self.output.finish();
        self.errors.finish();
    }
}

impl<T> Drop for Process<T> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one test of this test program again, as a process of its own. What it is to do comes by variables of the test's.
pub fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    without_configuration(command.args(["--exact", name, "--nocapture"]));
    command
}

/// Begins a test that needs a process of its own, for a process can be one node only: the test program is started again for this test, and
/// fails if the test fails there. So such tests run beside each other, as many as there are test threads.
///
/// It stands at the very beginning of the test, which returns nothing.
#[macro_export]
macro_rules! alone {
    () => {
        fn inside() {}
        if $crate::process::has_passed_alone(std::any::type_name_of_val(&inside)) {
            return;
        }
    };
}

/// Whether a test has passed in a process of its own; false in that process, which is to run it. `inside` is the type name of a function
/// inside of the test.
///
/// # Panics
///
/// If the test has failed in its process.
pub fn has_passed_alone(inside: &str) -> bool {
    let path: Vec<&str> = inside.split("::").filter(|part| !part.starts_with('{')).collect();
    let [_program, test @ .., _inside] = &path[..] else { panic!("{inside} is not inside of a test") };
    let test = test.join("::");
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &test, "--nocapture"]).env(ALONE, &test);
    let ended = command.output().expect("this program starts again");
    let (output, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    print!("{output}");
    eprint!("{errors}");
    // A name that is none of a test passes, too, and runs nothing.
    let passed = ended.status.success() && output.contains("test result: ok. 1 passed;");
    assert!(passed, "{test} does not pass in a process of its own: {}", ended.status);
    true
}

/// Removes every variable of Cloister: what configures the surroundings of the tests must not configure the nodes.
pub fn without_configuration(command: &mut Command) -> &mut Command {
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("CLOISTER_") {
            command.env_remove(variable);
        }
    }
    command
}

fn spawn(command: &mut Command) -> Child {
    command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", command.get_program().display()))
}

#[cfg(test)]
mod tests {
    use super::ALONE;

    #[test]
    fn a_test_that_is_alone_runs_in_another_process() {
        alone!();
        let test = "process::tests::a_test_that_is_alone_runs_in_another_process";
        assert_eq!(std::env::var(ALONE).as_deref(), Ok(test));
    }

    #[test]
    #[should_panic(expected = "does not pass in a process of its own")]
    fn a_test_that_fails_alone_fails() {
        alone!();
        panic!("as it should");
    }

    #[test]
    #[should_panic(expected = "no_such_test does not pass in a process of its own")]
    fn a_test_that_is_not_found_fails() {
        super::has_passed_alone("cloister_testkit::no_such_test::inside");
    }
}
