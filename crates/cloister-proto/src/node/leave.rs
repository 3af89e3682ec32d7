//! Leaving: claim nothing from this instant, stay linked until the others have taken over.

use super::{Node, Stage};
use crate::action::Action;
use crate::peer::Peer;
use crate::rule::Rule;

impl Node {
    pub(super) fn leave(&mut self) {
        if matches!(self.stage, Stage::Leaving { .. } | Stage::Left) {
            return;
        }
        let claims = self.lease_until().filter(|_| !self.settings.keeps(Rule::LeaveAtOnce));
        self.retired = self.promised.max(self.installed_epoch());
        self.round = None;
        self.pending = None;
        self.stage = Stage::Leaving { since: self.now, claims };
    }

    /// Out when every peer that was in a view with this node is up in one after it, or has given up its own, or
    /// `leave_timeout` is over.
    pub(super) fn check_leaving(&mut self) {
        let Stage::Leaving { since, .. } = self.stage else { return };
        let retired = self.retired;
        let has_moved_on = |peer: &Peer| {
            peer.open().is_none()
                || peer.is_leaving()
                || peer.report.is_some_and(|report| {
                    (report.is_bound() && report.installed > retired && !report.asks)
                        || (report.retired >= self.installed_epoch() && report.echo >= since.as_nanos())
                })
        };
        let was_with_me = |peer: &&Peer| match &self.installed {
            Some(view) => view.contains(&peer.member.id),
            None => false,
        };
        let told = self.mouth.has_said_goodbye();
        let done = self.peers.values().filter(was_with_me).all(has_moved_on);
        let late = self.now >= since + self.settings.timing.leave_timeout;
        if (told && done) || late {
            self.stage = Stage::Left;
            self.tell(None);
            self.actions.push_back(Action::Stopped);
        }
    }
}
