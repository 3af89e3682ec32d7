//! Which content of a slot is that of a view. A pure function of what the members reported.

use std::collections::BTreeSet;

use cloister_proto::Epoch;

use super::nodes::Peer;
use crate::label::{Label, Seen, Stamp};
use crate::message::SlotReport;

/// What the members of a view, and the nodes that leave, say of one slot.
pub(super) struct Reports<'a, I> {
    /// In order of the nodes.
    pub(super) reports: I,
    /// Views that are known to be installed.
    pub(super) installed: &'a BTreeSet<Epoch>,
    /// Whether there may have been a later view of which no node is left.
    pub(super) is_doubtful: bool,
    /// Whether a view that is known to be installed labels what was brought into place for it.
    pub(super) proof: bool,
    /// Memory for the verdict: of one before that is over.
    pub(super) memory: Claims,
}

/// What the nodes claim of one slot.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<Claim>);

/// What follows from the reports.
#[derive(Debug)]
pub(super) struct SlotDecision {
    /// The greatest label of a complete content, and the label of its last write.
    pub(super) best: Label,
    pub(super) written: Label,
    /// What was seen of the slot.
    pub(super) seen: Seen,
    pub(super) loss: Option<Loss>,
    /// Whether a member knows what was seen up to the view before.
    pub(super) is_known: bool,
    claims: Vec<Claim>,
}

/// What one node reported.
#[derive(Clone, Copy, Debug)]
struct Claim {
    node: Peer,
    stamp: Stamp,
    seen: Seen,
    /// The label of its content by all that is known, and whether that is complete.
    label: Label,
    is_complete: bool,
}

/// Why the content is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// What was seen of it is nowhere.
    Gone,
    /// No member knows what was seen up to the view before. Or what there is lacks writes that no view had acknowledged and that may have
    /// been shown.
    Unknown,
}

impl<'a, I: Iterator<Item = (Peer, &'a SlotReport)>> Reports<'a, I> {
    pub(super) fn verdict(self) -> SlotDecision {
        let newest = self.installed.last().copied().unwrap_or_default();
        let (mut seen, mut is_known) = (Seen::NOTHING, newest == Epoch::ZERO);
        let claim = |(node, report): (Peer, &SlotReport)| {
            seen = seen.and(report.seen);
            is_known = is_known || report.knows.covers(newest);
            let SlotReport { stamp, seen, .. } = *report;
            Claim { node, stamp, seen, label: stamp.label, is_complete: !stamp.learning }
        };
        let Claims(mut claims) = self.memory;
        claims.clear();
        claims.extend(self.reports.map(claim));
        let is_installed =
            |epoch: Epoch| self.proof && (self.installed.contains(&epoch) || seen.writes == epoch);
        for claim in &mut claims {
            (claim.label, claim.is_complete) = claim.stamp.effective(is_installed);
        }
        let complete = claims.iter().filter(|claim| claim.is_complete);
        let complete = complete.map(|claim| (claim.label, claim.stamp.written));
        let (best, written) = complete.max().unwrap_or((Label::NONE, Label::NONE));
        // A copy that was being made tells as well that its view wrote the slot, if that is more than what the view began with.
        let is_more = |claim: &&Claim| !claim.is_complete && claim.stamp.written > seen.start;
        let learning = claims.iter().filter(is_more);
        let learned = learning.map(|claim| claim.stamp.written.epoch).max().unwrap_or_default();
        let seen = Seen { writes: seen.writes.max(learned), ..seen };
        let loss = if best.epoch < seen.writes {
            Some(Loss::Gone)
        } else if written < seen.start || self.is_doubtful || (!is_known && best.epoch < newest) {
            Some(Loss::Unknown)
        } else {
            None
        };
        let is_known = (is_known || best.epoch >= newest) && !self.is_doubtful;
        SlotDecision { best, written, seen, loss, is_known, claims }
    }
}

impl SlotDecision {
    /// The memory, for another verdict.
    pub(super) fn into_memory(self) -> Claims {
        Claims(self.claims)
    }

    /// The nodes that have this content, as they reported it.
    pub(super) fn equal(&self) -> impl Iterator<Item = (Peer, Stamp)> {
        self.claims.iter().filter(|claim| self.is_equal(claim)).map(|claim| (claim.node, claim.stamp))
    }

    /// The nodes that have this content, or lack no more than its last writes, which no view has shown. Each comes with what it
    /// reported, and whether it lacks any.
    pub(super) fn equal_or_lagging(&self) -> impl Iterator<Item = (Peer, Stamp, bool)> {
        let meant = self.claims.iter().filter(|claim| self.is_equal(claim) || self.lags(claim));
        meant.map(|claim| (claim.node, claim.stamp, !self.is_equal(claim)))
    }

    fn is_equal(&self, claim: &Claim) -> bool {
        claim.label == self.best
    }

    fn lags(&self, claim: &Claim) -> bool {
        claim.is_complete && claim.label < self.best && claim.label.epoch == self.best.epoch
    }

    /// The nodes that have any content.
    pub(super) fn holders(&self) -> impl Iterator<Item = Peer> {
        self.claims.iter().filter(|claim| claim.stamp != Stamp::NONE).map(|claim| claim.node)
    }

    /// The nodes that know all this to have been seen; all the others know nothing.
    pub(super) fn witnesses(&self, seen: Seen) -> impl Iterator<Item = Peer> {
        self.claims.iter().filter(move |claim| claim.seen.covers(seen)).map(|claim| claim.node)
    }

    /// What this node reported if it has the content or lacks no more than its last writes, and whether it lacks any. A slot that nothing
    /// ever wrote is the same everywhere.
    pub(super) fn claim_of(&self, node: Peer) -> Option<(Stamp, bool)> {
        match self.claims.iter().find(|claim| claim.node == node) {
            Some(claim) if self.is_equal(claim) => Some((claim.stamp, false)),
            Some(claim) if self.lags(claim) => Some((claim.stamp, true)),
            Some(claim) if claim.stamp != Stamp::NONE => None,
            _ => (self.best == Label::NONE).then_some((Stamp::NONE, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloister_proto::Slot;

    use super::super::nodes::peer;
    use super::*;
    use crate::knowledge::Knowledge;

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
    fn verdict(reports: &[(u32, Stamp, Seen)], installed: &[u64]) -> SlotDecision {
        let report = |(n, stamp, seen): &(u32, Stamp, Seen)| {
            let knows = Arc::new(Knowledge { certain: epoch(9), ..Knowledge::default() });
            (peer(*n), SlotReport { slot: Slot::of(b"key"), stamp: *stamp, seen: *seen, knows })
        };
        let reports: Vec<(Peer, SlotReport)> = reports.iter().map(report).collect();
        let reports = reports.iter().map(|(node, report)| (*node, report));
        let installed = installed.iter().map(|number| epoch(*number)).collect();
        Reports { reports, installed: &installed, is_doubtful: false, proof: true, memory: Claims::default() }
            .verdict()
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
        assert!(verdict.equal().map(|(node, _)| node).eq([2, 5].map(peer)));
        let equal_or_lagging = verdict.equal_or_lagging().map(|(node, _, lags)| (node, lags));
        assert!(equal_or_lagging.eq([(1, true), (2, false), (5, false)].map(|(n, lags)| (peer(n), lags))));
        assert_eq!(verdict.holders().count(), 5);
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
    fn a_copy_that_was_being_made_tells_of_writes_after_the_start_of_its_view() {
        let being_made = |number| Stamp { learning: true, written: label(3, number), ..content(1, 7) };
        let start = seen(1, label(3, 0));
        let loss = |number| verdict(&[(1, content(1, 7), start), (2, being_made(number), start)], &[3]).loss;
        assert_eq!(loss(0), Some(Loss::Unknown), "what there is goes on");
        assert_eq!(loss(1), Some(Loss::Gone));
    }

    #[test]
    fn a_slot_that_nothing_ever_wrote_is_the_same_where_nothing_was_reported() {
        let fresh = verdict(&[(1, Stamp::NONE, Seen::NOTHING)], &[]);
        assert!([1, 2].iter().all(|node| fresh.claim_of(peer(*node)) == Some((Stamp::NONE, false))));
        let written = verdict(&[(1, content(3, 1), Seen::NOTHING), (2, Stamp::NONE, Seen::NOTHING)], &[]);
        assert_eq!(written.claim_of(peer(1)), Some((content(3, 1), false)));
        assert!([2, 3].iter().all(|node| written.claim_of(peer(*node)).is_none()));
    }

    #[test]
    fn what_nothing_can_know_is_lost_unless_a_copy_is_of_the_newest_view() {
        let none = [(1, Stamp::NONE, Seen::NOTHING)];
        assert_eq!(verdict(&none, &[9]).loss, None);
        assert_eq!(verdict(&none, &[10]).loss, Some(Loss::Unknown));
        assert_eq!(verdict(&[(1, content(10, 0), Seen::NOTHING)], &[10]).loss, None);
    }
}
