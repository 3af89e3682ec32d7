//! What a process has said so far.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::WAIT_TIMEOUT;

/// The lines that a process has written so far, each as it is or as what it means. Read by a thread of its own, so the
/// process never waits.
#[derive(Debug)]
pub struct Output<T = String> {
    shared: Arc<Shared<T>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    lines: Mutex<Lines<T>>,
    more: Condvar,
}

#[derive(Debug)]
struct Lines<T> {
    lines: Vec<T>,
    ended: bool,
}

impl Output {
    /// Begins to read what a process writes there.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        Self::read_as(stream, |line| line)
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// How many lines say this.
    pub fn count(&self, text: &str) -> usize {
        self.look(|lines| lines.iter().filter(|line| line.contains(text)).count())
    }
}

impl<T: Send + 'static> Output<T> {
    /// Each line is what `read` makes of it, once.
    pub(crate) fn read_as(stream: impl Read + Send + 'static, read: fn(String) -> T) -> Self {
        let lines = Mutex::new(Lines { lines: Vec::new(), ended: false });
        let shared = Arc::new(Shared { lines, more: Condvar::new() });
        let writing = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let line = read(line);
                writing.lock().lines.push(line);
                writing.more.notify_all();
            }
            writing.lock().ended = true;
            writing.more.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Looks at all lines so far.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.shared.lock().lines)
    }

    /// What `find` finds in the lines, as soon as it does; `None` after [`WAIT_TIMEOUT`], or when no more will come.
    pub fn find<R>(&self, mut find: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + WAIT_TIMEOUT;
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

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
