//! Up to which view a node knows what was seen of a slot.

use cloister_proto::Epoch;

/// How many views that may not have been installed are remembered.
const MAX_UNCERTAIN: usize = 16;

/// Up to which view a node knows what was seen of a slot.
///
/// A view shows a slot only once all its members have heard what was seen of it before. So a member that knew it up to the view
/// before knows it in this view, whether the view comes that far or not. But a view that is never installed proves nothing of an
/// installed one that its members had not heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Knowledge {
    /// The view up to which that is certain.
    pub certain: Epoch,
    /// Later views up to which it is so if they were installed.
    pub if_installed: Vec<Epoch>,
}

impl Knowledge {
    /// The node is a member of a view that is being agreed on, and follows the installed one of `predecessor`.
    pub(crate) fn promised(&mut self, epoch: Epoch, predecessor: Epoch) {
        if self.covers(predecessor) {
            self.informed(epoch);
        }
    }

    /// The owner of the slot told the node in this view what was seen before.
    pub(crate) fn informed(&mut self, epoch: Epoch) {
        if !self.if_installed.contains(&epoch) {
            self.if_installed.push(epoch);
        }
        if self.if_installed.len() > MAX_UNCERTAIN {
            self.if_installed.remove(0);
        }
    }

    /// The view was installed.
    pub(crate) fn installed(&mut self, epoch: Epoch) {
        if self.if_installed.contains(&epoch) {
            self.certain = epoch.max(self.certain);
        }
        self.if_installed.retain(|later| *later > epoch);
    }

    /// Whether the node knows what was seen up to this view, which was installed.
    pub(crate) fn covers(&self, epoch: Epoch) -> bool {
        epoch <= self.certain || self.if_installed.contains(&epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::from_u64(number)
    }

    #[test]
    fn a_member_knows_what_it_knew_in_the_view_before() {
        let mut knowledge = Knowledge::default();
        knowledge.promised(epoch(3), Epoch::ZERO);
        knowledge.promised(epoch(4), epoch(3));
        assert!(knowledge.covers(epoch(3)) && knowledge.covers(epoch(4)) && !knowledge.covers(epoch(2)));
        knowledge.installed(epoch(3));
        assert_eq!((knowledge.certain, knowledge.covers(epoch(2))), (epoch(3), true));
        knowledge.promised(epoch(9), epoch(7));
        assert!(!knowledge.covers(epoch(9)), "it was in no view 7");
        knowledge.informed(epoch(9));
        assert!(knowledge.covers(epoch(9)) && !knowledge.covers(epoch(8)));
    }
}
