//! The limits of what waits for an owner.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_config::Config;

/// A limit of what waits for an owner. Its `Display` is the key of the setting.
///
/// It is in [`CallError::TooManyWaiting`](crate::CallError::TooManyWaiting):
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// use cloister::CallError;
///
/// fn advice(error: &CallError) -> Option<String> {
///     match error {
///         CallError::TooManyWaiting { limit, .. } => Some(format!("raise {limit}")),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitingLimit {
    /// How many calls may wait: `limits.waiting_calls`.
    Calls,
    /// How many bytes they may have: `limits.waiting_bytes`.
    Bytes,
}

impl fmt::Display for WaitingLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitingLimit::Calls => "limits.waiting_calls",
            WaitingLimit::Bytes => "limits.waiting_bytes",
        })
    }
}

/// How many calls, and how many bytes of them, may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingLimits {
    pub(crate) calls: usize,
    pub(crate) bytes: u64,
}

/// Too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) limit: WaitingLimit,
    /// How many calls wait, or bytes with those of the one that was not added.
    pub(crate) waiting: u64,
    /// How many may.
    pub(crate) max: u64,
}

impl From<&Config> for WaitingLimits {
    fn from(config: &Config) -> Self {
        Self { calls: config.waiting_calls, bytes: config.waiting_bytes }
    }
}

impl WaitingLimits {
    /// Whether another one, of `len` bytes, may wait beside so many calls and bytes.
    ///
    /// # Errors
    ///
    /// The limit that does not allow it.
    pub(crate) fn check(self, calls: usize, bytes: usize, len: usize) -> Result<(), TooMany> {
        let (calls, bytes) = (calls as u64, (bytes as u64).saturating_add(len as u64));
        let max = self.calls as u64;
        if calls >= max {
            return Err(TooMany { limit: WaitingLimit::Calls, waiting: calls, max });
        }
        if bytes > self.bytes {
            return Err(TooMany { limit: WaitingLimit::Bytes, waiting: bytes, max: self.bytes });
        }
        Ok(())
    }
}

/// The calls that wait for an owner.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingCalls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// Counts as a call that waits for an owner until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingCall {
    all: Arc<Counts>,
    bytes: usize,
}

impl WaitingCalls {
    /// A call of so many bytes waits from now on.
    ///
    /// # Errors
    ///
    /// If too many do.
    pub(super) fn wait(&self, limits: WaitingLimits, bytes: usize) -> Result<WaitingCall, TooMany> {
        let all = Arc::clone(&self.0);
        let calls = all.calls.fetch_add(1, Ordering::Relaxed);
        let before = all.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Dropped again if it does not fit.
        let call = WaitingCall { all, bytes };
        limits.check(calls, before, bytes).map(|()| call)
    }

    /// Whether another call may wait, whatever its length.
    ///
    /// # Errors
    ///
    /// If too many do.
    pub(super) fn room(&self, limits: WaitingLimits) -> Result<(), TooMany> {
        limits.check(self.0.calls.load(Ordering::Relaxed), self.0.bytes.load(Ordering::Relaxed), 1)
    }

    /// A call of so many bytes, for which there was room, waits from now on. The limits may be passed by this call.
    pub(super) fn wait_admitted(&self, bytes: usize) -> WaitingCall {
        let all = Arc::clone(&self.0);
        all.calls.fetch_add(1, Ordering::Relaxed);
        all.bytes.fetch_add(bytes, Ordering::Relaxed);
        WaitingCall { all, bytes }
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.all.calls.fetch_sub(1, Ordering::Relaxed);
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
