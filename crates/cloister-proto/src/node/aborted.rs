//! Aborted rounds: acknowledged views that no node will ever install.
//!
//! A member that has acknowledged a view must follow it, for another member may have installed it. Only the proposer commits a view, and it
//! installs the view in the same instant. So a report of the proposer proves that there will be no commit, if the proposer has not
//! installed the view and has promised a later one or released it. No later report can take that back.

use super::state::{MemberState, Node};
use crate::name::NodeId;
use crate::rule::Rule;
use crate::view::View;

impl Node {
    /// Whether it is certain that no node has installed this view or ever will.
    pub(super) fn is_aborted(&self, view: &View) -> bool {
        let Some(proposer) = view.sentry().filter(|_| self.settings.enabled(Rule::AbortedReleased)) else {
            return false;
        };
        let epoch = view.epoch();
        if *proposer == self.me {
            let is_under_way = self.round.as_ref().is_some_and(|round| round.view.epoch() == epoch);
            return !is_under_way && self.installed_epoch() < epoch;
        }
        let report = self.peers.get(proposer).and_then(|peer| peer.report);
        report.is_some_and(|report| report.has_aborted(epoch))
    }

    /// Drops the views that `proposer` will never commit, by its last report. Neither this node nor a node that discounts a leaver has to
    /// follow them.
    pub(super) fn drop_aborted_by(&mut self, proposer: &NodeId) {
        let Some(report) = self.peers.get(proposer).and_then(|peer| peer.report) else { return };
        if !self.settings.enabled(Rule::AbortedReleased) {
            return;
        }
        let binds = |view: &View| view.sentry() != Some(proposer) || !report.has_aborted(view.epoch());
        let acknowledged = self.maybe_installed.len();
        self.maybe_installed.retain(|view| binds(view));
        if self.goodbyes.retain_views(binds) || self.maybe_installed.len() < acknowledged {
            self.candidate.stale = true;
            self.refresh_reported_size();
        }
    }

    /// Releases the view of an aborted round of this node, which cannot begin another one now: the members that acknowledged the view may
    /// be those that it needs. Its participation in earlier views ended with its promise.
    pub(super) fn release_aborted(&mut self) {
        let MemberState::Promised(promise) = &self.member_state else { return };
        let is_own = promise.proposer == self.me && self.round.is_none();
        if is_own && self.follows_majority() && self.settings.enabled(Rule::AbortedReleased) {
            self.released_epoch = self.released_epoch.max(promise.view.epoch());
        }
    }
}
