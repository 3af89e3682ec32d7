//! A client on every process: appends to keys and reads them, and repeats what may not have been done.

use std::collections::BTreeMap;

use cloister_proto::Epoch;
use cloister_sim::MS;
use cloister_table_proto::{Membership, OperationId, Placement};

/// For how long an operation is repeated.
const PATIENCE: u64 = 6_000 * MS;

/// How long an answer is waited for.
const ANSWER_WITHIN: u64 = 700 * MS;

/// How many operations a client has under way.
const MAX_OPEN: usize = 3;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Adds to the list of this key.
    Append(u8),
    /// Reads the list of this key.
    Read(u8),
}

impl Wish {
    pub(crate) fn key(self) -> u8 {
        match self {
            Wish::Append(key) | Wish::Read(key) => key,
        }
    }
}

/// An operation that is not over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) wish: Wish,
    pub(crate) invoked: u64,
    /// The view in which it was sent first.
    pub(crate) first: Option<Epoch>,
    /// When it is sent again.
    pub(crate) send_at: u64,
}

/// The client of one process.
#[derive(Debug)]
pub(crate) struct Client {
    incarnation: u64,
    numbers: u64,
    open: BTreeMap<u64, Open>,
    membership: Membership,
}

impl Client {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, numbers: 0, open: BTreeMap::new(), membership: Membership::default() }
    }

    pub(crate) fn id(&self, number: u64) -> OperationId {
        let settled = self.open.keys().next().copied().unwrap_or(number);
        OperationId { client: self.incarnation, number, settled }
    }

    pub(crate) fn begin(&mut self, wish: Wish, now: u64) -> Option<u64> {
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        self.numbers += 1;
        self.open.insert(self.numbers, Open { wish, invoked: now, first: None, send_at: now });
        Some(self.numbers)
    }

    /// The operations that are to be sent now, in the view of `epoch`.
    pub(crate) fn due(&mut self, now: u64, epoch: Epoch) -> Vec<(u64, Wish)> {
        let due = self.open.iter_mut().filter(|(_, open)| open.send_at <= now);
        due.map(|(number, open)| {
            open.send_at = now + ANSWER_WITHIN;
            open.first.get_or_insert(epoch);
            (*number, open.wish)
        })
        .collect()
    }

    pub(crate) fn send_again(&mut self, number: u64, at: u64) {
        if let Some(open) = self.open.get_mut(&number) {
            open.send_at = open.send_at.min(at);
        }
    }

    pub(crate) fn end(&mut self, number: u64) -> Option<Open> {
        self.open.remove(&number)
    }

    /// Gives up what has taken too long; returns how many operations that were.
    pub(crate) fn give_up(&mut self, now: u64) -> u64 {
        let before = self.open.len();
        self.open.retain(|_, open| now < open.invoked + PATIENCE);
        (before - self.open.len()) as u64
    }

    /// This view names the node.
    pub(crate) fn named(&mut self, placement: &Placement) {
        self.membership.named(placement.epoch(), placement.predecessor());
    }

    /// The view of `epoch` follows a later one than was known.
    pub(crate) fn follows(&mut self, epoch: Epoch, predecessor: Epoch) {
        self.membership.follows(epoch, predecessor);
    }

    /// The node is up in the view of `epoch`. Owners have forgotten what a client did that was not a member all the time, so it gives
    /// that up. Returns the view in which each of those operations was sent first.
    pub(crate) fn up(&mut self, epoch: Epoch) -> Vec<Epoch> {
        let since = self.membership.since(epoch);
        let mut forgotten = Vec::new();
        self.open.retain(|_, open| {
            let first = open.first.filter(|first| *first < since);
            forgotten.extend(first);
            first.is_none()
        });
        forgotten
    }
}
