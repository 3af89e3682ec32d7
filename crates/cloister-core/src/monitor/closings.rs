//! When links closed, and when the core heard of it.

use std::collections::VecDeque;

use cloister_proto::Time;

/// How many closings are remembered: more than there are within the limit of a connect.
const MOST: usize = 1024;

/// Puts attempts to connect in their place among the closings that the core knows of.
///
/// The core takes a refusal for the death of a peer only if the attempt began after it heard of the closed link. Both come
/// through one mailbox, in order, so it may hear late of a closing before which the attempt did not begin.
#[derive(Debug, Default)]
pub(super) struct Closings(VecDeque<(Time, Time)>);

impl Closings {
    /// A link closed; the core hears of it now.
    pub(super) fn note(&mut self, closed: Time, now: Time) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((closed, now));
    }

    /// When an attempt began, by the time at which the core heard of the closings before it.
    pub(super) fn as_heard(&self, began: Time) -> Time {
        let before = self.0.iter().rev().find(|(closed, _)| *closed <= began);
        before.map_or(began, |(_, heard)| began.max(*heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn an_attempt_that_began_after_a_close_began_after_the_core_heard_of_it() {
        let mut closings = Closings::default();
        assert_eq!(closings.as_heard(at(5)), at(5));
        closings.note(at(10), at(20));
        closings.note(at(18), at(30));
        assert_eq!(closings.as_heard(at(9)), at(9), "before both");
        assert_eq!(closings.as_heard(at(12)), at(20), "after the first, and before the second");
        assert_eq!(closings.as_heard(at(19)), at(30));
        assert_eq!(closings.as_heard(at(40)), at(40), "the core knew of both");
    }
}
