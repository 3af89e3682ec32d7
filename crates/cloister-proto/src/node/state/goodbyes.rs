//! The goodbyes that a node has learned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::{Address, NodeId};
use crate::time::Time;
use crate::view::View;

/// The maximal number of members in all views of the goodbyes in one heartbeat; the first goodbye may exceed it.
pub(crate) const MAX_NAMED: usize = 4096;

/// The goodbyes that this node has learned, in the order in which it learned them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Goodbyes {
    pub(crate) by_node: BTreeMap<NodeId, KnownGoodbye>,
    /// The number of the newest goodbye. Numbers let each peer be sent each goodbye once.
    pub(crate) newest: u64,
}

/// A goodbye as this node learned it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct KnownGoodbye {
    /// The views that the leaver installed last, or acknowledged since.
    pub(crate) base_views: Vec<Arc<View>>,
    pub(crate) at: Time,
    pub(crate) number: u64,
    /// Members of these views whose address has refused a connection since. This node may never have been linked to them.
    pub(crate) exited: BTreeSet<NodeId>,
}

impl Goodbyes {
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn get(&self, incarnation: &NodeId) -> Option<&KnownGoodbye> {
        self.by_node.get(incarnation)
    }

    /// The nodes whose goodbyes are known.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.by_node.keys()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &KnownGoodbye> {
        self.by_node.values()
    }

    /// Adds a goodbye; returns whether it is new.
    pub(crate) fn learn(&mut self, incarnation: NodeId, base_views: Vec<Arc<View>>, at: Time) -> bool {
        if self.by_node.contains_key(&incarnation) {
            return false;
        }
        self.newest += 1;
        self.by_node.insert(
            incarnation,
            KnownGoodbye { base_views, at, number: self.newest, exited: BTreeSet::new() },
        );
        true
    }

    /// The goodbyes with a number above `sent`, the oldest first, and the number of the last of them.
    pub(crate) fn after(&self, sent: u64) -> (Vec<(&NodeId, &KnownGoodbye)>, u64) {
        let mut unsent: Vec<_> = self.by_node.iter().filter(|(_, learned)| learned.number > sent).collect();
        unsent.sort_unstable_by_key(|(_, learned)| learned.number);
        let mut named = 0;
        unsent.retain(|(_, learned)| {
            let before = named;
            named += 1 + learned.base_views.iter().map(|view| view.members().len()).sum::<usize>();
            before == 0 || named <= MAX_NAMED
        });
        let last = unsent.last().map_or(self.newest, |(_, learned)| learned.number);
        (unsent, last)
    }

    /// An address refuses connections: the members of these views at this address have exited.
    pub(crate) fn mark_exited_at(&mut self, address: &Address, began: Time) {
        for learned in self.by_node.values_mut().filter(|learned| learned.at <= began) {
            let at_address = |id: &&NodeId| id.name().address() == Some(address);
            let ended = learned.base_views.iter().flat_map(|view| view.ids()).filter(at_address).cloned();
            learned.exited.extend(ended);
        }
    }

    pub(crate) fn has_exited(&self, incarnation: &NodeId) -> bool {
        self.by_node.values().any(|learned| learned.exited.contains(incarnation))
    }

    /// Drops views that need not be followed; returns whether there were any.
    pub(crate) fn retain_views(&mut self, keep: impl Fn(&View) -> bool) -> bool {
        let mut dropped = false;
        for learned in self.by_node.values_mut() {
            let known = learned.base_views.len();
            learned.base_views.retain(|view| keep(view));
            dropped |= learned.base_views.len() < known;
        }
        dropped
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&NodeId, &KnownGoodbye) -> bool) {
        self.by_node.retain(|incarnation, learned| keep(incarnation, learned));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::name::Incarnation;
    use crate::view::{Epoch, Member};

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n)
    }

    fn view(epoch: u64, members: u64) -> Arc<View> {
        let members = (0..members).map(|n| Member::without_tags(node(n))).collect();
        Arc::new(View::new(Epoch::from_u64(epoch), members))
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// Whose goodbyes are sent to a peer that was sent those up to a number, and up to which number it was sent them then.
    fn sent_after(goodbyes: &Goodbyes, sent: u64) -> (Vec<NodeId>, u64) {
        let (unsent, last) = goodbyes.after(sent);
        (unsent.into_iter().map(|(incarnation, _)| incarnation.clone()).collect(), last)
    }

    #[test]
    fn each_goodbye_is_sent_once_in_the_order_in_which_it_was_learned() {
        let mut goodbyes = Goodbyes::default();
        assert_eq!((goodbyes.newest(), sent_after(&goodbyes, 0)), (0, (vec![], 0)));
        for n in [3, 1, 2] {
            assert!(goodbyes.learn(node(n), Vec::new(), at(n)));
            assert!(!goodbyes.learn(node(n), Vec::new(), at(9)), "it is no news");
        }
        assert_eq!(goodbyes.newest(), 3);
        assert_eq!(sent_after(&goodbyes, 0), (vec![node(3), node(1), node(2)], 3));
        assert_eq!(sent_after(&goodbyes, 1), (vec![node(1), node(2)], 3));
        assert_eq!(sent_after(&goodbyes, 3), (vec![], 3));
    }

    #[test]
    fn goodbyes_that_name_too_many_for_one_heartbeat_come_in_several() {
        let mut goodbyes = Goodbyes::default();
        let half = MAX_NAMED as u64 / 2 - 1;
        // Alone it names too many, and goes all the same.
        goodbyes.learn(node(1), vec![view(1, MAX_NAMED as u64)], at(1));
        goodbyes.learn(node(2), vec![view(2, half)], at(1));
        goodbyes.learn(node(3), vec![view(3, half - 1), view(4, 1)], at(1));
        goodbyes.learn(node(4), Vec::new(), at(1));
        assert_eq!(sent_after(&goodbyes, 0), (vec![node(1)], 1));
        assert_eq!(sent_after(&goodbyes, 1), (vec![node(2), node(3)], 3), "exactly as many as fit");
        assert_eq!(sent_after(&goodbyes, 3), (vec![node(4)], 4));
    }

    #[test]
    fn an_address_that_refuses_ends_the_members_of_a_handed_view_that_had_it_before() {
        let mut goodbyes = Goodbyes::default();
        goodbyes.learn(node(9), vec![view(1, 3)], at(10));
        let address = |n: u64| node(n).name().address().expect("it has one").clone();
        goodbyes.mark_exited_at(&address(1), at(9));
        assert!(!goodbyes.has_exited(&node(1)), "the attempt began before the goodbye");
        goodbyes.mark_exited_at(&address(1), at(10));
        assert!(goodbyes.has_exited(&node(1)) && !goodbyes.has_exited(&node(2)));
        goodbyes.mark_exited_at(&address(7), at(11));
        assert!(!goodbyes.has_exited(&node(7)), "it is in no view");
    }
}
