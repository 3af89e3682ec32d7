//! Who goes on when the network splits: one pure decision.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use crate::majority::{self, Tally};
use crate::name::{NodeId, NodeName};
use crate::view::View;

/// Which part of the cluster goes on when the network splits.
///
/// | split of 5 | `majority` | `consensus` = 2 | `keep-oldest`, `consensus` = 2 |
/// |---|---|---|---|
/// | 3 with the oldest / 2 | the 3 | both | the 3 |
/// | 3 / 2 with the oldest | the 3 | both | the 2 |
/// | 2 with the oldest / 2 / 1 | none | both 2 | the 2 with the oldest |
/// | 4 / 1 with the oldest | the 4 | the 4 | none: 1 is fewer than `consensus` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SplitPolicy {
    /// The part with more than half of the last view and of all nodes that the cluster counts. Nodes that leave in order
    /// count no more. `consensus` says only how many nodes the first assembly needs.
    #[default]
    Majority,
    /// Every part with at least `consensus` nodes. One at most, if `consensus` is more than half of all nodes.
    Consensus,
    /// The part with the oldest member of the last view, if it has at least `consensus` nodes.
    KeepOldest,
}

impl SplitPolicy {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitPolicy::Majority => "majority",
            SplitPolicy::Consensus => "consensus",
            SplitPolicy::KeepOldest => "keep-oldest",
        }
    }

    /// How many members of `view` may be lost at once without a goodbye before the rest stops, whichever they are.
    /// Under [`KeepOldest`](SplitPolicy::KeepOldest) the oldest must not be among them.
    pub fn spare(self, consensus: usize, view: &View) -> usize {
        let members = view.members().len();
        let needed = match self {
            SplitPolicy::Majority => majority::need(view.size(), consensus).max(members / 2 + 1),
            SplitPolicy::Consensus | SplitPolicy::KeepOldest => consensus,
        };
        members.saturating_sub(needed)
    }

    /// Whether both parts of a split of `members` nodes may go on.
    pub fn allows_two(self, consensus: usize, members: usize) -> bool {
        self == SplitPolicy::Consensus && members >= 2 * consensus
    }
}

/// Whether `part` of the view `base`, in order of age, goes on when it has lost all other members.
///
/// `has_ended` tells of a lost member whether its process is known to be gone; of others it is not known.
///
/// ```
/// use cloister_proto::split::goes_on;
/// use cloister_proto::{Epoch, Incarnation, Member, NodeId, SplitPolicy, View};
///
/// let node = |n: u64| NodeId::new(format!("app@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let view = View::new(Epoch::from_u64(1), (1..=4).map(|n| Member::untagged(node(n))).collect());
/// let half = [node(1), node(2)];
/// assert!(!goes_on(SplitPolicy::Majority, 3, &view, &half, |_| false));
/// assert!(goes_on(SplitPolicy::Majority, 3, &view, &half, |_| true));
/// ```
pub fn goes_on(
    policy: SplitPolicy,
    consensus: usize,
    base: &View,
    part: &[NodeId],
    has_ended: impl Fn(&NodeId) -> bool,
) -> bool {
    if policy != SplitPolicy::Majority {
        return decide(policy, consensus, [base], part, |_| false);
    }
    let (here, away): (Vec<&NodeId>, Vec<&NodeId>) = base.ids().partition(|id| part.contains(id));
    let ended = away.iter().filter(|id| has_ended(id)).count();
    let lives = base.members().len();
    let tally = Tally { size: base.size(), lives, present: here.len(), left: 0, ended };
    majority::decide(consensus, part.len(), &[tally], true, || away.len(), |_| true).is_ok()
}

/// Whether `part` may go on under `consensus` or `keep-oldest`; the rule of `majority` is `majority::decide`.
///
/// `bases` are the views it comes from: the one installed last, and each one promised since that may have
/// been installed elsewhere. Without any, `consensus` alone decides. A member of a base that has been replaced by
/// another process at the same name counts as present with it; one that has said goodbye counts no more.
pub(crate) fn decide<'a>(
    policy: SplitPolicy,
    consensus: usize,
    bases: impl IntoIterator<Item = &'a View>,
    part: &[NodeId],
    has_left: impl Fn(&NodeId) -> bool,
) -> bool {
    // Asked after every event, so nothing is counted that the policy does not ask for.
    let names = LazyCell::new(|| part.iter().map(NodeId::name).collect::<BTreeSet<&NodeName>>());
    let present = |id: &NodeId| names.contains(id.name());
    let has_oldest = |base: &View| {
        let mut staying = base.ids().filter(|id| present(id) || !has_left(id));
        staying.next().is_none_or(present)
    };
    let needs_oldest = policy == SplitPolicy::KeepOldest;
    part.len() >= consensus && (!needs_oldest || bases.into_iter().all(has_oldest))
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
        use SplitPolicy::{Consensus, KeepOldest};
        let table: [(&[u64], [bool; 2]); 9] = [
            (&[1, 2, 3], [true, true]),
            (&[4, 5], [true, false]),
            (&[3, 4, 5], [true, false]),
            (&[1, 2], [true, true]),
            (&[2, 3], [true, false]),
            (&[5], [false, false]),
            (&[1], [false, false]),
            (&[2, 3, 4, 5], [true, false]),
            (&[1, 2, 3, 4, 5], [true, true]),
        ];
        for (part, expected) in table {
            let found = [Consensus, KeepOldest].map(|policy| stands(policy, 2, part));
            assert_eq!(found, expected, "{part:?} under consensus, keep-oldest");
        }
    }

    #[test]
    fn a_view_knows_how_many_members_it_can_lose() {
        use SplitPolicy::{Consensus, Majority};
        let spare = |policy: SplitPolicy, size: usize| policy.spare(2, &view(&[1, 2, 3]).with_size(size));
        assert_eq!((spare(Majority, 3), spare(Majority, 5), spare(Consensus, 3)), (1, 0, 1));
        assert!(Consensus.allows_two(2, 4) && !Consensus.allows_two(2, 3) && !Majority.allows_two(2, 4));
    }

    #[test]
    fn every_view_that_may_have_been_installed_counts() {
        let (installed, promised) = (view(&[2, 3, 4]), view(&[1, 2, 3, 4, 5]));
        let part = [node(2), node(3)];
        assert!(decide(SplitPolicy::KeepOldest, 1, [&installed], &part, |_| false));
        assert!(!decide(SplitPolicy::KeepOldest, 1, [&installed, &promised], &part, |_| false));
    }

    #[test]
    fn a_process_that_came_back_counts_for_the_one_it_replaces_under_keep_oldest() {
        let part = [life(1, 7), life(2, 8)];
        assert!(decide(SplitPolicy::KeepOldest, 1, [&view(&[1, 2, 3, 4, 5])], &part, |_| false));
    }

    #[test]
    fn a_node_that_said_goodbye_counts_no_more() {
        let part = [node(2), node(3)];
        let base = view(&[1, 2, 3, 4]);
        assert!(!decide(SplitPolicy::KeepOldest, 1, [&base], &part, |_| false));
        assert!(decide(SplitPolicy::KeepOldest, 1, [&base], &part, |id| *id == node(1)));
    }

    #[test]
    fn no_view_is_smaller_than_consensus() {
        for policy in [SplitPolicy::Consensus, SplitPolicy::KeepOldest] {
            assert!(!stands(policy, 4, &[1, 2, 3]));
        }
    }
}
