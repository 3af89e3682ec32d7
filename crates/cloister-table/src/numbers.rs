//! The numbers of the operations of this node.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::RequestId;

/// The numbers of the operations of this node that are not over.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    open: BTreeSet<u64>,
    /// Those that are over for their senders, and until when they are kept.
    kept: VecDeque<(Instant, u64)>,
}

impl Open {
    fn settle(&mut self, now: Instant) {
        while let Some((until, number)) = self.kept.front().copied()
            && until <= now
        {
            self.open.remove(&number);
            self.kept.pop_front();
        }
    }
}

/// An operation that is not over. Its number is settled when this is dropped.
pub(crate) struct Number<'a> {
    numbers: &'a Numbers,
    number: u64,
    kept_for: Option<Duration>,
}

impl Numbers {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> Number<'_> {
        let mut open = self.lock();
        open.settle(Instant::now());
        open.last += 1;
        let number = open.last;
        open.open.insert(number);
        Number { numbers: self, number, kept_for: None }
    }
}

impl Number<'_> {
    /// What names the operation, sent by this incarnation.
    pub(crate) fn id(&self, client: u64) -> RequestId {
        let settled = self.numbers.lock().open.first().copied().unwrap_or(self.number);
        RequestId { client, number: self.number, settled }
    }

    /// It stays open for so long after it is over here: another node may have it, and pass it on. The next owner knows it again only as
    /// long as it is not settled.
    pub(crate) fn keep_for(&mut self, time: Duration) {
        self.kept_for = Some(time);
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        let until = self.kept_for.and_then(|time| Instant::now().checked_add(time));
        let mut open = self.numbers.lock();
        match until {
            Some(until) => {
                let at = open.kept.partition_point(|(its, _)| *its <= until);
                open.kept.insert(at, (until, self.number));
            }
            None => drop(open.open.remove(&self.number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_settled_when_it_and_all_before_it_are_over() {
        let numbers = Numbers::default();
        let (first, second) = (numbers.open(), numbers.open());
        assert_eq!((second.id(7).number, second.id(7).settled), (2, 1));
        drop(first);
        assert_eq!(second.id(7).settled, 2);
        drop(second);
        assert_eq!(numbers.open().id(7).settled, 3);
    }

    #[test]
    fn a_number_that_is_kept_is_settled_when_its_time_is_over() {
        let numbers = Numbers::default();
        for seconds in [10, 20] {
            numbers.open().keep_for(Duration::from_secs(seconds));
        }
        let now = Instant::now();
        for (seconds, settled) in [(0, 1), (15, 2), (25, 5)] {
            numbers.lock().settle(now + Duration::from_secs(seconds));
            assert_eq!(numbers.open().id(7).settled, settled, "after {seconds} s");
        }
    }
}
