//! The connections of the admin server: how many there may be, and which one is closed for a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloister_core::internal;
use tokio::task::AbortHandle;

/// The most connections at a time.
const MAX: usize = 64;

/// Of the file descriptors that the process may have, the share that clients may take: one in so many.
const SHARE: u64 = 8;

/// How many clients may be connected: a process with few descriptors keeps most of them for its peers.
pub(super) fn max() -> usize {
    let share = internal::descriptors().and_then(|all| usize::try_from(all / SHARE).ok());
    share.unwrap_or(MAX).clamp(2, MAX)
}

/// How long a connection may take to ask for something before it can be closed for another. The request of a probe must be read first,
/// however many clients connect.
const GRACE: Duration = Duration::from_millis(25);

/// The open connections. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    max: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    /// How many requests and streams are being answered.
    answering: usize,
    /// Since when it waits for a request, if none is.
    since: Instant,
    task: Option<AbortHandle>,
}

/// The place of one connection. Its number is free again when all clones are dropped.
#[derive(Clone, Debug)]
pub(super) struct Permit(Arc<OpenConnection>);

#[derive(Debug)]
struct OpenConnection {
    connections: Connections,
    number: u64,
}

impl Connections {
    /// None yet, and never more than `max`, which is at least 1.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), open: Arc::default() }
    }

    /// A place for a new connection. When all are taken, the connection is closed that has waited longest for a request, so that
    /// a probe gets through beside clients that never finish theirs. `None` when each of them is being answered.
    pub(super) fn admit(&self, now: Instant) -> Option<(Permit, bool)> {
        let mut open = self.open();
        let is_full = open.by_number.len() >= self.max;
        if is_full {
            open.evict()?;
        }
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, Connection { answering: 0, since: now, task: None });
        Some((Permit(Arc::new(OpenConnection { connections: self.clone(), number })), is_full))
    }

    /// How long to wait before a connection can be closed for a new one. Zero when there is room.
    pub(super) fn grace(&self, now: Instant) -> Duration {
        let open = self.open();
        if open.by_number.len() < self.max {
            return Duration::ZERO;
        }
        let idle = open.by_number.values().filter(|connection| connection.answering == 0);
        let longest = idle.map(|connection| connection.since).min();
        longest.map_or(Duration::ZERO, |since| (since + GRACE).saturating_duration_since(now))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.open().by_number.get_mut(&number) {
            change(connection);
        }
    }
}

impl Open {
    fn evict(&mut self) -> Option<()> {
        let idle = self.by_number.iter().filter(|(_, connection)| connection.answering == 0);
        let (_, number) = idle.map(|(number, connection)| (connection.since, *number)).min()?;
        let connection = self.by_number.remove(&number)?;
        if let Some(task) = connection.task {
            task.abort();
        }
        Some(())
    }
}

impl Permit {
    /// `task` serves the connection, and is aborted if it must make room.
    pub(super) fn served_by(&self, task: AbortHandle) {
        match self.0.connections.open().by_number.get_mut(&self.0.number) {
            Some(connection) => connection.task = Some(task),
            None => task.abort(),
        }
    }

    /// Closes the connection, whatever it waits for.
    pub(super) fn close(&self) {
        self.0.connections.change(self.0.number, |connection| {
            if let Some(task) = &connection.task {
                task.abort();
            }
        });
    }

    /// A request has come: until the guard is dropped the connection is not closed for another.
    pub(super) fn answering(&self) -> Answering {
        self.0.connections.change(self.0.number, |connection| connection.answering += 1);
        Answering(self.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Permit);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.connections.change(self.0.0.number, |connection| {
            connection.answering = connection.answering.saturating_sub(1);
            connection.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_not_closed_for_another_before_its_request_can_be_read() {
        let connections = Connections::new(2);
        let now = Instant::now();
        let _first = connections.admit(now);
        assert_eq!(connections.grace(now), Duration::ZERO);
        let _second = connections.admit(now + Duration::from_millis(5));
        assert_eq!(connections.grace(now + Duration::from_millis(10)), GRACE - Duration::from_millis(10));
        assert_eq!(connections.grace(now + GRACE), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_connection_that_waits_longest_makes_room_and_none_that_is_answered() {
        let (connections, now) = (Connections::new(2), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let (first, evicted) = connections.admit(at(0)).unwrap();
        assert!(!evicted);
        let task = tokio::spawn(std::future::pending::<()>());
        first.served_by(task.abort_handle());
        let (second, _) = connections.admit(at(1)).unwrap();
        let (third, evicted) = connections.admit(at(2)).unwrap();
        assert!(evicted && task.await.unwrap_err().is_cancelled(), "the first waited longest");

        let (stream, answer) = (second.answering(), third.answering());
        // A request that goes on as a stream of events.
        drop(second.answering());
        assert!(connections.admit(at(3)).is_none(), "both are being answered");
        drop((stream, answer));
        assert!(connections.admit(at(4)).is_some(), "both wait again");
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends_and_a_late_task_is_aborted() {
        let connections = Connections::new(1);
        let (permit, _) = connections.admit(Instant::now()).unwrap();
        drop(permit);
        let (first, evicted) = connections.admit(Instant::now()).unwrap();
        assert!(!evicted);
        assert!(connections.admit(Instant::now()).unwrap().1);
        let task = tokio::spawn(std::future::pending::<()>());
        first.served_by(task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled(), "it lost its place before its task was known");
    }
}
