//! What processes keep over a restart, and how long their disks take for it.

use std::time::Duration;

use cloister_proto::{Event, Memory, Time};

use super::Universe;

/// After how long a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The disk of one host.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Disk {
    memory: Memory,
    latency: Duration,
    full: bool,
}

/// Something that is being written.
#[derive(Clone, Debug, Hash)]
pub(super) struct Write {
    ends: Time,
    seq: u64,
    memory: Memory,
}

impl Disk {
    pub(super) fn memory(&self) -> Memory {
        self.memory.clone()
    }
}

impl Write {
    pub(super) fn ends(&self) -> Time {
        self.ends
    }
}

impl Universe {
    /// From now on the disk of this host takes so long for what it is to keep.
    pub fn set_latency(&mut self, at: usize, latency: Duration) {
        self.hosts[at].disk.latency = latency;
    }

    /// Whether nothing can be written to the disk of this host. What could not be written is tried again each second.
    pub fn set_full(&mut self, at: usize, full: bool) {
        self.hosts[at].disk.full = full;
    }

    /// Removes what this host has kept.
    pub fn forget(&mut self, at: usize) {
        self.hosts[at].disk.memory = Memory::default();
    }

    /// What one host has kept is on another now.
    pub fn carry(&mut self, from: usize, to: usize) {
        self.hosts[to].disk = std::mem::take(&mut self.hosts[from].disk);
    }

    pub(super) fn write(&mut self, at: usize, seq: u64, memory: Memory) {
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        process.writes.push_back(Write { ends: self.now + host.disk.latency, seq, memory });
        self.written(at);
    }

    /// Ends the writes that end now.
    pub(super) fn written(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        while process.writes.front().is_some_and(|write| write.ends <= self.now) {
            if host.disk.full {
                // It is tried again, with the last of them only.
                let last = process.writes.pop_back().map(|last| Write { ends: self.now + AGAIN, ..last });
                process.writes = last.into_iter().collect();
                process.inbox.push_back(Event::PersistFailed { cause: "no space is left".to_owned() });
                return;
            }
            let Some(Write { seq, memory, .. }) = process.writes.pop_front() else { return };
            host.disk.memory = memory;
            process.inbox.push_back(Event::Persisted { seq });
        }
    }
}
