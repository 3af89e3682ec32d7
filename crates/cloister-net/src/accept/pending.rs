//! Pre-authentication limit: accepted connections that are not linked yet, and which of them is evicted when there are too many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::AbortHandle;

use crate::connection::socket::TrackedSocket;

/// How many connections may be open that are not linked yet.
const MAX_PENDING: usize = 256;

/// How many of them may come from one address. All nodes of a laptop share theirs, so loopback is exempt.
const MAX_PENDING_PER_IP: usize = 32;

/// Of the file descriptors that the process may have, the share that pending connections may take: one in so many.
const DESCRIPTOR_SHARE: u64 = 4;

/// The connections that are not linked yet. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct PendingConnections {
    max: usize,
    table: Arc<Mutex<PendingTable>>,
}

#[derive(Debug, Default)]
struct PendingTable {
    last: u64,
    by_number: BTreeMap<u64, PendingConnection>,
}

#[derive(Debug)]
struct PendingConnection {
    ip: IpAddr,
    stage: Stage,
}

/// How far a pending connection has come, which decides how it is closed.
#[derive(Debug)]
enum Stage {
    /// It has just been accepted.
    New,
    /// It has sent nothing yet; this task waits for its first byte.
    Silent(AbortHandle),
    /// Its handshake runs over this socket.
    Handshaking(Weak<TrackedSocket>),
}

/// A place among the pending connections, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pending: PendingConnections,
    number: u64,
}

/// The address of a connection that was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted(pub(crate) IpAddr);

impl PendingConnections {
    /// A limit that leaves enough of `descriptors` to the rest of the process; `None` when there is no limit to them.
    pub(crate) fn new(descriptors: Option<u64>) -> Self {
        let share =
            descriptors.and_then(|max| usize::try_from(max / DESCRIPTOR_SHARE).ok()).unwrap_or(MAX_PENDING);
        Self { max: share.clamp(1, MAX_PENDING), table: Arc::default() }
    }

    /// Admits a connection from `ip`. When all places are taken one is evicted: silent connections before active ones, unknown
    /// addresses before `known` ones, then the oldest.
    pub(crate) fn admit(
        &self,
        ip: IpAddr,
        known: impl FnOnce() -> BTreeSet<IpAddr>,
    ) -> (Permit, Option<Evicted>) {
        let mut table = self.table();
        let from_there = table.by_number.values().filter(|pending| pending.ip == ip).count();
        let evicted = if from_there >= MAX_PENDING_PER_IP && !ip.is_loopback() {
            table.evict_one(|pending| pending.ip == ip, &BTreeSet::new())
        } else if table.by_number.len() >= self.max {
            table.evict_one(|_| true, &known())
        } else {
            None
        };
        table.last += 1;
        let number = table.last;
        table.by_number.insert(number, PendingConnection { ip, stage: Stage::New });
        (Permit { pending: self.clone(), number }, evicted)
    }

    /// Evicts one though there are places: another resource has run out.
    pub(crate) fn evict(&self, known: BTreeSet<IpAddr>) -> Option<Evicted> {
        self.table().evict_one(|_| true, &known)
    }

    /// Notes that `task` waits for the first byte of connection `number`, unless that byte has come already.
    pub(crate) fn set_silent(&self, number: u64, task: AbortHandle) {
        if let Some(pending) = self.table().by_number.get_mut(&number)
            && matches!(pending.stage, Stage::New)
        {
            pending.stage = Stage::Silent(task);
        }
    }

    fn table(&self) -> MutexGuard<'_, PendingTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingTable {
    fn evict_one(
        &mut self,
        among: impl Fn(&PendingConnection) -> bool,
        known: &BTreeSet<IpAddr>,
    ) -> Option<Evicted> {
        let eviction_order = |pending: &PendingConnection| {
            let set_handshaking = !matches!(pending.stage, Stage::Silent(_));
            (set_handshaking, known.contains(&pending.ip))
        };
        let number = self
            .by_number
            .iter()
            .filter(|(_, pending)| among(pending))
            .min_by_key(|(number, pending)| (eviction_order(pending), **number))
            .map(|(number, _)| *number)?;
        let pending = self.by_number.remove(&number)?;
        match pending.stage {
            // It is closed when it next looks for its place.
            Stage::New => {}
            Stage::Silent(task) => task.abort(),
            Stage::Handshaking(socket) => {
                if let Some(socket) = socket.upgrade() {
                    socket.shutdown();
                }
            }
        }
        Some(Evicted(pending.ip))
    }
}

impl Permit {
    /// The number of this connection.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The first byte has come: the waiting task is aborted no more. Returns whether the place is still there.
    pub(crate) fn set_active(&self) -> bool {
        match self.pending.table().by_number.get_mut(&self.number) {
            Some(pending) => {
                pending.stage = Stage::New;
                true
            }
            None => false,
        }
    }

    /// Its handshake runs over `socket`, which an eviction shuts down, also one that has happened already.
    pub(crate) fn set_handshaking(&self, socket: &Arc<TrackedSocket>) {
        match self.pending.table().by_number.get_mut(&self.number) {
            Some(pending) => pending.stage = Stage::Handshaking(Arc::downgrade(socket)),
            None => socket.shutdown(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pending.table().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn no_known() -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A task that waits for ever, as for the first byte of a silent connection.
    async fn silent(pending: &PendingConnections, permit: &Permit) -> tokio::task::JoinHandle<()> {
        let task = tokio::spawn(std::future::pending());
        pending.set_silent(permit.number(), task.abort_handle());
        task
    }

    #[test]
    fn one_address_evicts_its_own_connections_and_never_takes_every_place() {
        let pending = PendingConnections::new(None);
        let mut permits = Vec::new();
        for number in 0..100 {
            let (permit, evicted) = pending.admit(ip(1), no_known);
            assert_eq!(evicted, (number >= MAX_PENDING_PER_IP).then_some(Evicted(ip(1))));
            permits.push(permit);
        }
        assert_eq!(pending.table().by_number.len(), MAX_PENDING_PER_IP);
        assert_eq!(pending.admit(ip(2), no_known).1, None, "no other address is evicted");
        drop(permits);
        assert!(pending.table().by_number.is_empty(), "every place is free again");
    }

    #[tokio::test]
    async fn the_oldest_silent_connection_is_evicted_before_known_and_active_ones() {
        let pending = PendingConnections::new(Some(16));
        let permits: Vec<Permit> = (1..=4).map(|last| pending.admit(ip(last), no_known).0).collect();
        let known = || BTreeSet::from([ip(1)]);
        let mut tasks = Vec::new();
        for permit in &permits {
            tasks.push(silent(&pending, permit).await);
        }
        assert!(permits[1].set_active());
        let (_third, evicted) = pending.admit(LOOPBACK, known);
        assert_eq!(evicted, Some(Evicted(ip(3))), "1 is known, 2 is active");
        assert!(tasks.remove(2).await.unwrap_err().is_cancelled());
        let (_fourth, evicted) = pending.admit(LOOPBACK, known);
        assert_eq!(evicted, Some(Evicted(ip(4))));
        let (_known, evicted) = pending.admit(LOOPBACK, known);
        assert_eq!(evicted, Some(Evicted(ip(1))), "silent, though its address is known");
        assert_eq!(
            pending.evict(known()),
            Some(Evicted(ip(2))),
            "active connections go last, the oldest first"
        );
        assert!(!permits[1].set_active(), "and finds out");
    }

    #[test]
    fn pending_connections_take_a_share_of_the_descriptors_at_most() {
        assert_eq!(PendingConnections::new(Some(64)).max, 16);
        assert_eq!(PendingConnections::new(Some(1024)).max, MAX_PENDING);
        assert_eq!(PendingConnections::new(None).max, MAX_PENDING);
        assert_eq!(PendingConnections::new(Some(0)).max, 1);
    }
}
