//! Leaving: claim nothing from this instant on, and stay linked until the other members have taken over.

use super::state::{MemberState, Node};
use crate::action::Action;
use crate::candidate::{Observation, candidate_members};
use crate::change::Held;
use crate::name::NodeId;
use crate::peer::Peer;
use crate::rule::Rule;
use crate::time::Time;

impl Node {
    pub(super) fn on_leave(&mut self) {
        if matches!(self.member_state, MemberState::Leaving { .. } | MemberState::Left) {
            return;
        }
        let claims = self.lease_until().filter(|_| !self.settings.enabled(Rule::LeaveAtOnce));
        self.released_epoch = self.promised.max(self.installed_epoch());
        self.abort_round();
        self.intents.supersede();
        self.record_own_goodbye();
        self.pending = None;
        self.objects = false;
        self.member_state = MemberState::Leaving { since: self.now, held: true, kept_lease: claims };
        self.notify(Some(Held::Leave));
    }

    /// Stops when every peer of this node's view is up in a later one or has released its own. When no view without this node can come, it
    /// stops as soon as the peers have echoed its goodbye. It stops after `leave_timeout` at the latest. Not before the goodbye is
    /// persisted, nor while listeners of this node hold its stop.
    pub(super) fn check_leaving(&mut self) {
        let MemberState::Leaving { since, held, .. } = self.member_state else { return };
        let late = self.now >= since + self.settings.timing.leave_timeout;
        if late
            || (!held
                && self.heartbeats.has_announced_leaving()
                && self.has_persisted_all()
                && self.may_stop(since))
        {
            self.member_state = MemberState::Left;
            self.notify(None);
            self.actions.push_back(Action::Stopped);
        }
    }

    fn may_stop(&self, since: Time) -> bool {
        let retired = self.released_epoch;
        let has_heard = |peer: &Peer| peer.report.is_some_and(|report| report.echo >= since.as_nanos());
        let has_moved_on = |peer: &Peer| {
            peer.report.is_some_and(|report| {
                (report.is_participating() && report.installed > retired && !report.wants_echo)
                    || (report.released_epoch >= self.installed_epoch() && has_heard(peer))
            })
        };
        let was_with_me = |peer: &&Peer| match self.own_view() {
            Some(view) => view.contains(&peer.member.id),
            None => false,
        };
        let is_there = |peer: &&Peer| peer.open().is_some() && !peer.is_leaving();
        let mut others = self.peers.values().filter(was_with_me).filter(is_there);
        others.clone().all(has_moved_on) || (others.all(has_heard) && !self.others_are_viable())
    }

    /// Whether the staying nodes may form a view, as far as this node knows.
    fn others_are_viable(&self) -> bool {
        let is_out = |id: &NodeId| *id == self.me || self.is_leaving(id);
        let rows: Vec<Observation<'_>> = self.observations().collect();
        self.is_viable(&candidate_members(&rows, is_out).nodes)
    }
}
