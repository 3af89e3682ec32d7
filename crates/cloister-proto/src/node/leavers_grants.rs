//! The leases that nodes may have granted just before they left.

use std::time::Duration;

use super::state::Node;
use crate::name::NodeId;
use crate::rule::Rule;
use crate::settings::guard_of;
use crate::time::Time;
use crate::view::View;

/// The grants that leavers may have given just before they left.
pub(super) struct LeaversGrants {
    /// The node that left last.
    pub(super) leaver: NodeId,
    /// The members that may hold a lease by its grant.
    pub(super) holders: Vec<NodeId>,
    /// When that lease has certainly expired.
    pub(super) until: Time,
}

impl Node {
    /// Whether the grants of leavers have expired, where `view` excludes a member that may hold a lease by them.
    pub(super) fn leavers_grants_have_expired(&mut self, view: &View) -> bool {
        let partition: Vec<NodeId> = view.ids().cloned().collect();
        let until = self.leavers_grants(&partition).map(|grants| grants.until);
        if let Some(until) = until {
            self.wait_until(until);
        }
        until.is_none()
    }

    /// The grants that leavers of a view that `partition` has to follow may have given to members outside of `partition`; of several views
    /// those that expire last.
    pub(super) fn leavers_grants(&self, partition: &[NodeId]) -> Option<LeaversGrants> {
        if !self.follows_majority() || !self.settings.enabled(Rule::LeaversGrants) {
            return None;
        }
        let of_base = |base: &View| {
            let may_hold = |incarnation: &&NodeId| {
                let peer = self.peers.get(*incarnation);
                let gave_up = peer.and_then(|p| p.report).is_some_and(|r| r.released_epoch >= base.epoch());
                **incarnation != self.me
                    && partition.binary_search(incarnation).is_err()
                    && !gave_up
                    && !self.has_left(incarnation)
                    && !self.has_exited(incarnation)
            };
            let lease = |incarnation: &NodeId| {
                self.peers.get(incarnation).map_or(Duration::ZERO, |peer| peer.terms.lease)
            };
            let holders: Vec<NodeId> = base.ids().filter(may_hold).cloned().collect();
            let longest = holders.iter().map(lease).max()?;
            let left = base.ids().filter(|incarnation| self.has_left(incarnation));
            let learned =
                left.filter_map(|incarnation| Some((self.goodbyes.get(incarnation)?.at, incarnation)));
            let (last, leaver) = learned.max_by_key(|(at, _)| *at)?;
            let until = last + guard_of(longest.max(self.settings.timing.lease));
            Some(LeaversGrants { leaver: leaver.clone(), holders, until })
        };
        let base_views = self.binding_views(self.newest_installed(partition));
        let grants = base_views.into_iter().filter_map(of_base).max_by_key(|grants| grants.until);
        grants.filter(|grants| self.now < grants.until)
    }
}
