//! What listeners hear: the state of the cluster as one node sees it, and the differences between two such states.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::name::NodeId;
use crate::status::Status;
use crate::view::{Epoch, Member, View};

/// The cluster as this node sees it at one moment.
#[derive(Clone, Debug, Hash)]
pub struct ClusterState {
    /// How many changes came before this state, plus one; never skips a number.
    pub seq: u64,
    /// How far this node has come.
    pub status: Status,
    /// This node.
    pub node: Member,
    /// Who is there, the oldest first: the members of the installed view; while assembling, those of them that this
    /// node still hears, and this node.
    pub members: Vec<Member>,
    /// The view that this node installed last; it still holds only while `status` is [`Status::Up`].
    pub view: Option<Arc<View>>,
    /// The view that is being agreed on, while `status` is [`Status::Rehashing`].
    pub proposed: Option<Arc<View>>,
    /// The oldest member of the installed view; `None` while this node is in none.
    pub sentry: Option<NodeId>,
}

impl ClusterState {
    /// The state of a node that has not started.
    pub fn initial(node: Member) -> Self {
        Self {
            seq: 0,
            status: Status::Down,
            members: Vec::new(),
            node,
            view: None,
            proposed: None,
            sentry: None,
        }
    }

    /// The epoch of the view that this node installed last.
    pub fn epoch(&self) -> Option<Epoch> {
        self.view.as_ref().map(|view| view.epoch())
    }
}

/// Why a node is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// It said goodbye.
    Left,
    /// Its process is gone: its address refuses connections.
    Crashed,
    /// It is not heard any more; it may still run.
    Unreachable,
    /// A younger process answers at its address.
    Replaced,
}

impl DownReason {
    /// The lower-case name, as in logs and JSON.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// A node is there that was not.
    NodeUp {
        /// Which one.
        node: NodeId,
    },
    /// A node is no longer there.
    NodeDown {
        /// Which one.
        node: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// This node lost its view because it no longer hears these members, which may go on without it.
    NetworkSplit {
        /// The members that it no longer hears.
        unreachable: Vec<NodeId>,
    },
    /// Nodes that were lost to a split are there again, the same lives as before.
    NetworkHealed {
        /// Which ones.
        nodes: Vec<NodeId>,
    },
    /// Another node is the sentry, or none is.
    SentryChanged {
        /// The sentry before.
        from: Option<NodeId>,
        /// The sentry now.
        to: Option<NodeId>,
    },
}

/// One step of the cluster as this node sees it.
///
/// The changes are the difference between the state before and [`Transition::state`], never a tally.
#[derive(Clone, Debug, Hash)]
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
    /// The epoch of the round that waits for listeners, if one does.
    pub hold: Option<Epoch>,
}

/// Remembers the state that was told last, and tells the difference to the next.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ChangeTracker {
    reported: Arc<ClusterState>,
    /// The members that a split took, until they are there again or known to be gone.
    split_off: BTreeSet<NodeId>,
}

/// What a node found itself to be, before it is numbered and compared.
pub(crate) struct Observed {
    pub(crate) status: Status,
    pub(crate) members: Vec<Member>,
    pub(crate) view: Option<Arc<View>>,
    pub(crate) proposed: Option<Arc<View>>,
    pub(crate) sentry: Option<NodeId>,
    /// Why nodes are gone; a node that is not named here is unreachable.
    pub(crate) down_reasons: BTreeMap<NodeId, DownReason>,
    /// Whether this node has lost its view, so that members it does not hear may go on without it.
    pub(crate) split: bool,
}

impl ChangeTracker {
    pub(crate) fn new(node: Member) -> Self {
        Self { reported: Arc::new(ClusterState::initial(node)), split_off: BTreeSet::new() }
    }

    pub(crate) fn state(&self) -> &Arc<ClusterState> {
        &self.reported
    }

    /// The change from what was told last to `observed`; `None` when a listener would see no difference.
    pub(crate) fn update(&mut self, finding: Observed, hold: Option<Epoch>) -> Option<Transition> {
        let before = Arc::clone(&self.reported);
        let changes = self.changes(&before, &finding);
        let epoch = finding.view.as_ref().map(|view| view.epoch());
        let proposed = finding.proposed.as_ref().map(|view| view.epoch());
        let same = changes.is_empty()
            && hold.is_none()
            && before.status == finding.status
            && before.epoch() == epoch
            && before.proposed.as_ref().map(|view| view.epoch()) == proposed;
        if same {
            return None;
        }
        let state = Arc::new(ClusterState {
            seq: before.seq + 1,
            status: finding.status,
            node: before.node.clone(),
            members: finding.members,
            view: finding.view,
            proposed: finding.proposed,
            sentry: finding.sentry,
        });
        self.reported = Arc::clone(&state);
        Some(Transition { seq: state.seq, from: before.status, to: state.status, changes, state, hold })
    }

    fn changes(&mut self, before: &ClusterState, finding: &Observed) -> Vec<Change> {
        let old: BTreeSet<&NodeId> = before.members.iter().map(|member| &member.id).collect();
        let new: BTreeSet<&NodeId> = finding.members.iter().map(|member| &member.id).collect();
        let mut changes = Vec::new();
        let mut unreachable = Vec::new();
        for &node in old.difference(&new) {
            let reason = finding.down_reasons.get(node).copied().unwrap_or(DownReason::Unreachable);
            changes.push(Change::NodeDown { node: node.clone(), reason });
            if reason == DownReason::Unreachable {
                unreachable.push(node.clone());
            }
        }
        for &node in new.difference(&old) {
            changes.push(Change::NodeUp { node: node.clone() });
        }
        if finding.split && !unreachable.is_empty() {
            self.split_off.extend(unreachable.iter().cloned());
            changes.push(Change::NetworkSplit { unreachable });
        }
        self.split_off
            .retain(|node| matches!(finding.down_reasons.get(node), None | Some(DownReason::Unreachable)));
        let healed: Vec<NodeId> = self.split_off.iter().filter(|node| new.contains(node)).cloned().collect();
        if !healed.is_empty() {
            self.split_off.retain(|node| !new.contains(node));
            changes.push(Change::NetworkHealed { nodes: healed });
        }
        if before.sentry != finding.sentry {
            changes.push(Change::SentryChanged { from: before.sentry.clone(), to: finding.sentry.clone() });
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
            sentry: None,
            down_reasons: BTreeMap::new(),
            split: false,
        }
    }

    fn told(record: &mut ChangeTracker, finding: Observed) -> Vec<Change> {
        record.update(finding, None).map_or_else(Vec::new, |change| change.changes)
    }

    #[test]
    fn changes_are_numbered_without_a_gap_and_none_is_told_of_no_difference() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        let mut seqs = Vec::new();
        for nodes in [&[1][..], &[1], &[1, 2], &[1, 2], &[1]] {
            seqs.push(
                record.update(there(Status::Up, nodes), None).map(|change| (change.seq, change.state.seq)),
            );
        }
        assert_eq!(seqs, [Some((1, 1)), None, Some((2, 2)), None, Some((3, 3))]);
        let held = record.update(there(Status::Up, &[1]), Some(Epoch::from_u64(9)));
        assert_eq!(held.map(|change| change.hold), Some(Some(Epoch::from_u64(9))), "a hold is always told");
    }

    #[test]
    fn what_a_split_took_is_told_healed_once_when_it_is_there_again() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        told(&mut record, there(Status::Up, &[1, 2, 3, 4]));
        let mut split = there(Status::Assembling, &[1]);
        split.split = true;
        split.down_reasons = [(node(4), DownReason::Crashed)].into();
        let down = |n, reason| Change::NodeDown { node: node(n), reason };
        assert_eq!(
            told(&mut record, split),
            [
                down(2, DownReason::Unreachable),
                down(3, DownReason::Unreachable),
                down(4, DownReason::Crashed),
                Change::NetworkSplit { unreachable: vec![node(2), node(3)] }
            ]
        );
        let up = |n| Change::NodeUp { node: node(n) };
        let healed = |n| Change::NetworkHealed { nodes: vec![node(n)] };
        assert_eq!(told(&mut record, there(Status::Up, &[1, 2])), [up(2), healed(2)]);
        assert_eq!(told(&mut record, there(Status::Up, &[1, 2, 4])), [up(4)], "it was not lost to the split");
        assert_eq!(told(&mut record, there(Status::Up, &[1, 2, 3, 4])), [up(3), healed(3)]);
        assert_eq!(told(&mut record, there(Status::Up, &[1, 2, 3])), [down(4, DownReason::Unreachable)]);
    }

    #[test]
    fn a_node_that_a_split_took_and_that_has_ended_since_does_not_heal() {
        let mut record = ChangeTracker::new(Member::without_tags(node(1)));
        told(&mut record, there(Status::Up, &[1, 2]));
        let split = Observed { split: true, ..there(Status::Assembling, &[1]) };
        told(&mut record, split);
        let crashed = [(node(2), DownReason::Crashed)].into();
        told(&mut record, Observed { down_reasons: crashed, ..there(Status::Rehashing, &[1]) });
        assert_eq!(told(&mut record, there(Status::Up, &[1, 2])), [Change::NodeUp { node: node(2) }]);
    }
}
