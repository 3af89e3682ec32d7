//! Until when a node may act as a member of its view.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::majority::need;
use crate::name::NodeId;
use crate::split::{SplitPolicy, decide};
use crate::time::Time;
use crate::view::View;

/// The word of the other members of one view: when this node sent what each of them has echoed.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Grants(BTreeMap<NodeId, Time>);

/// Later than any clock will show: the lease of a node that needs nobody's word.
pub(crate) const FOREVER: Time = Time::from_nanos(u64::MAX);

impl Grants {
    /// Member `from` has echoed what this node sent at `sent`.
    pub(crate) fn add(&mut self, from: &NodeId, sent: Time) {
        match self.0.get_mut(from) {
            Some(grant) => *grant = (*grant).max(sent),
            None => {
                self.0.insert(from.clone(), sent);
            }
        }
    }

    /// The word of `from` counts no more: its link is closed, or it is bound to another view.
    pub(crate) fn remove(&mut self, from: &NodeId) {
        self.0.remove(from);
    }

    /// Until when the members that granted would be entitled to go on with this node; `None` when they are too few.
    pub(crate) fn until(
        &self,
        me: &NodeId,
        view: &View,
        policy: SplitPolicy,
        consensus: usize,
        lease: Duration,
    ) -> Option<Time> {
        let mut newest: Vec<(Time, &NodeId)> = self.0.iter().map(|(from, sent)| (*sent, from)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let members = match policy {
            SplitPolicy::Majority => Some(need(view.size(), consensus).max(view.members().len() / 2 + 1)),
            SplitPolicy::Consensus => Some(consensus),
            SplitPolicy::KeepOldest => None,
        };
        match members {
            Some(0 | 1) => return Some(FOREVER),
            Some(n) => return newest.get(n - 2).map(|(sent, _)| *sent + lease),
            None => {}
        }
        let mut part = vec![me.clone()];
        if decide(policy, consensus, [view], &part, |_| false) {
            return Some(FOREVER);
        }
        newest.into_iter().find_map(|(sent, from)| {
            part.push(from.clone());
            decide(policy, consensus, [view], &part, |_| false).then_some(sent + lease)
        })
    }
}
