//! The tie-break of simultaneous dials: of two connections that a pair of nodes dialled from both ends at once, one gets a session.
//!
//! ractor has a rule of its own: when both are authenticated, it keeps the one of the node whose name sorts last. But by then
//! the other may be a link, and would end. So that node, the *decider*, lets the connection begin that is first there, and refuses
//! the other before either end hands it to ractor. Both pass the decider: the one that it dialled when the peer has proved itself, the
//! other before the decider proves itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_proto::LinkId;

/// Decides for one node which connections begin a session.
pub(super) struct TieBreak {
    /// The name of this node, as ractor compares it.
    name: String,
    /// The connections that have begun a session and have not ended.
    begun: Mutex<BTreeMap<LinkId, Begun>>,
}

struct Begun {
    peer: String,
    dialled: bool,
}

impl TieBreak {
    pub(super) fn new(name: String) -> Self {
        Self { name, begun: Mutex::default() }
    }

    /// Whether `link` with the node named `peer` may begin a session; if so, it has begun until [`TieBreak::end`].
    pub(super) fn begin(&self, link: LinkId, peer: &str, dialled: bool) -> bool {
        let mut begun = self.lock();
        let decides = self.name.as_str() > peer;
        // Of two that were dialled from one end ractor keeps the older, or the one that lives: one end knows both.
        if decides && begun.values().any(|other| other.peer == peer && other.dialled != dialled) {
            return false;
        }
        begun.insert(link, Begun { peer: peer.to_owned(), dialled });
        true
    }

    /// The connection has ended.
    pub(super) fn end(&self, link: LinkId) {
        self.lock().remove(&link);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_whose_name_sorts_last_lets_the_first_of_two_opposite_connections_begin() {
        for first_is_dialled in [true, false] {
            let decider = TieBreak::new("b".to_owned());
            assert!(decider.begin(LinkId(1), "a", first_is_dialled));
            assert!(!decider.begin(LinkId(2), "a", !first_is_dialled));
            assert!(decider.begin(LinkId(3), "a", first_is_dialled), "from one end is no tie");
            decider.end(LinkId(1));
            assert!(!decider.begin(LinkId(2), "a", !first_is_dialled), "one is left");
            decider.end(LinkId(3));
            assert!(decider.begin(LinkId(2), "a", !first_is_dialled));
        }
    }

    #[test]
    fn the_other_node_leaves_it_to_the_first_and_pairs_are_apart() {
        let other = TieBreak::new("b".to_owned());
        assert!(other.begin(LinkId(1), "c", true));
        assert!(other.begin(LinkId(2), "c", false));
        assert!(other.begin(LinkId(3), "a", false));
        assert!(other.begin(LinkId(4), "a#", true));
    }
}
