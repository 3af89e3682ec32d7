//! Whether any node of this process waits for signals.
//!
//! tokio never gives a signal back to the system: once a handler is there, a signal without a listener has no effect. A process
//! whose node has left would then ignore SIGTERM, so it is ended here.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

#[cfg(unix)]
use self::flags::Flags;
use super::ONE_REQUEST;

/// How many nodes wait for signals, and what a signal handler reads and writes.
struct Attendance {
    nodes: usize,
    #[cfg(unix)]
    flags: Option<Flags>,
}

static ATTENDANCE: Mutex<Attendance> = Mutex::new(Attendance {
    nodes: 0,
    #[cfg(unix)]
    flags: None,
});

/// A node that waits for signals, until this is dropped. If it was asked to leave by a signal, until [`ONE_REQUEST`] after that: what comes
/// within this time is the same request, and the program may be about to end in its own way, or its runtime be gone.
pub(super) struct Attended {
    /// When the first signal came.
    asked: Option<Instant>,
}

impl Attended {
    pub(super) fn new() -> io::Result<Self> {
        let mut attendance = ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(unix)]
        attendance.arm()?;
        attendance.nodes += 1;
        attendance.notify();
        Ok(Self { asked: None })
    }

    /// Whether no other node waits for signals.
    pub(super) fn is_last(&self) -> bool {
        ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner).nodes == 1
    }

    /// A node acts on the signal that has come in.
    pub(super) fn handled(&mut self) {
        self.asked.get_or_insert_with(Instant::now);
        ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner).forget_missed();
    }

    /// The node has ended. Returns the status with which the process is to end, if a signal came in on which no node acts any more.
    pub(super) fn end(self) -> Option<i32> {
        drop(self);
        #[cfg(unix)]
        {
            let attendance = ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner);
            attendance.flags.as_ref().filter(|_| attendance.nodes == 0)?.take_missed()
        }
        #[cfg(not(unix))]
        None
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let gone = |asked: bool| {
            let mut attendance = ATTENDANCE.lock().unwrap_or_else(PoisonError::into_inner);
            if asked {
                attendance.forget_missed();
            }
            attendance.nodes -= 1;
            attendance.notify();
        };
        let rest = self.asked.map(|asked| ONE_REQUEST.saturating_sub(asked.elapsed()));
        let waits = rest.filter(|rest| !rest.is_zero()).map(|rest| {
            // The runtime may be ending with this.
            thread::Builder::new().spawn(move || {
                thread::sleep(rest);
                gone(true);
            })
        });
        // Without a thread it is over at once.
        if waits.is_none_or(|waits| waits.is_err()) {
            gone(self.asked.is_some());
        }
    }
}

impl Attendance {
    /// Lets a signal end the process whenever no node waits for it. Once for the process.
    #[cfg(unix)]
    fn arm(&mut self) -> io::Result<()> {
        match &self.flags {
            None => self.flags = Some(Flags::register()?),
            Some(flags) if self.nodes == 0 => drop(flags.take_missed()),
            Some(_) => {}
        }
        Ok(())
    }

    /// A node acts on the signals that have come in.
    fn forget_missed(&self) {
        #[cfg(unix)]
        if let Some(flags) = &self.flags {
            flags.take_missed();
        }
    }

    fn notify(&self) {
        #[cfg(unix)]
        if let Some(flags) = &self.flags {
            flags.set_unattended(self.nodes == 0);
        }
    }
}

#[cfg(unix)]
mod flags {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;

    use crate::signals::{ENDED_BY_SIGINT, ENDED_BY_SIGTERM};

    const SIGNALS: [(i32, i32); 2] = [(SIGTERM, ENDED_BY_SIGTERM), (SIGINT, ENDED_BY_SIGINT)];

    /// What the signal handler shares with this process.
    pub(super) struct Flags {
        /// No node waits: a signal ends the process.
        unattended: Arc<AtomicBool>,
        /// Which signals came in, in the order of [`SIGNALS`], and no node has acted on them.
        missed: [Arc<AtomicBool>; 2],
    }

    impl Flags {
        pub(super) fn register() -> io::Result<Self> {
            let flags = Self { unattended: Arc::default(), missed: Default::default() };
            for ((signal, status), missed) in SIGNALS.iter().zip(&flags.missed) {
                // In this order: the handler notes the signal and then looks whether a node waits; the last node that waits goes and then
                // looks for the note. So one of the two sees the other.
                flag::register(*signal, Arc::clone(missed))?;
                flag::register_conditional_shutdown(*signal, *status, Arc::clone(&flags.unattended))?;
            }
            Ok(flags)
        }

        pub(super) fn set_unattended(&self, unattended: bool) {
            self.unattended.store(unattended, Ordering::SeqCst);
        }

        /// The status of a process that is ended by a signal on which no node has acted. The next call does not find it again.
        pub(super) fn take_missed(&self) -> Option<i32> {
            let came = self.missed.each_ref().map(|missed| missed.swap(false, Ordering::SeqCst));
            let missed = SIGNALS.iter().zip(came).find(|(_, came)| *came);
            missed.map(|((_, status), _)| *status)
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level::raise;

    use super::*;
    use crate::signals::{ENDED_BY_SIGINT, ENDED_BY_SIGTERM};

    /// One test, since signals are of the process.
    #[test]
    fn a_signal_that_comes_while_the_last_node_ends_is_not_lost() {
        for (signal, status) in [(SIGTERM, ENDED_BY_SIGTERM), (SIGINT, ENDED_BY_SIGINT)] {
            let attended = Attended::new().unwrap();
            raise(signal).unwrap();
            assert_eq!(attended.end(), Some(status));
        }
        let (first, second) = (Attended::new().unwrap(), Attended::new().unwrap());
        raise(SIGTERM).unwrap();
        assert_eq!(first.end(), None, "the second node waits for it");
        assert_eq!(second.end(), Some(ENDED_BY_SIGTERM));

        let mut attended = Attended::new().unwrap();
        raise(SIGTERM).unwrap();
        attended.handled();
        assert_eq!(attended.end(), None, "a node acts on it");
    }
}
