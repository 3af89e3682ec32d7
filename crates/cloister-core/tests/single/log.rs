//! What is logged while a test runs.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use cloister_testkit::wait::eventually_async;
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

/// With one subscriber, tracing caches a callsite's interest from the first thread that reaches it. A thread without a subscriber
/// would switch the line off for all. A second subscriber prevents the caching.
static SECOND: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish()));

/// What is logged on this thread; the runtime of a test has no other.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects from now on, until the guard is dropped.
    pub(crate) fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        LazyLock::force(&SECOND);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines have all of these words.
    pub(crate) fn lines(&self, words: &[&str]) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits for a line with all of these words.
    pub(crate) async fn expect(&self, words: &[&str]) {
        eventually_async(&format!("a line with {words:?}"), async || match self.lines(words) {
            0 => Err(String::from_utf8(self.0.lock().unwrap().clone()).unwrap()),
            _ => Ok(()),
        })
        .await;
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
