//! The state of the cluster as one node sees it, and the changes between two states, which listeners are notified of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::name::NodeId;
use crate::status::Status;
use crate::view::{Epoch, Member, View};

/// The cluster as this node sees it at one moment.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{ClusterState, Incarnation, Member, NodeId, Status};
///
/// let node = NodeId::new("shop@10.0.0.7:4370".parse()?, Incarnation(7), 1_790_000_000_000);
/// let state = ClusterState::initial(Member::without_tags(node));
/// assert_eq!((state.status, state.epoch()), (Status::Down, None));
/// # Ok::<(), cloister::NameError>(())
/// ```
#[derive(Clone, Debug, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClusterState {
    /// How many changes came before this state, plus one; never skips a number.
    pub seq: u64,
    /// How far this node has come.
    pub status: Status,
    /// This node.
    pub node: Member,
    /// The present members, the oldest first: the members of the installed view. While the node assembles: the members that are
    /// still reachable, and this node.
    pub members: Vec<Member>,
    /// The view that this node installed last; it still holds only while `status` is [`Status::Up`].
    pub view: Option<Arc<View>>,
    /// The view that is being agreed on, while `status` is [`Status::Rehashing`].
    pub proposed: Option<Arc<View>>,
    /// The members that are planned for the next view, while their listeners warm up: this node is still up, or still assembling. Its
    /// epoch is zero. `None` unless a listener in the cluster warms up.
    pub planned: Option<Arc<View>>,
    /// The oldest member of the installed view; `None` while this node is in none.
    pub sentry: Option<NodeId>,
}

impl ClusterState {
    /// The state of a node that has not started.
    #[must_use]
    pub fn initial(node: Member) -> Self {
        Self {
            seq: 0,
            status: Status::Down,
            members: Vec::new(),
            node,
            view: None,
            proposed: None,
            planned: None,
            sentry: None,
        }
    }

    /// The epoch of the view that this node installed last.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.view.as_ref().map(|view| view.epoch())
    }
}

/// Why a node is no longer there.
///
/// [`Change`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DownReason {
    /// It left in order.
    Left,
    /// Its process has exited: its address refuses connections.
    Crashed,
    /// It is unreachable; it may still run.
    Unreachable,
    /// A younger process answers at its address.
    Replaced,
}

impl DownReason {
    /// The lower-case name, as in logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DownReason::Left => "left",
            DownReason::Crashed => "crashed",
            DownReason::Unreachable => "unreachable",
            DownReason::Replaced => "replaced",
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One difference between two states.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::Change;
///
/// fn line(change: &Change) -> Option<String> {
///     match change {
///         Change::NodeUp { node } => Some(format!("{} joined", node.name())),
///         Change::NodeDown { node, reason } => Some(format!("{} is gone: {}", node.name(), reason.as_str())),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Change {
    /// A node has become a present member.
    NodeUp {
        /// Which one.
        node: NodeId,
    },
    /// A node is no longer a present member.
    NodeDown {
        /// Which one.
        node: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// This node lost its view because these members are unreachable. They may go on without it.
    NetworkSplit {
        /// The unreachable members.
        unreachable: Vec<NodeId>,
    },
    /// Nodes that a split took are present again, in the same incarnations as before.
    NetworkHealed {
        /// Which ones.
        nodes: Vec<NodeId>,
    },
    /// The sentry (leader) is another node, or there is none any more.
    SentryChanged {
        /// The sentry before.
        from: Option<NodeId>,
        /// The sentry now.
        to: Option<NodeId>,
    },
}

/// One step of the cluster as this node sees it.
///
/// The changes are the difference between the state before and [`Transition::state`], not a log of events.
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub struct Transition {
    /// The number of this change; equals `state.seq`.
    pub seq: u64,
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
    /// What is different.
    pub changes: Vec<Change>,
    /// The state now.
    pub state: Arc<ClusterState>,
    /// What waits for listeners, if anything does.
    pub hold: Option<Held>,
}

/// What waits until no listener holds it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// The view of this epoch, which is being agreed on: for `rehash_timeout` at most.
    View(Epoch),
    /// The stop of this node, which leaves: for `leave_timeout` at most.
    Leave,
    /// The round after the announcement of this number, for which listeners warm up: for `rehash_timeout` at most.
    Intent(u64),
}

/// Remembers the last reported state, and computes the changes to the next.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ChangeTracker {
    reported: Arc<ClusterState>,
    /// Members that a split took, until they are present again or known to have exited.
    split_off: BTreeSet<NodeId>,
}

/// What a node observes, before it is numbered and compared.
pub(crate) struct Observed {
    pub(crate) status: Status,
    pub(crate) members: Vec<Member>,
    pub(crate) view: Option<Arc<View>>,
    pub(crate) proposed: Option<Arc<View>>,
    pub(crate) planned: Option<Arc<View>>,
    pub(crate) sentry: Option<NodeId>,
    /// Why nodes are down; a node that is not in the map is unreachable.
    pub(crate) down_reasons: BTreeMap<NodeId, DownReason>,
    /// Whether this node has lost its view, so that unreachable members may go on without it.
    pub(crate) split: bool,
}

impl ChangeTracker {
    pub(crate) fn new(node: Member) -> Self {
        Self { reported: Arc::new(ClusterState::initial(node)), split_off: BTreeSet::new() }
    }

    pub(crate) fn state(&self) -> &Arc<ClusterState> {
        &self.reported
    }

    /// The change from the last reported state to `observed`; `None` when a listener would see no difference.
    pub(crate) fn update(&mut self, observed: Observed, hold: Option<Held>) -> Option<Transition> {
        let before = Arc::clone(&self.reported);
        let changes = self.changes(&before, &observed);
        let epoch = observed.view.as_ref().map(|view| view.epoch());
        let proposed = observed.proposed.as_ref().map(|view| view.epoch());
        let same = changes.is_empty()
            && hold.is_none()
            && before.status == observed.status
            && before.epoch() == epoch
            && before.planned == observed.planned
            && before.proposed.as_ref().map(|view| view.epoch()) == proposed;
        if same {
            return None;
        }
        let state = Arc::new(ClusterState {
            seq: before.seq + 1,
            status: observed.status,
            node: before.node.clone(),
            members: observed.members,
            view: observed.view,
            proposed: observed.proposed,
            planned: observed.planned,
            sentry: observed.sentry,
        });
        self.reported = Arc::clone(&state);
        Some(Transition { seq: state.seq, from: before.status, to: state.status, changes, state, hold })
    }

    fn changes(&mut self, before: &ClusterState, observed: &Observed) -> Vec<Change> {
        let old: BTreeSet<&NodeId> = before.members.iter().map(|member| &member.id).collect();
        let new: BTreeSet<&NodeId> = observed.members.iter().map(|member| &member.id).collect();
        let mut changes = Vec::new();
        let mut unreachable = Vec::new();
        for &node in old.difference(&new) {
            let reason = observed.down_reasons.get(node).copied().unwrap_or(DownReason::Unreachable);
            changes.push(Change::NodeDown { node: node.clone(), reason });
            if reason == DownReason::Unreachable {
                unreachable.push(node.clone());
            }
        }
        for &node in new.difference(&old) {
            changes.push(Change::NodeUp { node: node.clone() });
        }
        if observed.split && !unreachable.is_empty() {
            self.split_off.extend(unreachable.iter().cloned());
            changes.push(Change::NetworkSplit { unreachable });
        }
        self.split_off
            .retain(|node| matches!(observed.down_reasons.get(node), None | Some(DownReason::Unreachable)));
        let healed: Vec<NodeId> = self.split_off.iter().filter(|node| new.contains(node)).cloned().collect();
        if !healed.is_empty() {
            self.split_off.retain(|node| !new.contains(node));
            changes.push(Change::NetworkHealed { nodes: healed });
        }
        if before.sentry != observed.sentry {
            changes.push(Change::SentryChanged { from: before.sentry.clone(), to: observed.sentry.clone() });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n)
    }

    fn there(status: Status, nodes: &[u64]) -> Observed {
        Observed {
            status,
            members: nodes.iter().map(|n| Member::without_tags(node(*n))).collect(),
            view: None,
            proposed: None,
            planned: None,
            sentry: None,
            down_reasons: BTreeMap::new(),
            split: false,
        }
    }

    fn changes_to(record: &mut ChangeTracker, observed: Observed) -> Vec<Change> {
        record.update(observed, None).map_or_else(Vec::new, |change| change.changes)
    }

    #[test]
    fn changes_are_numbered_without_a_gap_and_no_difference_is_no_change() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        let mut seqs = Vec::new();
        for nodes in [&[1][..], &[1], &[1, 2], &[1, 2], &[1]] {
            seqs.push(
                record.update(there(Status::Up, nodes), None).map(|change| (change.seq, change.state.seq)),
            );
        }
        assert_eq!(seqs, [Some((1, 1)), None, Some((2, 2)), None, Some((3, 3))]);
        let held = record.update(there(Status::Up, &[1]), Some(Held::View(Epoch::from_u64(9))));
        assert_eq!(
            held.map(|change| change.hold),
            Some(Some(Held::View(Epoch::from_u64(9)))),
            "a hold is always reported"
        );
    }

    #[test]
    fn members_that_a_split_took_are_reported_healed_once_when_they_are_back() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        changes_to(&mut record, there(Status::Up, &[1, 2, 3, 4]));
        let mut split = there(Status::Assembling, &[1]);
        split.split = true;
        split.down_reasons = [(node(4), DownReason::Crashed)].into();
        let down = |n, reason| Change::NodeDown { node: node(n), reason };
        assert_eq!(
            changes_to(&mut record, split),
            [
                down(2, DownReason::Unreachable),
                down(3, DownReason::Unreachable),
                down(4, DownReason::Crashed),
                Change::NetworkSplit { unreachable: vec![node(2), node(3)] }
            ]
        );
        let up = |n| Change::NodeUp { node: node(n) };
        let healed = |n| Change::NetworkHealed { nodes: vec![node(n)] };
        assert_eq!(changes_to(&mut record, there(Status::Up, &[1, 2])), [up(2), healed(2)]);
        assert_eq!(
            changes_to(&mut record, there(Status::Up, &[1, 2, 4])),
            [up(4)],
            "it was not lost to the split"
        );
        assert_eq!(changes_to(&mut record, there(Status::Up, &[1, 2, 3, 4])), [up(3), healed(3)]);
        assert_eq!(
            changes_to(&mut record, there(Status::Up, &[1, 2, 3])),
            [down(4, DownReason::Unreachable)]
        );
    }

    #[test]
    fn a_node_that_a_split_took_and_that_has_ended_since_does_not_heal() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        changes_to(&mut record, there(Status::Up, &[1, 2]));
        let split = Observed { split: true, ..there(Status::Assembling, &[1]) };
        changes_to(&mut record, split);
        let crashed = [(node(2), DownReason::Crashed)].into();
        changes_to(&mut record, Observed { down_reasons: crashed, ..there(Status::Rehashing, &[1]) });
        assert_eq!(changes_to(&mut record, there(Status::Up, &[1, 2])), [Change::NodeUp { node: node(2) }]);
    }
}
