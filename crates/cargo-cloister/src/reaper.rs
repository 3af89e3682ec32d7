//! The reaper: stops the nodes when the tool is killed or panics.
//!
//! The reaper is a second process of the same program. It reads from a pipe which processes the tool has started, and which have
//! exited. Only the tool has the writing end. The system closes the pipe when the tool exits, for any reason. Then the reaper
//! sends SIGTERM to all nodes that still run, and SIGKILL after `--stop-timeout`. This needs no `unsafe` and works on every Unix.
//!
//! Two gaps remain. The reaper may be killed before the tool, and the tool between the start of a node and the message about it.

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use thiserror::Error;

/// The hidden command that makes this program a reaper.
pub(crate) const COMMAND: &str = "reaper";

/// How often the reaper polls the processes that it stops: they are not its children, so it cannot wait for them.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The reaper could not be started. Nodes might outlive the tool, so none is started.
#[derive(Debug, Error)]
#[error("cannot start the reaper, the process that stops the nodes when this tool is killed")]
pub(crate) struct ReaperError(#[from] io::Error);

/// The handle of the reaper. Cheap to clone; the reaper exits when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Reaper(Arc<Mutex<Process>>);

/// The reaper as a process, with the writing end of its pipe.
struct Process {
    child: Child,
    /// How many processes it would have to stop now.
    watched: usize,
}

impl Reaper {
    /// Starts the reaper, out of reach of the terminal's Ctrl-C.
    pub(crate) fn start(stop_timeout: Duration) -> Result<Self, ReaperError> {
        let child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .arg(stop_timeout.as_millis().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(Arc::new(Mutex::new(Process { child, watched: 0 }))))
    }

    /// From here on the group of `pid` is stopped when the tool ends.
    pub(crate) fn watch(&self, pid: u32) {
        let mut process = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        process.watched += 1;
        process.send(&format!("+{pid}\n"));
    }

    /// `pid`, which was watched, has ended: its number may be given to another process.
    pub(crate) fn forget(&self, pid: u32) {
        let mut process = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        process.watched -= 1;
        process.send(&format!("-{pid}\n"));
    }
}

impl Process {
    fn send(&mut self, line: &str) {
        // Without a reaper the tool still stops its nodes itself, unless it is killed.
        if let Some(pipe) = &mut self.child.stdin {
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Drop for Process {
    /// Waits for a reaper without nodes: it exits at once when its pipe is closed, which this does.
    fn drop(&mut self) {
        if self.watched == 0 {
            let _ = self.child.wait();
        }
    }
}

/// The reaper itself: reads until the tool exits, then stops the nodes that still run.
pub(crate) fn reap(input: impl BufRead, stop_timeout: Duration) -> io::Result<()> {
    let left = left_behind(input)?;
    if left.is_empty() {
        return Ok(());
    }
    let _ = writeln!(io::stderr(), "cargo-cloister has ended suddenly: stopping {} nodes", left.len());
    for &pid in &left {
        let _ = kill_process(pid, Signal::TERM);
        // One that is paused hears it when it goes on.
        let _ = kill_process(pid, Signal::CONT);
    }
    let deadline = Instant::now() + stop_timeout;
    let running = |pid: &&Pid| test_kill_process_group(**pid).is_ok();
    while Instant::now() < deadline && left.iter().any(|pid| running(&pid)) {
        std::thread::sleep(LOOK_EVERY);
    }
    for &pid in left.iter().filter(running) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    Ok(())
}

/// The processes that were started and have not ended when the input does. A torn last line does not count.
fn left_behind(mut input: impl BufRead) -> io::Result<HashSet<Pid>> {
    let mut running = HashSet::new();
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let (sign, number) = line.trim_end().split_at_checked(1).unwrap_or_default();
        // 1 is init, and 0 and less are whole groups: never ours.
        let pid = number.parse::<i32>().ok().filter(|&pid| pid > 1).and_then(Pid::from_raw);
        match (sign, pid, line.ends_with('\n')) {
            ("+", Some(pid), true) => _ = running.insert(pid),
            ("-", Some(pid), true) => _ = running.remove(&pid),
            _ => {}
        }
        line.clear();
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_and_has_not_ended_is_left_behind() {
        let left = left_behind(&b"+100\n+200\n+300\n-200\n"[..]).unwrap();
        assert_eq!(left, HashSet::from([100, 300].map(|pid| Pid::from_raw(pid).unwrap())));
    }

    #[test]
    fn no_line_makes_the_reaper_stop_what_is_not_a_node() {
        assert!(left_behind(&b"+1\n+0\n+-5\nhello\n\n+\n+99999999999\n+4"[..]).unwrap().is_empty());
    }
}
