//! Which content of a slot is that of a view. A pure function of what the members reported.

use std::collections::{BTreeMap, BTreeSet};

use cloister_proto::{Epoch, NodeId};

use crate::label::{Label, Seen, Stamp};
use crate::message::SlotReport;

/// What the members of a view, and the nodes that leave, say of one slot.
pub(super) struct Reports<'a> {
    pub(super) reports: &'a BTreeMap<NodeId, SlotReport>,
    /// Views that are known to be installed.
    pub(super) installed: &'a BTreeSet<Epoch>,
    /// Whether there may have been a later view of which no node is left.
    pub(super) is_doubtful: bool,
    /// Whether a view that is known to be installed labels what was brought into place for it.
    pub(super) proof: bool,
}

/// What follows from the reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The greatest label of a complete content, and the label of its last write.
    pub(super) best: Label,
    pub(super) written: Label,
    /// What was seen of the slot.
    pub(super) seen: Seen,
    pub(super) loss: Option<Loss>,
    /// Whether a member knows what was seen up to the view before.
    pub(super) is_known: bool,
    /// The nodes that have this content, as they reported it.
    pub(super) equal: BTreeMap<NodeId, Stamp>,
    /// The nodes that lack no more than its last writes, which no view has shown.
    pub(super) lagging: BTreeMap<NodeId, Stamp>,
    /// The nodes that have any content.
    pub(super) holders: BTreeSet<NodeId>,
}

/// Why the content is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// What was seen of it is nowhere.
    Gone,
    /// No member knows what was seen up to the view before; or what there is lacks writes that no view had acknowledged and that may have
    /// been shown.
    Unknown,
}

impl Reports<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let reports = self.reports.values();
        let seen = reports.clone().fold(Seen::NOTHING, |seen, report| seen.and(report.seen));
        let newest = self.installed.iter().max().copied().unwrap_or_default();
        let is_known = newest == Epoch::ZERO || reports.clone().any(|report| report.knows.covers(newest));
        let is_installed =
            |epoch: Epoch| self.proof && (self.installed.contains(&epoch) || seen.writes == epoch);
        let effective: BTreeMap<&NodeId, (Label, bool)> =
            self.reports.iter().map(|(node, report)| (node, report.stamp.effective(is_installed))).collect();
        let stamp_of = |node: &NodeId| self.reports.get(node).map_or(Stamp::NONE, |report| report.stamp);
        let complete = effective.iter().filter(|(_, (_, complete))| *complete);
        let complete = complete.map(|(node, (label, _))| (*label, stamp_of(node).written));
        let (best, written) = complete.max().unwrap_or((Label::NONE, Label::NONE));
        // A copy that was being made tells as well that its view wrote the slot.
        let learning = effective.iter().filter(|(_, (_, complete))| !complete);
        let learned = learning.map(|(node, _)| stamp_of(node).written.epoch).max().unwrap_or_default();
        let seen = Seen { writes: seen.writes.max(learned), ..seen };
        let loss = if best.epoch < seen.writes {
            Some(Loss::Gone)
        } else if written < seen.start || self.is_doubtful || (!is_known && best.epoch < newest) {
            Some(Loss::Unknown)
        } else {
            None
        };
        let select = |is_meant: &dyn Fn(Label, bool) -> bool| -> BTreeMap<NodeId, Stamp> {
            let meant = effective.iter().filter(|(_, (label, complete))| is_meant(*label, *complete));
            meant.map(|(node, _)| ((*node).clone(), stamp_of(node))).collect()
        };
        Verdict {
            best,
            written,
            seen,
            loss,
            is_known: (is_known || best.epoch >= newest) && !self.is_doubtful,
            equal: select(&|label, _| label == best),
            lagging: select(&|label, complete| complete && label < best && label.epoch == best.epoch),
            holders: effective
                .keys()
                .filter(|node| stamp_of(node) != Stamp::NONE)
                .map(|node| (*node).clone())
                .collect(),
        }
    }
}

impl Verdict {
    /// What this node reported, if it has the content. A slot that nothing ever wrote is the same everywhere.
    pub(super) fn stamp_of(&self, node: &NodeId) -> Option<Stamp> {
        let fresh = self.best == Label::NONE && !self.holders.contains(node);
        self.equal.get(node).copied().or(fresh.then_some(Stamp::NONE))
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::{Incarnation, Slot};

    use super::*;
    use crate::knowledge::Knowledge;

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n)
    }

    fn label(epoch: u64, number: u64) -> Label {
        Label { epoch: Epoch::from_u64(epoch), number }
    }

    fn epoch(number: u64) -> Epoch {
        Epoch::from_u64(number)
    }

    /// A complete content that was written in its view.
    fn content(epoch: u64, number: u64) -> Stamp {
        Stamp { label: label(epoch, number), written: label(epoch, number), ..Stamp::NONE }
    }

    fn seen(writes: u64, start: Label) -> Seen {
        Seen { writes: epoch(writes), start }
    }

    /// The verdict where these nodes reported this, and all know what was seen up to view 9.
    fn verdict(reports: &[(u64, Stamp, Seen)], installed: &[u64]) -> Verdict {
        let report = |(n, stamp, seen): &(u64, Stamp, Seen)| {
            let slot = Slot::of(b"key");
            (
                node(*n),
                SlotReport {
                    slot,
                    stamp: *stamp,
                    seen: *seen,
                    knows: Knowledge { certain: epoch(9), ..Knowledge::default() },
                },
            )
        };
        let reports = reports.iter().map(report).collect();
        let installed = installed.iter().map(|number| epoch(*number)).collect();
        Reports { reports: &reports, installed: &installed, is_doubtful: false, proof: true }.verdict()
    }

    #[test]
    fn the_greatest_label_of_a_complete_content_wins_and_those_of_its_view_catch_up() {
        let learning = Stamp { learning: true, ..content(3, 9) };
        let verdict = verdict(
            &[
                (1, content(3, 5), Seen::NOTHING),
                (2, content(3, 7), Seen::NOTHING),
                (3, content(2, 50), Seen::NOTHING),
                (4, learning, Seen::NOTHING),
                (5, content(3, 7), Seen::NOTHING),
            ],
            &[3],
        );
        assert_eq!((verdict.best, verdict.loss), (label(3, 7), None));
        assert_eq!(verdict.equal.into_keys().collect::<Vec<_>>(), [node(2), node(5)]);
        assert_eq!(verdict.lagging.into_keys().collect::<Vec<_>>(), [node(1)]);
        assert_eq!(verdict.holders.len(), 5);
    }

    #[test]
    fn what_was_prepared_for_a_view_counts_for_it_once_it_is_installed() {
        let prepared = Stamp { candidate: epoch(4), ..content(2, 1) };
        let reports = [(1, prepared, Seen::NOTHING), (2, content(3, 8), Seen::NOTHING)];
        assert_eq!(verdict(&reports, &[3]).best, label(3, 8));
        assert_eq!(verdict(&reports, &[3, 4]).best, label(4, 0));
    }

    #[test]
    fn a_content_without_what_was_seen_is_lost() {
        let loss = |stamp, seen| verdict(&[(1, stamp, Seen::NOTHING), (2, Stamp::NONE, seen)], &[]).loss;
        assert_eq!(loss(content(3, 1), seen(3, label(2, 5))), None);
        assert_eq!(loss(content(3, 1), seen(4, label(2, 5))), Some(Loss::Gone));
        assert_eq!(loss(content(3, 1), seen(3, label(3, 2))), Some(Loss::Unknown));
        assert_eq!(loss(Stamp { learning: true, ..content(3, 1) }, seen(0, Label::NONE)), Some(Loss::Gone));
        assert_eq!(loss(Stamp::NONE, Seen::NOTHING), None);
    }

    #[test]
    fn what_nothing_can_know_is_lost_unless_a_copy_is_of_the_newest_view() {
        let none = [(1, Stamp::NONE, Seen::NOTHING)];
        assert_eq!(verdict(&none, &[9]).loss, None);
        assert_eq!(verdict(&none, &[10]).loss, Some(Loss::Unknown));
        assert_eq!(verdict(&[(1, content(10, 0), Seen::NOTHING)], &[10]).loss, None);
    }
}
