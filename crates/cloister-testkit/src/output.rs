//! The lines that a process has printed so far.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for what should take milliseconds.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The lines that a process has printed so far, each as it is or as what it means. A thread of its own reads them, so the
/// process never waits.
#[derive(Debug)]
pub struct Output<T = String> {
    shared: Arc<SharedOutput<T>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct SharedOutput<T> {
    lines: Mutex<Lines<T>>,
    more: Condvar,
}

#[derive(Debug)]
struct Lines<T> {
    lines: Vec<T>,
    /// How many streams have not ended.
    open: usize,
    /// Whether no further line is read.
    stopped: bool,
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

    /// How many lines contain this.
    pub fn count(&self, text: &str) -> usize {
        self.look(|lines| lines.iter().filter(|line| line.contains(text)).count())
    }
}

impl<T: Send + 'static> Output<T> {
    /// Each line is what `read` makes of it, once.
    pub fn read_as(stream: impl Read + Send + 'static, read: fn(String) -> T) -> Self {
        Self::read_all(vec![Box::new(stream)], read)
    }

    /// The lines of several streams as one, in the order in which they arrive. Each line is what `read` makes of it, once.
    pub fn read_all(streams: Vec<Box<dyn Read + Send>>, read: fn(String) -> T) -> Self {
        let lines = Mutex::new(Lines { lines: Vec::new(), open: streams.len(), stopped: false });
        let shared = Arc::new(SharedOutput { lines, more: Condvar::new() });
        let start = |stream| {
            let writing = Arc::clone(&shared);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let line = read(line);
                    let mut lines = writing.lock();
                    if lines.stopped {
                        break;
                    }
                    lines.lines.push(line);
                    writing.more.notify_all();
                }
                writing.lock().open -= 1;
                writing.more.notify_all();
            })
        };
        let readers = streams.into_iter().map(start).collect();
        Self { shared, readers }
    }

    /// Closes each stream at its next line, as `| head` does.
    pub fn stop_reading(&self) {
        self.shared.lock().stopped = true;
    }

    /// Looks at all lines so far.
    pub fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.shared.lock().lines)
    }

    /// What `find` finds in the lines, as soon as it does; `None` after [`WAIT_TIMEOUT`], or when no more will come.
    pub fn find<R>(&self, find: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        self.find_within(WAIT_TIMEOUT, find)
    }

    /// What `find` finds in the lines, as soon as it does; `None` after `timeout`, or when no more will come.
    pub fn find_within<R>(&self, timeout: Duration, mut find: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + timeout;
        let mut lines = self.shared.lock();
        loop {
            if let Some(found) = find(&lines.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.open == 0 || left.is_zero() {
                return None;
            }
            let waited = self.shared.more.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until no more lines will come; returns whether that was within `timeout`.
    pub fn ended_within(&self, timeout: Duration) -> bool {
        self.find_within(timeout, |_| None::<()>);
        self.shared.lock().open == 0
    }

    /// Waits until the process has closed its end.
    pub fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // Nothing in it panics.
            let _ = reader.join();
        }
    }
}

impl<T> SharedOutput<T> {
    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
