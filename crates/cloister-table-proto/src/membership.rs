//! Since which view a node is a member of every view.

use std::collections::VecDeque;

use cloister_proto::Epoch;

/// How many views are remembered.
const MAX_VIEWS: usize = 64;

/// Since which view a node is a member of every view.
///
/// Owners remember the operations of a client as long as it is a member. So a client repeats what it began in a view only while it has
/// been a member of every view from that one on. It need not have been up in each of them. A view counts even if its commit did not
/// reach the client before the next one was proposed.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// Views that name this node, each with the first one of an unbroken row of them up to it.
    views: VecDeque<(Epoch, Epoch)>,
}

impl Membership {
    /// The node promised the view of `epoch`, or is up in it. That view names it, and follows the installed one of `predecessor`.
    pub fn named(&mut self, epoch: Epoch, predecessor: Epoch) {
        if self.find(epoch).is_some() {
            return;
        }
        let since = self.find(predecessor).unwrap_or(epoch);
        self.views.push_back((epoch, since));
        if self.views.len() > MAX_VIEWS {
            self.views.pop_front();
        }
    }

    /// The view of `epoch` follows the installed one of `predecessor`, which is later than was known when it named this node.
    pub fn follows(&mut self, epoch: Epoch, predecessor: Epoch) {
        let since = self.find(predecessor).unwrap_or(epoch);
        if let Some((_, its)) = self.views.iter_mut().find(|(its, _)| *its == epoch) {
            *its = since.max(*its);
        }
    }

    /// The first of the views without a gap up to the one of `epoch`, all of which name this node.
    #[must_use]
    pub fn since(&self, epoch: Epoch) -> Epoch {
        self.find(epoch).unwrap_or(epoch)
    }

    fn find(&self, epoch: Epoch) -> Option<Epoch> {
        self.views.iter().find(|(its, _)| *its == epoch).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::from_u64(number)
    }

    #[test]
    fn a_view_that_was_promised_and_not_seen_to_begin_counts() {
        let mut membership = Membership::default();
        membership.named(epoch(3), Epoch::ZERO);
        membership.named(epoch(4), epoch(3));
        membership.named(epoch(6), epoch(4));
        assert_eq!(membership.since(epoch(6)), epoch(3));
    }

    #[test]
    fn a_view_without_this_node_is_a_gap() {
        let mut membership = Membership::default();
        membership.named(epoch(3), Epoch::ZERO);
        membership.named(epoch(6), epoch(5));
        membership.named(epoch(7), epoch(6));
        assert_eq!(membership.since(epoch(7)), epoch(6));
    }

    #[test]
    fn a_view_before_that_is_heard_of_later_is_a_gap_unless_it_named_this_node() {
        let mut membership = Membership::default();
        membership.named(epoch(3), Epoch::ZERO);
        membership.named(epoch(4), epoch(3));
        membership.named(epoch(7), epoch(3));
        membership.follows(epoch(7), epoch(4));
        assert_eq!(membership.since(epoch(7)), epoch(3));
        membership.follows(epoch(7), epoch(6));
        membership.named(epoch(8), epoch(7));
        assert_eq!((membership.since(epoch(7)), membership.since(epoch(8))), (epoch(7), epoch(7)));
    }

    #[test]
    fn a_view_that_is_not_remembered_is_a_gap() {
        let mut membership = Membership::default();
        membership.named(epoch(1), Epoch::ZERO);
        membership.named(epoch(2), epoch(1));
        for number in 3..100 {
            membership.named(epoch(number), epoch(2));
        }
        assert_eq!((membership.since(epoch(99)), membership.since(epoch(2))), (epoch(99), epoch(2)));
    }
}
