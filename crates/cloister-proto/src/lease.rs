//! Until when a node may act as a member of its view.

use std::collections::BTreeMap;

use crate::majority::required_members;
use crate::name::NodeId;
use crate::split::{SplitPolicy, partition_survives};
use crate::time::Time;
use crate::view::View;

/// The grants of the other members of one view: until when each of them lets this node act.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Grants {
    ends: BTreeMap<NodeId, Time>,
    /// How many grants last longer than the one that decides the lease.
    longer: usize,
}

/// Later than any clock shows: the lease of a node that needs no grant.
pub(crate) const FOREVER: Time = Time::from_nanos(u64::MAX);

impl Grants {
    /// Adds a grant of `from` until `end`.
    pub(crate) fn add(&mut self, from: &NodeId, end: Time) {
        match self.ends.get_mut(from) {
            Some(grant) => *grant = (*grant).max(end),
            None => {
                self.ends.insert(from.clone(), end);
            }
        }
    }

    /// Adds a grant, where `until` is the result of the last [`Grants::until`]. Returns how many members, this node included, grant
    /// more than that; 0 if this grant does not change it.
    ///
    /// Under every policy more members are entitled to no less. So the lease cannot become longer before that many members are
    /// entitled to it.
    pub(crate) fn extend(&mut self, from: &NodeId, end: Time, until: Option<Time>) -> usize {
        let is_longer = |end: Time| until.is_none_or(|until| end > until);
        let was_longer = self.ends.get(from).is_some_and(|before| is_longer(*before));
        self.add(from, end);
        if was_longer || !is_longer(end) {
            return 0;
        }
        self.longer += 1;
        self.longer + 1
    }

    /// Drops the grant of `from`: its link is closed, or it participates in another view. [`Grants::until`] computes what is left.
    pub(crate) fn remove(&mut self, from: &NodeId) {
        self.ends.remove(from);
    }

    /// Until when enough members grant; `None` when there are too few.
    pub(crate) fn until(
        &mut self,
        me: &NodeId,
        view: &View,
        policy: SplitPolicy,
        consensus: usize,
    ) -> Option<Time> {
        let until = self.find_until(me, view, policy, consensus);
        let is_longer = |end: &&Time| until.is_none_or(|until| **end > until);
        self.longer = self.ends.values().filter(is_longer).count();
        until
    }

    fn find_until(&self, me: &NodeId, view: &View, policy: SplitPolicy, consensus: usize) -> Option<Time> {
        if let Some(members) = members_needed(policy, consensus, view) {
            let Some(others) = members.checked_sub(2) else { return Some(FOREVER) };
            let mut ends: Vec<Time> = self.ends.values().copied().collect();
            return (others < ends.len()).then(|| *ends.select_nth_unstable_by(others, |a, b| b.cmp(a)).1);
        }
        let mut longest: Vec<(Time, &NodeId)> = self.ends.iter().map(|(from, end)| (*end, from)).collect();
        longest.sort_unstable_by(|a, b| b.cmp(a));
        let partition: Vec<NodeId> =
            std::iter::once(me).chain(longest.iter().map(|(_, from)| *from)).cloned().collect();
        // More members are never entitled to less, so the sizes are partitioned.
        let sizes: Vec<usize> = (1..=partition.len()).collect();
        let too_few = sizes.partition_point(|size| {
            !partition_survives(policy, consensus, [view], &partition[..*size], |_| false)
        });
        match too_few {
            0 => Some(FOREVER),
            n => longest.get(n - 1).map(|(end, _)| *end),
        }
    }
}

/// The minimal number of members of `view` that can be entitled to go on.
pub(crate) fn fewest_members(policy: SplitPolicy, consensus: usize, view: &View) -> usize {
    members_needed(policy, consensus, view).unwrap_or(consensus)
}

/// How many members of `view` are entitled to go on, if any choice of them is; `None` where it depends on which.
fn members_needed(policy: SplitPolicy, consensus: usize, view: &View) -> Option<usize> {
    match policy {
        SplitPolicy::Majority => {
            Some(required_members(view.size(), consensus).max(view.members().len() / 2 + 1))
        }
        SplitPolicy::Consensus => Some(consensus),
        SplitPolicy::KeepOldest => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;
    use crate::view::{Epoch, Member};

    /// However grants come in, the lease that is looked at only when enough of them are newer is the one that is found
    /// anew after each.
    #[test]
    fn looking_only_when_enough_grants_are_newer_misses_nothing() {
        let node = |n: u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n);
        let view = View::new(Epoch::from_u64(1), (0..7).map(|n| Member::without_tags(node(n))).collect());
        let mut random = crate::backoff::Xorshift::new(7);
        let mut next = |max: u64| (random.next_u64() >> 33) % max;
        let mut spared = 0;
        for policy in [SplitPolicy::Consensus, SplitPolicy::Majority, SplitPolicy::KeepOldest] {
            for consensus in 1..=7 {
                let me = node(next(7));
                let mut grants = Grants::default();
                let mut until = grants.until(&me, &view, policy, consensus);
                for turn in 0..400 {
                    let from = node(next(7));
                    if from == me {
                        continue;
                    }
                    if next(20) == 0 {
                        grants.remove(&from);
                        until = grants.until(&me, &view, policy, consensus);
                    } else {
                        let end = Time::from_nanos(turn / 5 * 1_000 + next(3) * 1_000);
                        let longer = grants.extend(&from, end, until);
                        if longer >= fewest_members(policy, consensus, &view) {
                            until = grants.until(&me, &view, policy, consensus);
                        } else {
                            spared += 1;
                        }
                    }
                    let anew = grants.clone().until(&me, &view, policy, consensus);
                    assert_eq!(until, anew, "{policy:?}, consensus {consensus}, turn {turn}");
                }
            }
        }
        assert!(spared > 1_000, "{spared}");
    }

    /// In a large cluster every heartbeat brings a grant: the lease is found anew once a round, not once a grant.
    #[test]
    fn a_round_of_grants_is_looked_at_once_however_often_a_member_grants() {
        let node = |n: u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n);
        let view = View::new(Epoch::from_u64(1), (0..7).map(|n| Member::without_tags(node(n))).collect());
        for (policy, consensus, needed) in [(SplitPolicy::Majority, 1, 4), (SplitPolicy::Consensus, 3, 3)] {
            assert_eq!(fewest_members(policy, consensus, &view), needed);
            let mut grants = Grants::default();
            let mut until = None;
            for round in 1..=5 {
                let end = Time::from_nanos(round * 1_000);
                let mut looks = 0;
                for from in [1, 1, 2, 2, 3, 4, 5, 6].map(node) {
                    if grants.extend(&from, end, until) >= needed {
                        until = grants.until(&node(0), &view, policy, consensus);
                        looks += 1;
                    }
                }
                assert_eq!((until, looks), (Some(end), 1), "{policy:?}, round {round}");
            }
        }
    }
}
