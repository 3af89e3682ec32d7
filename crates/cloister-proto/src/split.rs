//! Who goes on when the network splits: one pure decision.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use crate::name::{NodeId, NodeName};
use crate::view::View;

/// Who goes on when the network splits. Whatever the policy, a view has at least `consensus` members.
///
/// | split of 5, `consensus` = 2 | `consensus` | `keep-majority` | `keep-oldest` |
/// |---|---|---|---|
/// | 3 with the oldest / 2 | both | the 3 | the 3 |
/// | 3 / 2 with the oldest | both | the 3 | the 2 |
/// | 2 with the oldest / 2 / 1 | both 2 | nobody | the 2 with the oldest |
/// | 4 / 1 with the oldest | the 4 | the 4 | nobody: 1 is fewer than `consensus` |
///
/// With `consensus` = 3, more than half of 5, the policies differ only in that the others let even fewer go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SplitPolicy {
    /// Every part with at least `consensus` nodes. One at most, if `consensus` is more than half of all nodes.
    #[default]
    Consensus,
    /// The part with more than half of the last view; of two halves, the one with its oldest member. For clusters
    /// whose size is not known beforehand, where `consensus` may be less than half.
    KeepMajority,
    /// The part with the oldest member of the last view.
    KeepOldest,
}

impl SplitPolicy {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitPolicy::Consensus => "consensus",
            SplitPolicy::KeepMajority => "keep-majority",
            SplitPolicy::KeepOldest => "keep-oldest",
        }
    }
}

/// Whether `part` may go on.
///
/// `bases` are the views it comes from: the one installed last, and each one promised since that may have
/// been installed elsewhere. Without any, `consensus` alone decides. A member of a base that has been replaced by
/// another process at the same name counts as present with it; one that has said goodbye counts no more.
pub fn decide<'a>(
    policy: SplitPolicy,
    consensus: usize,
    bases: impl IntoIterator<Item = &'a View>,
    part: &[NodeId],
    has_left: impl Fn(&NodeId) -> bool,
) -> bool {
    // Asked after every event, so nothing is counted that the policy does not ask for.
    let names = LazyCell::new(|| part.iter().map(NodeId::name).collect::<BTreeSet<&NodeName>>());
    let present = |id: &NodeId| names.contains(id.name());
    let stands = |base: &View| {
        let staying = base.ids().filter(|id| present(id) || !has_left(id));
        let with_oldest = || staying.clone().next().is_none_or(present);
        match policy {
            SplitPolicy::Consensus => true,
            SplitPolicy::KeepOldest => with_oldest(),
            SplitPolicy::KeepMajority => {
                let (all, here) = (staying.clone().count(), base.ids().filter(|id| present(id)).count());
                2 * here > all || (2 * here == all && with_oldest())
            }
        }
    };
    part.len() >= consensus && bases.into_iter().all(stands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;
    use crate::view::{Epoch, Member};

    fn node(n: u64) -> NodeId {
        life(n, n)
    }

    fn life(n: u64, incarnation: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(incarnation), n)
    }

    fn view(nodes: &[u64]) -> View {
        View::new(Epoch::from_u64(1), nodes.iter().map(|n| Member::untagged(node(*n))).collect())
    }

    /// Who goes on when a view of 1 to 5 (1 the oldest) splits into these parts.
    fn stands(policy: SplitPolicy, consensus: usize, part: &[u64]) -> bool {
        let part: Vec<NodeId> = part.iter().map(|n| node(*n)).collect();
        decide(policy, consensus, [&view(&[1, 2, 3, 4, 5])], &part, |_| false)
    }

    #[test]
    fn the_table_of_the_policies_holds() {
        use SplitPolicy::{Consensus, KeepMajority, KeepOldest};
        let table: [(&[u64], [bool; 3]); 9] = [
            (&[1, 2, 3], [true, true, true]),
            (&[4, 5], [true, false, false]),
            (&[3, 4, 5], [true, true, false]),
            (&[1, 2], [true, false, true]),
            (&[2, 3], [true, false, false]),
            (&[5], [false, false, false]),
            (&[1], [false, false, false]),
            (&[2, 3, 4, 5], [true, true, false]),
            (&[1, 2, 3, 4, 5], [true, true, true]),
        ];
        for (part, expected) in table {
            let found = [Consensus, KeepMajority, KeepOldest].map(|policy| stands(policy, 2, part));
            assert_eq!(found, expected, "{part:?} under consensus, keep-majority, keep-oldest");
        }
    }

    #[test]
    fn of_two_halves_the_one_with_the_oldest_goes_on() {
        let base = view(&[1, 2, 3, 4]);
        let half =
            |a: u64, b: u64| decide(SplitPolicy::KeepMajority, 1, [&base], &[node(a), node(b)], |_| false);
        assert!(half(1, 4));
        assert!(!half(2, 3));
    }

    #[test]
    fn every_view_that_may_have_been_installed_counts() {
        let (installed, promised) = (view(&[1, 2, 3]), view(&[1, 2, 3, 4, 5]));
        let part = [node(1), node(2)];
        assert!(decide(SplitPolicy::KeepMajority, 1, [&installed], &part, |_| false));
        assert!(!decide(SplitPolicy::KeepMajority, 1, [&installed, &promised], &part, |_| false));
    }

    #[test]
    fn a_process_that_came_back_counts_for_the_one_it_replaces() {
        let part = [life(1, 7), life(2, 8), life(3, 9)];
        assert!(decide(SplitPolicy::KeepMajority, 1, [&view(&[1, 2, 3, 4, 5])], &part, |_| false));
    }

    #[test]
    fn who_said_goodbye_counts_no_more() {
        let part = [node(2), node(3)];
        let base = view(&[1, 2, 3, 4]);
        for policy in [SplitPolicy::KeepMajority, SplitPolicy::KeepOldest] {
            assert!(!decide(policy, 1, [&base], &part, |_| false));
            assert!(decide(policy, 1, [&base], &part, |id| *id == node(1)));
        }
    }

    #[test]
    fn no_view_is_smaller_than_consensus() {
        for policy in [SplitPolicy::Consensus, SplitPolicy::KeepMajority, SplitPolicy::KeepOldest] {
            assert!(!stands(policy, 4, &[1, 2, 3]));
        }
    }
}
