//! The numbers of the operations of this node.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::RequestId;

/// The numbers of the operations of this node that are not over.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    open: BTreeSet<u64>,
}

/// An operation that is not over. Its number is settled when this is dropped.
pub(crate) struct Number<'a> {
    numbers: &'a Numbers,
    number: u64,
}

impl Numbers {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> Number<'_> {
        let mut open = self.lock();
        open.last += 1;
        let number = open.last;
        open.open.insert(number);
        Number { numbers: self, number }
    }
}

impl Number<'_> {
    /// What names the operation, sent by this incarnation.
    pub(crate) fn id(&self, client: u64) -> RequestId {
        let settled = self.numbers.lock().open.first().copied().unwrap_or(self.number);
        RequestId { client, number: self.number, settled }
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.numbers.lock().open.remove(&self.number);
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
}
