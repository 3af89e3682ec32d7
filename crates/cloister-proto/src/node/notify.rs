//! Notifying listeners of changes.

use std::sync::Arc;

use super::state::{MemberState, Node, NotifyKey};
use crate::action::Action;
use crate::change::{Held, Observed};
use crate::name::NodeId;
use crate::peer::Peer;
use crate::status::Status;
use crate::view::Member;

impl Node {
    pub(super) fn status(&self) -> Status {
        match &self.member_state {
            MemberState::Assembling => Status::Assembling,
            MemberState::Promised(_) => Status::Rehashing,
            MemberState::Installed(bound) if bound.holds_lease(self.now) || bound.may_renew(self.now) => {
                Status::Up
            }
            MemberState::Installed(_) => Status::Rehashing,
            MemberState::Leaving { .. } => Status::Stopping,
            MemberState::Left => Status::Stopped,
        }
    }

    /// The present state of this node, for listeners.
    pub(super) fn observed(&self) -> Observed {
        let reported = self.tracker.state();
        let status = self.status();
        let members = match (&self.member_state, self.own_view()) {
            (MemberState::Assembling, _) => self.reachable_members(),
            (MemberState::Installed(_), Some(view)) if status == Status::Up => view.members().to_vec(),
            _ => reported.members.clone(),
        };
        let (view, sentry) = match status {
            Status::Rehashing => (reported.view.clone(), reported.sentry.clone()),
            Status::Up => {
                (self.installed.clone(), self.installed.as_ref().and_then(|view| view.sentry().cloned()))
            }
            _ => (self.own_view().cloned(), None),
        };
        let proposed = match &self.member_state {
            MemberState::Promised(promise) => Some(Arc::clone(&promise.view)),
            MemberState::Installed(_) if status == Status::Rehashing => self.installed.clone(),
            _ => None,
        };
        let down_reasons =
            self.peers.iter().filter_map(|(id, peer)| Some((id.clone(), peer.down_reason()?))).collect();
        // A node that is lost together with the view is on another side of a split, or cut off.
        let split = matches!(self.member_state, MemberState::Assembling) && self.own_view().is_some();
        let planned =
            self.intents.planned().filter(|_| matches!(status, Status::Up | Status::Assembling)).cloned();
        Observed { status, members, view, proposed, planned, sentry, down_reasons, split }
    }

    /// Reported members that are still reachable. New nodes are reported only with a view. Else a node that comes just after a round began
    /// would be reported up, left out of the view, and reported up again.
    pub(super) fn reachable_members(&self) -> Vec<Member> {
        let me = &self.settings.me;
        let reported = self.tracker.state().members.iter();
        let others = reported.filter(|member| {
            member.id != me.id
                && self.reachability.nodes.binary_search(&member.id).is_ok()
                && !self.is_leaving(&member.id)
        });
        let mut members: Vec<Member> = others.chain([me]).cloned().collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members
    }

    pub(super) fn is_leaving(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(Peer::is_leaving)
    }

    pub(super) fn notify(&mut self, hold: Option<Held>) {
        let key = NotifyKey {
            status: self.status(),
            reachability: self.reachability.version,
            leaving_version: self.leaving_version,
            installed: self.installed_epoch(),
            promised: self.promised,
            intent: self.intents.number(),
        };
        if hold.is_none() && self.notified == Some(key) {
            return;
        }
        self.notified = Some(key);
        if let Some(change) = self.tracker.update(self.observed(), hold) {
            self.actions.push_back(Action::Notify(change));
        }
    }
}
