//! The quickstart, running on a machine.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloister_integration::{Machine, example};

/// How long anything may take: names are not measured.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A quickstart that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Quickstart {
    child: Child,
    said: Mutex<Said>,
    _machine: Machine,
}

#[derive(Debug)]
struct Said {
    so_far: Vec<String>,
    more: Receiver<String>,
}

impl Quickstart {
    /// Starts it with these settings, named as in the environment but without `CLOISTER__`.
    pub(crate) fn start(machine: Machine, settings: &[(&str, String)]) -> Self {
        let mut command = machine.program();
        for (variable, _) in std::env::vars_os() {
            // What configures the tests must not configure the nodes.
            if variable.to_string_lossy().starts_with("CLOISTER_") {
                command.env_remove(variable);
            }
        }
        let mut child = command
            .arg(example("quickstart"))
            .envs(settings.iter().map(|(key, value)| (format!("CLOISTER__{key}"), value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("the quickstart cannot be run: {error}"));
        let (sender, more) = channel();
        pass_on(child.stdout.take().expect("invariant: it is piped"), sender.clone());
        pass_on(child.stderr.take().expect("invariant: it is piped"), sender);
        Self { child, said: Mutex::new(Said { so_far: Vec::new(), more }), _machine: machine }
    }

    /// The first line with these words, as soon as it is there.
    pub(crate) fn says(&self, words: &str) -> String {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + LINE_TIMEOUT;
        loop {
            if let Some(line) = said.so_far.iter().find(|line| line.contains(words)) {
                return line.clone();
            }
            match said.more.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => said.so_far.push(line),
                Err(error) => panic!("it does not say {words:?} ({error}), but: {:#?}", said.so_far),
            }
        }
    }

    /// The first line with these words of those that are there.
    pub(crate) fn said(&self, words: &str) -> Option<String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let more: Vec<String> = said.more.try_iter().collect();
        said.so_far.extend(more);
        said.so_far.iter().find(|line| line.contains(words)).cloned()
    }

    /// Waits until it has ended by itself, which must be with an error.
    pub(crate) fn fails(mut self) {
        let status = self.child.wait().expect("it is a child of ours");
        assert!(!status.success(), "it ended with {status}");
    }

    /// Tells it to end by SIGTERM. It must end well.
    pub(crate) fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "it runs until it is told to stop");
        self.says("goodbye");
        let status = self.child.wait().expect("it is a child of ours");
        assert!(status.success(), "it ended with {status}");
    }
}

/// Sends on every line, as it comes.
fn pass_on(stream: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.all(|line| to.send(line).is_ok());
    });
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // It is ours and not waited for: if this fails, it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
