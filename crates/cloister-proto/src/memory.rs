//! What a node leaves to its next incarnation, if the shell persists it.

use crate::goodbye::Goodbye;
use crate::name::NodeId;
use crate::view::View;

/// What a node leaves to its next incarnation: the setting `state_file`, for the split policy `majority`.
///
/// A node that remembers nothing may begin a cluster beside one that it was a member of. With a memory it has to follow the
/// views of its earlier incarnation, as that incarnation had to.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Memory {
    /// The incarnation that this is the memory of; `None` if there was none yet.
    pub node: Option<NodeId>,
    /// Earlier incarnations that the views below name. Each of them has ended, since the next one could read what it left.
    pub former: Vec<NodeId>,
    /// The view installed last.
    pub installed: Option<View>,
    /// Views that were acknowledged since: each may have been installed elsewhere.
    pub acknowledged: Vec<View>,
    /// Goodbyes of members of these views, and that of [`Memory::node`] if it left in order.
    pub goodbyes: Vec<Goodbye>,
}

impl Memory {
    /// Whether the incarnation left in order: it handed its views over, and the next one begins as a newcomer.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.goodbyes.iter().any(|goodbye| Some(&goodbye.node) == self.node.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    #[test]
    fn an_incarnation_left_in_order_if_its_own_goodbye_is_kept() {
        let node = |n: u64| NodeId::new("app@h:1".parse().expect("a name"), Incarnation(n), n);
        let goodbye = |n: u64| Goodbye { node: node(n), base_views: Vec::new() };
        let has_left = |of: &[u64]| {
            let goodbyes = of.iter().map(|n| goodbye(*n)).collect();
            Memory { node: Some(node(1)), goodbyes, ..Memory::default() }.has_left()
        };
        assert_eq!(
            [has_left(&[]), has_left(&[2]), has_left(&[1]), has_left(&[2, 1])],
            [false, false, true, true]
        );
    }
}
