//! What a process has said so far.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::PATIENCE;

/// The lines that a process has written so far. Read by a thread of its own, so the process never waits.
#[derive(Debug)]
pub struct Output {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    /// Begins to read what a process writes there.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writing.lock().lines.push(line);
                writing.more.notify_all();
            }
            writing.lock().ended = true;
            writing.more.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// How many lines say this.
    pub fn count(&self, text: &str) -> usize {
        self.shared.lock().lines.iter().filter(|line| line.contains(text)).count()
    }

    /// What `find` finds in the lines, as soon as it does; `None` after [`PATIENCE`], or when no more will come.
    pub fn find<T>(&self, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.shared.lock();
        loop {
            if let Some(found) = find(&lines.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            let waited = self.shared.more.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the process has closed its end.
    pub(crate) fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            // Nothing in it panics.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
