//! The tie-break of simultaneous dials: of the connections of a pair of nodes, one gets a session.
//!
//! ractor has a rule of its own once two are authenticated. Of two that were dialled from both ends it keeps the one of the node whose name
//! sorts last. Of two that were dialled from one end, as by two addresses of a node, it keeps the one with the lesser random number. By then
//! the other may be a link, and would end. So the node whose name sorts last, the *decider*, lets the connection begin that is first
//! there, and refuses each other before either end hands it to ractor. All pass the decider: one that it dialled when the peer has proved
//! itself, another before the decider proves itself.
//!
//! A connection by which nothing comes in any more is in the way of no other: the peer may have lost it without a word.

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
    is_silent: Box<dyn Fn() -> bool + Send>,
}

impl TieBreak {
    pub(super) fn new(name: String) -> Self {
        Self { name, begun: Mutex::default() }
    }

    /// Whether `link` with the node named `peer` may begin a session; if so, it has begun until [`TieBreak::end`]. `is_silent` says whether
    /// nothing has come in by it for a while.
    pub(super) fn begin(
        &self,
        link: LinkId,
        peer: &str,
        is_silent: impl Fn() -> bool + Send + 'static,
    ) -> bool {
        let mut begun = self.lock();
        let decides = self.name.as_str() > peer;
        if decides && begun.values().any(|other| other.peer == peer && !(other.is_silent)()) {
            return false;
        }
        begun.insert(link, Begun { peer: peer.to_owned(), is_silent: Box::new(is_silent) });
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

    const SPEAKS: fn() -> bool = || false;

    #[test]
    fn the_node_whose_name_sorts_last_lets_the_first_of_several_connections_begin() {
        let decider = TieBreak::new("b".to_owned());
        assert!(decider.begin(LinkId(1), "a", SPEAKS));
        assert!(!decider.begin(LinkId(2), "a", SPEAKS));
        decider.end(LinkId(1));
        assert!(decider.begin(LinkId(2), "a", SPEAKS));
    }

    #[test]
    fn a_connection_by_which_nothing_comes_in_is_in_the_way_of_no_other() {
        let decider = TieBreak::new("b".to_owned());
        assert!(decider.begin(LinkId(1), "a", || true));
        assert!(decider.begin(LinkId(2), "a", SPEAKS));
        assert!(!decider.begin(LinkId(3), "a", SPEAKS));
    }

    #[test]
    fn the_other_node_leaves_it_to_the_first_and_pairs_are_apart() {
        let other = TieBreak::new("b".to_owned());
        assert!(other.begin(LinkId(1), "c", SPEAKS));
        assert!(other.begin(LinkId(2), "c", SPEAKS));
        assert!(other.begin(LinkId(3), "a", SPEAKS));
        assert!(other.begin(LinkId(4), "a#", SPEAKS));
    }
}
