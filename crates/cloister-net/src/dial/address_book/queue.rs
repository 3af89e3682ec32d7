//! Which of the addresses that are due are dialled first.

use std::net::SocketAddr;
use std::time::Instant;

use super::entry::Attempt;

/// Addresses that are to be tried now, by their place, and how many of their kind are under way.
pub(super) struct DialQueue {
    max: usize,
    pub(super) under_way: usize,
    pub(super) ready: Vec<(Instant, SocketAddr, Attempt)>,
}

impl DialQueue {
    pub(super) fn new(max: usize) -> Self {
        Self { max, under_way: 0, ready: Vec::new() }
    }

    /// Keeps the first of those that are ready, at most `free`; returns whether others have to wait.
    pub(super) fn keep(&mut self, free: usize) -> bool {
        let free = free.min(self.max.saturating_sub(self.under_way));
        let must_wait = self.ready.len() > free;
        if must_wait {
            self.ready.select_nth_unstable_by_key(free, |(place, address, _)| (*place, *address));
            self.ready.truncate(free);
        }
        self.ready.sort_unstable_by_key(|(place, address, _)| (*place, *address));
        must_wait
    }
}
