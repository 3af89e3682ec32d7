//! The size of the cluster, which a view carries: how many members the cluster had at most, less those that left in order.
//!
//! A node counts it from the views that it knows. Of a view that only another member knows, it takes what that member reports.

use super::state::Node;
use crate::majority::{self, Succession};
use crate::name::NodeId;
use crate::peer::{Peer, Report};
use crate::rule::Rule;
use crate::view::{Epoch, View};

impl Node {
    /// The size of a proposed view of `partition`.
    ///
    /// It is the own count, or what members report for a newer view than this node has.
    pub(super) fn size_for_view(&self, partition: &[NodeId], succession: Succession) -> usize {
        let own = match succession {
            Succession::Begins => return partition.len(),
            _ if !self.settings.enabled(Rule::SizeInherited) => return partition.len(),
            Succession::Follows { size } => size,
            Succession::Joins => 0,
        };
        let newest = self.newest_installed(partition);
        let base_views = self.binding_views(newest);
        // A member that has the same view as this node may not know every goodbye yet, so its report does not count.
        let known = if self.settings.enabled(Rule::OwnSizeFirst) { &base_views[..] } else { &[] };
        let reported = partition.iter().filter_map(|id| self.peers.get(id)?.report);
        let counted = reported.filter(|report| Self::is_of_unknown_view(report, newest, known));
        let size = counted.map(|report| report.size).max().unwrap_or(0).max(own).max(partition.len());
        // A joining node cannot know whether members may begin: they wait for a larger size if they know one.
        if own == 0 && partition.len() < self.required_members(size) { partition.len() } else { size }
    }

    /// How many members a view needs in a cluster of this size.
    pub(super) fn required_members(&self, size: usize) -> usize {
        majority::required_members(size, self.settings.consensus.get())
    }

    /// Whether a view is as large as its size requires, and its size is no smaller than this node knows.
    pub(super) fn meets_required_size(&self, view: &View, succession: Succession) -> bool {
        if !self.follows_majority() {
            return true;
        }
        let counts_all = match succession {
            Succession::Follows { size } => {
                view.size() >= size || !self.settings.enabled(Rule::SizeInherited)
            }
            Succession::Joins | Succession::Begins => true,
        };
        let reaches = view.members().len() >= self.required_members(view.size());
        counts_all && (reaches || !self.settings.enabled(Rule::MajorityOfSize))
    }

    /// The cluster size in heartbeats: the own count, and the newest view.
    pub(super) fn own_cluster_size(&self) -> (usize, Epoch) {
        let remaining = |view: &View| {
            let left = view.ids().filter(|incarnation| self.has_left(incarnation)).count();
            view.size().saturating_sub(left)
        };
        let base_views = self.binding_views(self.installed_epoch());
        let size = base_views.iter().map(|base| remaining(base)).max().unwrap_or(0);
        (size, self.base_views().map(View::epoch).max().unwrap_or(Epoch::ZERO))
    }

    /// Whether a member reports the size of a view that no newer one supersedes and that is not among `base_views`.
    fn is_of_unknown_view(report: &Report, newest: Epoch, base_views: &[&View]) -> bool {
        report.base >= newest
            && report.base > Epoch::ZERO
            && base_views.iter().all(|base| base.epoch() != report.base)
    }

    /// Computes the size for heartbeats anew. If it is smaller than it was, a broadcast is due: a proposer may wait for that.
    pub(super) fn refresh_reported_size(&mut self) {
        self.leavers_counted = self.leavers_known();
        if !self.follows_majority() {
            return;
        }
        let (size, base) = self.own_cluster_size();
        if size < self.reported_size.0 {
            self.size_version += 1;
        }
        self.reported_size = (size, base);
    }

    /// Which leavers [`Node::reported_size`] can take into account: it changes with each.
    pub(super) fn leavers_known(&self) -> (u64, u64, u64) {
        match self.goodbyes.newest() {
            0 => (0, 0, 0),
            newest => (newest, self.leaving_version, self.reachability.version),
        }
    }

    /// Whether a round of this node waits for members to report a smaller size. They are asked for it.
    ///
    /// A member may have acknowledged the proposal of a node that then left, or one that this node has aborted. It reports the size of
    /// that view, and counts in each leaver whose goodbye has not reached it. The next view would count it in for ever.
    pub(super) fn awaits_size_reports(&mut self) -> bool {
        let members = self.members_that_report_more();
        if members.is_empty() {
            self.sizes_asked = None;
            return false;
        }
        let newest = self.goodbyes.newest();
        let (since, asked) = self.sizes_asked.map_or((self.now, None), |(since, asked)| (since, Some(asked)));
        if asked != Some(newest) {
            self.sizes_asked = Some((since, newest));
            for id in &members {
                self.send_goodbyes(id);
                if let Some(link) = self.peers.get(id).and_then(Peer::open) {
                    self.send_heartbeat(link, id, true);
                }
            }
        }
        let knows_all = |peer: &Peer| {
            let echo = peer.report.map_or(0, |report| report.echo);
            peer.goodbyes_sent == newest && echo >= peer.goodbyes_sent_at
        };
        // A goodbye counts once the leaver's own heartbeat says so, too: it may still be on its way. A member that answers nothing would
        // promise nothing either.
        let all_know = members.iter().filter_map(|id| self.peers.get(id)).all(knows_all);
        let timing = &self.settings.timing;
        let until = since + if all_know { timing.settle } else { timing.promise_timeout() };
        if self.now < until {
            self.wait_until(until);
        }
        self.now < until
    }

    /// The candidate members that report a larger size than this node counts, for a view that it does not know, while leavers are known.
    fn members_that_report_more(&self) -> Vec<NodeId> {
        if !self.follows_majority()
            || self.goodbyes.newest() == 0
            || !self.settings.enabled(Rule::SizeReportedAnew)
        {
            return Vec::new();
        }
        let partition = &self.candidate.nodes;
        let own = match self.succession(partition) {
            Ok(Succession::Follows { size }) => size.max(partition.len()),
            Ok(Succession::Joins) => partition.len(),
            Ok(Succession::Begins) | Err(_) => return Vec::new(),
        };
        let reports_more =
            |peer: &&Peer| peer.report.is_some_and(|report| report.size > own && report.base > Epoch::ZERO);
        let mut peers = partition.iter().filter_map(|id| self.peers.get(id)).filter(reports_more).peekable();
        if peers.peek().is_none() {
            return Vec::new();
        }
        let newest = self.newest_installed(partition);
        let base_views = self.binding_views(newest);
        let counts = |peer: &&Peer| {
            peer.report.is_some_and(|report| Self::is_of_unknown_view(&report, newest, &base_views))
        };
        peers.filter(counts).map(|peer| peer.member.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::succession::tests::{ids, link, node, says, view};
    use super::*;
    use crate::message::Heartbeat;
    use crate::split::SplitPolicy;

    #[test]
    fn a_node_that_joins_takes_over_the_size_that_members_report_if_the_view_is_large_enough_for_it() {
        let mut node = node(9, SplitPolicy::Majority);
        let base = Epoch::from_u64(7);
        for n in 1..=3 {
            link(&mut node, n);
            says(&mut node, n, Heartbeat { installed: base, base, size: 5, ..Heartbeat::first() });
        }
        let size = |partition: &[u64]| node.size_for_view(&ids(partition), Succession::Joins);
        assert_eq!(
            [size(&[1, 9]), size(&[1, 2, 9]), size(&[1, 2, 3, 9])],
            [2, 5, 5],
            "three are more than half"
        );
        assert_eq!(node.size_for_view(&ids(&[1, 2, 9]), Succession::Begins), 3);
        assert_eq!(node.size_for_view(&ids(&[1, 9]), Succession::Follows { size: 4 }), 5);
        assert_eq!(node.size_for_view(&ids(&[1, 9]), Succession::Follows { size: 6 }), 6);
    }

    fn reports(base: u64, size: usize) -> Heartbeat {
        Heartbeat { base: Epoch::from_u64(base), size, ..Heartbeat::first() }
    }

    #[test]
    fn a_report_counts_for_a_view_that_is_unknown_and_that_no_newer_one_supersedes() {
        let node = node(1, SplitPolicy::Majority);
        let known = view(8, &[1, 2]);
        let counts = |base: u64, newest: u64| {
            let report = Report::new(&reports(base, 5), node.now);
            Node::is_of_unknown_view(&report, Epoch::from_u64(newest), &[&known])
        };
        assert_eq!([counts(9, 8), counts(9, 9), counts(7, 0)], [true, true, true]);
        assert_eq!([counts(7, 8), counts(8, 8), counts(0, 0)], [false, false, false]);
    }

    #[test]
    fn a_size_is_news_only_when_it_falls() {
        let mut node = node(1, SplitPolicy::Majority);
        let news = |node: &mut Node, size: usize| {
            node.installed = Some(view(7, &[1, 2]).as_ref().clone().with_size(size).into());
            let before = node.size_version;
            node.refresh_reported_size();
            node.size_version > before
        };
        assert_eq!([4, 4, 5, 3].map(|size| news(&mut node, size)), [false, false, false, true]);
    }

    #[test]
    fn a_larger_size_of_an_unknown_view_is_waited_for_until_its_member_knows_every_goodbye() {
        let start = |size: usize| {
            let mut node = node(1, SplitPolicy::Majority);
            node.installed = Some(view(7, &[1, 2, 3]));
            node.candidate.nodes = ids(&[1, 2, 3]);
            [2, 3].iter().for_each(|n| link(&mut node, *n));
            node.goodbyes.learn(ids(&[9]).remove(0), Vec::new(), node.now);
            says(&mut node, 2, reports(8, size));
            node
        };
        assert!(!start(3).awaits_size_reports(), "it counts no more than this node");
        let mut node = start(4);
        assert!(node.awaits_size_reports());
        let (since, timing) = (node.now, node.settings.timing);
        assert!(timing.settle < timing.promise_timeout());
        node.now = since + timing.promise_timeout() - Duration::from_nanos(1);
        assert!(node.awaits_size_reports(), "it has not said that it knows them");
        node.now = since + timing.promise_timeout();
        assert!(!node.awaits_size_reports(), "it says nothing");
        let mut node = start(4);
        assert!(node.awaits_size_reports());
        node.now = since + timing.settle;
        assert!(node.awaits_size_reports());
        says(&mut node, 2, Heartbeat { echo: since.as_nanos(), ..reports(8, 4) });
        assert!(!node.awaits_size_reports(), "it knows them, and counts so many all the same");
    }
}
