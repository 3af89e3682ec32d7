//! The quickstart, running on a machine.

use std::process::Stdio;
use std::time::Duration;

use cloister_integration::{Machine, example};
use cloister_testkit::process::{Process, without_configuration};

/// How long anything may take: names are not measured.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A quickstart that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Quickstart {
    process: Process,
    machine: Machine,
}

impl Quickstart {
    /// Starts it with these settings, named as in the environment but without `CLOISTER__`.
    pub(crate) fn start(machine: Machine, settings: &[(&str, String)]) -> Self {
        let mut command = machine.program();
        without_configuration(&mut command)
            .arg(example("quickstart"))
            .envs(settings.iter().map(|(key, value)| (format!("CLOISTER__{key}"), value)))
            .stdin(Stdio::null());
        Self { process: Process::start_merged(&mut command, |line| line), machine }
    }

    /// The first line with these words, as soon as it is there.
    pub(crate) fn wait_for_line(&self, words: &str) -> String {
        let output = self.process.output();
        let line = output.find_within(LINE_TIMEOUT, |lines| with(lines, words));
        line.unwrap_or_else(|| panic!("it does not say {words:?}, but: {:#?}", output.lines()))
    }

    /// Waits until so many lines have these words.
    pub(crate) fn wait_for_lines(&self, words: &str, number: usize) {
        let output = self.process.output();
        let enough = |lines: &[String]| {
            (lines.iter().filter(|line| line.contains(words)).count() >= number).then_some(())
        };
        output.find_within(LINE_TIMEOUT, enough).unwrap_or_else(|| {
            panic!("it does not say {words:?} {number} times, but: {:#?}", output.lines())
        });
    }

    /// The machine that it runs on.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The first line with these words of those that are there.
    pub(crate) fn line_with(&self, words: &str) -> Option<String> {
        self.process.output().look(|lines| with(lines, words))
    }

    /// Waits until it has ended by itself, which must be with an error.
    pub(crate) fn fails(mut self) {
        let status = self.process.ended_within(LINE_TIMEOUT).expect("it ends by itself");
        assert!(!status.success(), "it ended with {status}");
    }

    /// Tells it to end by SIGTERM. It must end well.
    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        self.wait_for_line("goodbye");
        let status = self.process.ended_within(LINE_TIMEOUT).expect("it ends by itself");
        assert!(status.success(), "it ended with {status}");
    }
}

fn with(lines: &[String], words: &str) -> Option<String> {
    lines.iter().find(|line| line.contains(words)).cloned()
}
