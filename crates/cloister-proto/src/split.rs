//! Split-brain resolver: which part of a cluster goes on when the network splits, by its quorum or its oldest member. One pure decision.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fmt;

use crate::change::ClusterState;
use crate::majority::{self, MemberCounts};
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
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::SplitPolicy;
///
/// let policy = SplitPolicy::default();
/// assert_eq!(policy.as_str(), "majority");
/// assert!(!policy.allows_two_survivors(2, 5));
/// assert!(SplitPolicy::Consensus.allows_two_survivors(2, 5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
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
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitPolicy::Majority => "majority",
            SplitPolicy::Consensus => "consensus",
            SplitPolicy::KeepOldest => "keep-oldest",
        }
    }

    /// How many members of `view` may crash at once before the rest stops, whichever they are.
    /// Under [`KeepOldest`](SplitPolicy::KeepOldest) the oldest must not be among them.
    #[must_use]
    pub fn tolerated_losses(self, consensus: usize, view: &View) -> usize {
        let members = view.members().len();
        let needed = match self {
            SplitPolicy::Majority => majority::required_members(view.size(), consensus).max(members / 2 + 1),
            SplitPolicy::Consensus | SplitPolicy::KeepOldest => consensus,
        };
        members.saturating_sub(needed)
    }

    /// Whether both parts of a split of `members` nodes may go on.
    #[must_use]
    pub fn allows_two_survivors(self, consensus: usize, members: usize) -> bool {
        self == SplitPolicy::Consensus && members >= 2 * consensus
    }
}

/// How the cluster would survive a loss or a split now, by the view of one node.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{Epoch, Incarnation, Member, NodeId, SplitPolicy, SplitReport, View};
///
/// let node = |n: u64| NodeId::new(format!("shop@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let view = View::new(Epoch::from_u64(1), (1..=3).map(|n| Member::without_tags(node(n))).collect());
/// let report = SplitReport::new(SplitPolicy::Majority, 2, &view);
/// assert!(report.warnings().is_empty());
/// // Two of five were lost: the next loss stops the rest.
/// let report = SplitReport::new(SplitPolicy::Majority, 2, &view.with_size(5));
/// assert_eq!(report.warnings().len(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitReport {
    /// Which part goes on when the network splits.
    pub policy: SplitPolicy,
    /// The configured `consensus`.
    pub consensus: usize,
    /// How many members the view has.
    pub members: usize,
    /// How many nodes the cluster counts: see [`View::size`].
    pub cluster_size: usize,
    /// How many members may crash at once while the rest goes on: see [`SplitPolicy::tolerated_losses`].
    pub tolerated_losses: usize,
    /// Whether two parts of a split may both go on.
    pub allows_two_survivors: bool,
}

impl SplitReport {
    /// The report on a view of a cluster whose nodes all have this policy and this `consensus`.
    #[must_use]
    pub fn new(policy: SplitPolicy, consensus: usize, view: &View) -> Self {
        let members = view.members().len();
        Self {
            policy,
            consensus,
            members,
            cluster_size: view.size(),
            tolerated_losses: policy.tolerated_losses(consensus, view),
            allows_two_survivors: policy.allows_two_survivors(consensus, members),
        }
    }

    /// The report on the view that a node is in; `None` while it is in none.
    #[must_use]
    pub fn of(policy: SplitPolicy, consensus: usize, state: &ClusterState) -> Option<Self> {
        let view = state.view.as_ref().filter(|_| state.sentry.is_some())?;
        Some(Self::new(policy, consensus, view))
    }

    /// The risks that an operator should know of.
    #[must_use]
    pub fn warnings(&self) -> Vec<SplitWarning> {
        let Self { consensus, members, cluster_size: counted, .. } = *self;
        let two = self.allows_two_survivors.then_some(SplitWarning::TwoMaySurvive { members, consensus });
        // A cluster that counts no more nodes than its members has its intended size.
        let is_short = self.tolerated_losses == 0 && counted > members;
        two.into_iter()
            .chain(is_short.then_some(SplitWarning::NoLossTolerated { members, cluster_size: counted }))
            .collect()
    }
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members, counted {}: can lose ", self.members, self.cluster_size)?;
        if self.tolerated_losses == 0 { f.write_str("none") } else { write!(f, "{}", self.tolerated_losses) }
    }
}

/// A risk of a cluster that is up: the next loss or split does harm.
///
/// [`SplitReport`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitWarning {
    /// Under `consensus`: both halves of a split have enough members to go on.
    TwoMaySurvive {
        /// How many members the view has.
        members: usize,
        /// The configured `consensus`.
        consensus: usize,
    },
    /// Under `majority`: members were lost without a goodbye, and after one more the rest stops.
    NoLossTolerated {
        /// How many members the view has.
        members: usize,
        /// How many nodes the cluster counts.
        cluster_size: usize,
    },
}

impl fmt::Display for SplitWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitWarning::TwoMaySurvive { members, consensus } => write!(
                f,
                "{members} members and `consensus` = {consensus}: if the network splits, two parts may both go on. Set `split` = \
                 \"majority\", or a `consensus` of at least {}",
                members / 2 + 1
            ),
            SplitWarning::NoLossTolerated { members, cluster_size: counted } => write!(
                f,
                "{members} members, counted {counted}: can lose none. If one more goes without a goodbye, the rest stops. Start a \
                 further node"
            ),
        }
    }
}

/// Whether `partition` of the view `base`, in order of age, goes on after it has lost all other members.
///
/// `has_exited` returns whether the process of a lost member is known to have exited.
///
/// ```
/// use cloister_proto::split::survives;
/// use cloister_proto::{Epoch, Incarnation, Member, NodeId, SplitPolicy, View};
///
/// let node = |n: u64| NodeId::new(format!("app@10.0.0.{n}:4370").parse().unwrap(), Incarnation(n), n);
/// let view = View::new(Epoch::from_u64(1), (1..=4).map(|n| Member::without_tags(node(n))).collect());
/// let half = [node(1), node(2)];
/// assert!(!survives(SplitPolicy::Majority, 3, &view, &half, |_| false));
/// assert!(survives(SplitPolicy::Majority, 3, &view, &half, |_| true));
/// ```
pub fn survives(
    policy: SplitPolicy,
    consensus: usize,
    base: &View,
    partition: &[NodeId],
    has_exited: impl Fn(&NodeId) -> bool,
) -> bool {
    if policy != SplitPolicy::Majority {
        return partition_survives(policy, consensus, [base], partition, |_| false);
    }
    let (here, away): (Vec<&NodeId>, Vec<&NodeId>) = base.ids().partition(|id| partition.contains(id));
    let ended = away.iter().filter(|id| has_exited(id)).count();
    let incarnations = base.members().len();
    let counts = MemberCounts {
        size: base.size(),
        members: incarnations,
        present: here.len(),
        left: 0,
        exited: ended,
    };
    majority::decide_succession(consensus, partition.len(), &[counts], true, || away.len(), |_| true).is_ok()
}

/// Whether `partition` may go on under `consensus` or `keep-oldest`; the rule of `majority` is `majority::partition_survives`.
///
/// `base_views` are the views it comes from: the one installed last, and each one promised since that may have been installed elsewhere.
/// Without any, `consensus` alone decides. A member of a base that has been replaced by another process at the same name counts as present
/// with it. One that has sent its goodbye counts no more.
pub(crate) fn partition_survives<'a>(
    policy: SplitPolicy,
    consensus: usize,
    base_views: impl IntoIterator<Item = &'a View>,
    partition: &[NodeId],
    has_left: impl Fn(&NodeId) -> bool,
) -> bool {
    // Evaluated after every event, so nothing is counted that the policy does not need.
    let names = LazyCell::new(|| partition.iter().map(NodeId::name).collect::<BTreeSet<&NodeName>>());
    let present = |id: &NodeId| names.contains(id.name());
    let has_oldest = |base: &View| {
        let mut staying = base.ids().filter(|id| present(id) || !has_left(id));
        staying.next().is_none_or(present)
    };
    let needs_oldest = policy == SplitPolicy::KeepOldest;
    partition.len() >= consensus && (!needs_oldest || base_views.into_iter().all(has_oldest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;
    use crate::view::{Epoch, Member};

    fn node(n: u64) -> NodeId {
        incarnation(n, n)
    }

    fn incarnation(n: u64, incarnation: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(incarnation), n)
    }

    fn view(nodes: &[u64]) -> View {
        View::new(Epoch::from_u64(1), nodes.iter().map(|n| Member::without_tags(node(*n))).collect())
    }

    /// Whether this part of a view of 1 to 5 (1 the oldest) survives.
    fn five_survive(policy: SplitPolicy, consensus: usize, partition: &[u64]) -> bool {
        let partition: Vec<NodeId> = partition.iter().map(|n| node(*n)).collect();
        partition_survives(policy, consensus, [&view(&[1, 2, 3, 4, 5])], &partition, |_| false)
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
        for (partition, expected) in table {
            let found = [Consensus, KeepOldest].map(|policy| five_survive(policy, 2, partition));
            assert_eq!(found, expected, "{partition:?} under consensus, keep-oldest");
        }
    }

    #[test]
    fn a_view_knows_how_many_members_it_can_lose() {
        use SplitPolicy::{Consensus, Majority};
        let spare =
            |policy: SplitPolicy, size: usize| policy.tolerated_losses(2, &view(&[1, 2, 3]).with_size(size));
        assert_eq!((spare(Majority, 3), spare(Majority, 5), spare(Consensus, 3)), (1, 0, 1));
        assert!(
            Consensus.allows_two_survivors(2, 4)
                && !Consensus.allows_two_survivors(2, 3)
                && !Majority.allows_two_survivors(2, 4)
        );
        assert!(Consensus.allows_two_survivors(3, 6) && !Consensus.allows_two_survivors(3, 5));
        // Half of four could begin anew where three must, but a lease needs more than half of the view.
        assert_eq!(
            (
                Majority.tolerated_losses(3, &view(&[1, 2, 3, 4])),
                Majority.tolerated_losses(1, &view(&[1, 2, 3, 4, 5]))
            ),
            (1, 2)
        );
    }

    #[test]
    fn a_part_goes_on_by_the_policy_and_by_what_is_known_of_those_it_has_lost() {
        use SplitPolicy::{Consensus, KeepOldest, Majority};
        let four = view(&[1, 2, 3, 4]);
        let goes = |policy: SplitPolicy, partition: &[u64], ended: &[u64]| {
            let partition: Vec<NodeId> = partition.iter().map(|n| node(*n)).collect();
            survives(policy, 3, &four, &partition, |id| ended.iter().any(|n| *id == node(*n)))
        };
        assert!(goes(Majority, &[2, 3, 4], &[]) && !goes(Majority, &[1], &[2, 3, 4]));
        assert!(!goes(Majority, &[1, 2], &[3]) && goes(Majority, &[1, 2], &[3, 4]), "exactly half");
        assert!(goes(Consensus, &[2, 3, 4], &[]) && !goes(Consensus, &[1, 2], &[3, 4]));
        assert!(goes(KeepOldest, &[1, 2, 3], &[]) && !goes(KeepOldest, &[2, 3, 4], &[1]));
    }

    #[test]
    fn a_report_says_what_the_view_can_lose_and_warns_before_it_hurts() {
        use SplitPolicy::{Consensus, KeepOldest, Majority};
        let report = |policy, consensus, size| {
            let view = view(&[1, 2, 3]).with_size(size);
            let report = SplitReport::new(policy, consensus, &view);
            (report.to_string(), report.warnings())
        };
        let said = |text: &str, warnings: Vec<SplitWarning>| (text.to_owned(), warnings);
        let none = said("3 members, counted 3: can lose 1", vec![]);
        let short = SplitWarning::NoLossTolerated { members: 3, cluster_size: 5 };
        let two = SplitWarning::TwoMaySurvive { members: 3, consensus: 1 };
        assert_eq!(report(Majority, 2, 3), none);
        assert_eq!(report(Majority, 1, 3), none, "the gate splits no view");
        assert_eq!(report(Majority, 3, 5), said("3 members, counted 5: can lose none", vec![short]));
        assert_eq!(report(Consensus, 2, 3), none, "less than two times `consensus`");
        assert_eq!(report(Consensus, 1, 3), said("3 members, counted 3: can lose 2", vec![two]));
        assert_eq!(report(Consensus, 3, 3), said("3 members, counted 3: can lose none", vec![]));
        assert_eq!(report(KeepOldest, 1, 3), said("3 members, counted 3: can lose 2", vec![]));
        let texts = [short, two].map(|warning| warning.to_string());
        assert!(texts[0].starts_with("3 members, counted 5: can lose none."), "{}", texts[0]);
        let remedy = "Set `split` = \"majority\", or a `consensus` of at least 2";
        assert!(
            texts[1].contains("3 members and `consensus` = 1") && texts[1].ends_with(remedy),
            "{}",
            texts[1]
        );
    }

    #[test]
    fn only_a_view_that_the_node_is_in_is_reported_on() {
        let view = view(&[1, 2, 3]);
        let me = view.members()[0].clone();
        let mut state = ClusterState::initial(me.clone());
        let report =
            |state: &ClusterState| SplitReport::of(SplitPolicy::Majority, 2, state).map(|r| r.members);
        assert_eq!(report(&state), None);
        state.view = Some(view.into());
        assert_eq!(report(&state), None, "it has stepped down");
        state.sentry = Some(me.id);
        assert_eq!(report(&state), Some(3));
    }

    #[test]
    fn every_view_that_may_have_been_installed_counts() {
        let (installed, promised) = (view(&[2, 3, 4]), view(&[1, 2, 3, 4, 5]));
        let partition = [node(2), node(3)];
        assert!(partition_survives(SplitPolicy::KeepOldest, 1, [&installed], &partition, |_| false));
        assert!(!partition_survives(SplitPolicy::KeepOldest, 1, [&installed, &promised], &partition, |_| {
            false
        }));
    }

    #[test]
    fn a_process_that_came_back_counts_for_the_one_it_replaces_under_keep_oldest() {
        let partition = [incarnation(1, 7), incarnation(2, 8)];
        assert!(partition_survives(
            SplitPolicy::KeepOldest,
            1,
            [&view(&[1, 2, 3, 4, 5])],
            &partition,
            |_| false
        ));
    }

    #[test]
    fn a_node_that_said_goodbye_counts_no_more() {
        let partition = [node(2), node(3)];
        let base = view(&[1, 2, 3, 4]);
        assert!(!partition_survives(SplitPolicy::KeepOldest, 1, [&base], &partition, |_| false));
        assert!(partition_survives(SplitPolicy::KeepOldest, 1, [&base], &partition, |id| *id == node(1)));
    }

    #[test]
    fn no_view_is_smaller_than_consensus() {
        for policy in [SplitPolicy::Consensus, SplitPolicy::KeepOldest] {
            assert!(!five_survive(policy, 4, &[1, 2, 3]));
        }
    }
}
