//! What the task of a connection leaves for the session actor once a session has begun.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::connection::reader::FrameReader;
use crate::connection::writer::FrameWriter;
use crate::telemetry::rejections::{self, Reason};

/// How many messages are kept that came in before their session was ready.
const MAX_BUFFERED: usize = 256;

/// Where a connection is read, and where control frames are sent.
pub(super) type Ends = (Arc<FrameReader>, Arc<FrameWriter>);

/// What is known of a session that has begun. It is written on the application's runtime and read on the node's, so that neither wakes
/// the other before the session is ready.
#[derive(Default)]
pub(super) struct Begun {
    ends: OnceLock<Ends>,
    buffered: Arc<BufferedMessages>,
}

impl Begun {
    /// The session has begun on these.
    pub(super) fn set(&self, ends: Ends) {
        let _ = self.ends.set(ends);
    }

    /// Its ends, once it has begun.
    pub(super) fn ends(&self) -> Option<&Ends> {
        self.ends.get()
    }

    /// Where messages are kept before the session is ready. The reader has this and not the whole: it is one of the ends, and each would
    /// keep the other and their socket for ever.
    pub(super) fn buffered(&self) -> Arc<BufferedMessages> {
        Arc::clone(&self.buffered)
    }
}

/// The messages of a session that is not ready yet.
#[derive(Default)]
pub(super) struct BufferedMessages(Mutex<Buffered>);

#[derive(Default)]
struct Buffered {
    is_open: bool,
    messages: Vec<Vec<u8>>,
}

impl BufferedMessages {
    /// Keeps a message that came in before [`BufferedMessages::open`]; gives it back after that.
    pub(super) fn keep(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        let mut buffered = self.lock();
        if buffered.is_open {
            return Some(message);
        }
        if buffered.messages.len() < MAX_BUFFERED {
            buffered.messages.push(message);
        } else {
            rejections::count(Reason::EarlyOverflow);
        }
        None
    }

    /// Passes messages on from now on; what has been kept comes first.
    pub(super) fn open(&self) -> Vec<Vec<u8>> {
        let mut buffered = self.lock();
        buffered.is_open = true;
        std::mem::take(&mut buffered.messages)
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
