//! What the task of a connection leaves for the session actor once a session has begun.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::connection::reader::FrameReader;
use crate::connection::writer::FrameWriter;
use crate::telemetry::rejections::{self, Reason};

/// How many messages are kept that came in before their session was ready.
const MAX_EARLY: usize = 256;

/// Where a connection is read, and where control frames are sent.
pub(super) type Ends = (Arc<FrameReader>, Arc<FrameWriter>);

/// What is known of a session that has begun. It is written on the application's runtime and read on the node's, so that neither wakes
/// the other before the session is ready.
#[derive(Default)]
pub(super) struct Begun {
    ends: OnceLock<Ends>,
    /// `None` once messages are passed on at once.
    early: Mutex<Early>,
}

#[derive(Default)]
struct Early {
    is_open: bool,
    messages: Vec<Vec<u8>>,
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

    /// Keeps a message that came in before [`Begun::open`]; gives it back after that.
    pub(super) fn keep(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if early.is_open {
            return Some(message);
        }
        if early.messages.len() < MAX_EARLY {
            early.messages.push(message);
        } else {
            rejections::count(Reason::EarlyOverflow);
        }
        None
    }

    /// Passes messages on from now on; what has been kept comes first.
    pub(super) fn open(&self) -> Vec<Vec<u8>> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.is_open = true;
        std::mem::take(&mut early.messages)
    }
}
