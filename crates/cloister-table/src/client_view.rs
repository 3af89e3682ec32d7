//! The view by which this node sends operations, and since when it has been a member all the time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_core::Epoch;
use cloister_table_proto::{Membership, Placement};
use tokio::sync::watch;

/// The view by which this node sends operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientView {
    /// The view that this node is up in.
    pub(crate) epoch: Option<Epoch>,
    /// Since which view this node has been a member all the time. Owners remember its operations from then on.
    pub(crate) since: Epoch,
    /// This node leaves, or has ended.
    pub(crate) is_over: bool,
}

/// That view, and those before it.
#[derive(Debug, Default)]
pub(crate) struct ClientViews {
    present: watch::Sender<ClientView>,
    /// Locked before `present` is changed.
    membership: Mutex<Membership>,
}

impl ClientViews {
    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the present view.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ClientView> {
        self.present.subscribe()
    }

    /// The view that this node is up in.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.present.borrow().epoch
    }

    /// This node has begun anew.
    pub(crate) fn reset(&self) {
        let mut membership = self.membership();
        *membership = Membership::default();
        self.present.send_replace(ClientView::default());
    }

    /// This view names the node.
    pub(crate) fn named(&self, placement: &Placement) {
        self.membership().named(placement.epoch(), placement.predecessor());
    }

    /// This node sends operations by the view of `epoch` from now on. Returns whether it did not before.
    pub(crate) fn up(&self, epoch: Epoch) -> bool {
        let membership = self.membership();
        let present = ClientView { epoch: Some(epoch), since: membership.since(epoch), is_over: false };
        self.present.send_replace(present).epoch != Some(epoch)
    }

    /// This node is up in no view.
    pub(crate) fn down(&self, is_over: bool) {
        self.present.send_modify(|view| (view.epoch, view.is_over) = (None, is_over));
    }

    /// A table has heard that the view of `epoch` follows a later one than the membership knew.
    pub(crate) fn follows(&self, epoch: Epoch, predecessor: Epoch) {
        let mut membership = self.membership();
        membership.follows(epoch, predecessor);
        let since = membership.since(epoch);
        self.present.send_if_modified(|view| {
            let is_later = view.epoch == Some(epoch) && view.since < since;
            if is_later {
                view.since = since;
            }
            is_later
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloister_core::{Incarnation, NodeId, Ring};

    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::from_u64(number)
    }

    #[test]
    fn what_a_table_hears_of_the_view_before_counts_before_and_after_the_view_begins() {
        let members = [NodeId::new("shop@10.0.0.1:4370".parse().expect("a name"), Incarnation(1), 1)];
        let placement = |view: u64, predecessor: u64| {
            let replicas = Arc::new(Ring::new(&members).replicas(1));
            Placement::new(epoch(view), epoch(predecessor), members.clone().into(), replicas)
        };
        for hears_first in [true, false] {
            let views = ClientViews::default();
            let known = views.subscribe();
            let since = || (known.borrow().epoch, known.borrow().since);
            views.named(&placement(3, 0));
            assert!(views.up(epoch(3)) && !views.up(epoch(3)));
            views.down(false);
            assert_eq!(since(), (None, epoch(3)));
            views.named(&placement(7, 3));
            if hears_first {
                views.follows(epoch(7), epoch(6));
                assert_eq!(since(), (None, epoch(3)));
                assert!(views.up(epoch(7)));
            } else {
                assert!(views.up(epoch(7)));
                assert_eq!(since(), (Some(epoch(7)), epoch(3)));
                views.follows(epoch(7), epoch(6));
            }
            assert_eq!(since(), (Some(epoch(7)), epoch(7)));
            // Of another view it says nothing.
            views.follows(epoch(6), epoch(5));
            assert_eq!(since(), (Some(epoch(7)), epoch(7)));
        }
    }
}
