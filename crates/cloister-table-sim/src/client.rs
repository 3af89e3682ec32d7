//! A client on every process: appends to keys and reads them, and repeats what may not have been done.

use std::collections::BTreeMap;

use cloister_proto::Epoch;
use cloister_sim::MS;
use cloister_table_proto::OperationId;

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
    /// When it is sent again.
    pub(crate) send_at: u64,
}

/// The client of one process.
#[derive(Debug)]
pub(crate) struct Client {
    incarnation: u64,
    numbers: u64,
    open: BTreeMap<u64, Open>,
    /// The view in which it may repeat what it began.
    view: Option<Epoch>,
}

impl Client {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, numbers: 0, open: BTreeMap::new(), view: None }
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
        self.open.insert(self.numbers, Open { wish, invoked: now, send_at: now });
        Some(self.numbers)
    }

    /// The operations that are to be sent now.
    pub(crate) fn due(&mut self, now: u64) -> Vec<(u64, Wish)> {
        let due = self.open.iter_mut().filter(|(_, open)| open.send_at <= now);
        due.map(|(number, open)| {
            open.send_at = now + ANSWER_WITHIN;
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

    /// The node is up in the view of `epoch`, which followed that of `predecessor`. Owners have forgotten what a client did that
    /// was not a member all the time, so it repeats nothing then. Returns how many operations it gives up.
    pub(crate) fn up(&mut self, epoch: Epoch, predecessor: Option<Epoch>) -> u64 {
        let stays = self.view == Some(epoch) || (self.view.is_some() && self.view == predecessor);
        self.view = Some(epoch);
        if stays {
            return 0;
        }
        let given_up = self.open.len() as u64;
        self.open.clear();
        given_up
    }
}
