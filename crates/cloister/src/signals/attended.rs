//! Whether any node of this process waits for signals.
//!
//! tokio never gives a signal back to the system: once a handler is there, a signal without a listener has no effect. A process
//! whose node has left would then ignore SIGTERM, so it is ended here.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// How many nodes wait for signals, and the flag that a signal handler reads: none does.
struct Attendance {
    nodes: usize,
    #[cfg(unix)]
    unattended: Option<Arc<AtomicBool>>,
}

static ATTENDANCE: Mutex<Attendance> = Mutex::new(Attendance {
    nodes: 0,
    #[cfg(unix)]
    unattended: None,
});

/// A node that waits for signals, until this is dropped.
pub(super) struct Attended(());

impl Attended {
    pub(super) fn new() -> io::Result<Self> {
        let mut attendance = ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(unix)]
        attendance.arm()?;
        attendance.nodes += 1;
        attendance.notify();
        Ok(Self(()))
    }

    /// Whether no other node waits for signals.
    pub(super) fn is_last(&self) -> bool {
        ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner).nodes == 1
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let mut attendance = ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner);
        attendance.nodes -= 1;
        attendance.notify();
    }
}

impl Attendance {
    /// Lets a signal end the process whenever no node waits for it. Once for the process.
    #[cfg(unix)]
    fn arm(&mut self) -> io::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::flag::register_conditional_shutdown;

        if self.unattended.is_none() {
            let unattended = Arc::new(AtomicBool::new(false));
            register_conditional_shutdown(SIGTERM, super::ENDED_BY_SIGTERM, Arc::clone(&unattended))?;
            register_conditional_shutdown(SIGINT, super::ENDED_BY_SIGINT, Arc::clone(&unattended))?;
            self.unattended = Some(unattended);
        }
        Ok(())
    }

    fn notify(&self) {
        #[cfg(unix)]
        if let Some(unattended) = &self.unattended {
            unattended.store(self.nodes == 0, Ordering::SeqCst);
        }
    }
}
