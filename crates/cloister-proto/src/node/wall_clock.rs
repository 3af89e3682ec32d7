//! The wall clock, and how far ahead of it an epoch may plausibly lie.
//!
//! Epochs begin at the wall clock of a proposer. Clocks are off by minutes, sometimes by a time zone, rarely by years.
//! Without a limit one peer could announce an epoch above which no other can rise, and no view could follow. With a limit by
//! the own clock alone, a node whose clock is years behind would reject every view. So the clocks and epochs that many peers
//! report count, too: [`Node::supported_by_half`].

use super::state::{Node, Rejection};
use crate::obstacle::Obstacle;
use crate::peer::Peer;
use crate::rule::Rule;
use crate::time::Time;
use crate::view::Epoch;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How far ahead of a wall clock a reported epoch may lie: a year.
const MAX_EPOCH_SKEW_MS: u64 = 365 * DAY_MS;

/// How much further ahead a proposed epoch may lie. So an epoch above the highest one that a member accepts is still accepted by
/// all members whose clocks are less than this behind that member's.
const PROPOSAL_MARGIN_MS: u64 = DAY_MS;

/// The beginning of 2026. A clock that reads earlier counts as unset, as on a board without a battery, and accepts epochs up to
/// [`UNSET_CLOCK_SKEW_MS`] after this.
const MIN_PLAUSIBLE_MS: u64 = 1_767_225_600_000;

/// Fifty years.
const UNSET_CLOCK_SKEW_MS: u64 = 50 * MAX_EPOCH_SKEW_MS;

/// A reading that differs by less than this from the last one plus the time since is ignored: it comes from rounding and drift.
const MIN_CLOCK_STEP_MS: u64 = 1000;

/// The minimal number of peers whose clocks or epochs count beside the own clock: one alone may be wrong, or hostile.
const MIN_SUPPORTERS: usize = 2;

/// The latest epoch that a node with this wall clock accepts from a report.
fn max_plausible_ms(unix_ms: u64) -> u64 {
    match unix_ms {
        unset if unset < MIN_PLAUSIBLE_MS => MIN_PLAUSIBLE_MS.saturating_add(UNSET_CLOCK_SKEW_MS),
        set => set.saturating_add(MAX_EPOCH_SKEW_MS),
    }
}

impl Peer {
    /// Its wall clock at `now`.
    fn unix_ms(&self, now: Time) -> u64 {
        let read = self.report.filter(|report| report.unix_ms > 0);
        match read {
            Some(report) => report.unix_ms.saturating_add(millis(now.since(report.at))),
            // An earlier build does not report its clock, which may have been set since its start.
            None => self.member.id.started_at().saturating_add(millis(self.age(now))),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Node {
    /// The wall clock was read at `now`.
    pub(super) fn on_wall_clock(&mut self, now: Time, unix_ms: u64) {
        let clock = unix_ms.saturating_sub(millis(now.since(self.started_at)));
        if clock.abs_diff(self.wall_clock.reading) >= MIN_CLOCK_STEP_MS {
            self.wall_clock.reading = clock;
        }
    }

    fn run_ms(&self) -> u64 {
        millis(self.now.since(self.started_at))
    }

    /// The Unix time by this node, in milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        self.wall_clock.reading.saturating_add(self.run_ms())
    }

    /// The time part of a proposal of this node: its own clock, but not ahead of what each candidate member accepts.
    pub(super) fn proposal_ms(&self) -> u64 {
        let own = self.unix_ms();
        if !self.settings.enabled(Rule::EpochWithinReach) {
            return own;
        }
        let peers = self.candidate.nodes.iter().filter_map(|id| self.peers.get(id));
        peers.map(|peer| max_plausible_ms(peer.unix_ms(self.now))).min().map_or(own, |least| own.min(least))
    }

    /// Takes in a reported epoch if it is plausible: proposals of this node will be greater.
    pub(super) fn observe_epoch(&mut self, epoch: Epoch) {
        if epoch <= self.max_epoch_seen {
            return;
        }
        if !self.is_plausible(epoch, 0) {
            return self.reject(Rejection::EpochAhead);
        }
        self.accept_epoch(epoch);
    }

    /// Takes in the highest epoch of a peer, if enough peers report as much, whatever the clocks show.
    pub(super) fn observe_max_epoch(&mut self, epoch: Epoch) {
        if epoch <= self.max_epoch_seen
            || self.is_plausible(epoch, 0)
            || !self.settings.enabled(Rule::EpochSupportedByHalf)
        {
            return;
        }
        let said =
            self.supported_by_half(|peer| peer.report.map_or(Epoch::ZERO, |report| report.max_epoch_seen));
        if let Some(epoch) = said.filter(|epoch| *epoch > self.max_epoch_seen) {
            self.accept_epoch(epoch);
        }
    }

    /// Whether a proposed epoch is plausible.
    pub(super) fn is_plausible_proposal(&self, epoch: Epoch) -> bool {
        self.is_plausible(epoch, PROPOSAL_MARGIN_MS)
    }

    /// Accepts `epoch`: proposals of this node will be greater.
    pub(super) fn accept_epoch(&mut self, epoch: Epoch) {
        self.max_epoch_seen = self.max_epoch_seen.max(epoch);
        self.wall_clock.accepted = self.wall_clock.accepted.max(epoch.millis().saturating_sub(self.run_ms()));
    }

    /// Whether an epoch lies at most `margin` ahead of what this node accepts from a report.
    ///
    /// An epoch accepted earlier, plus the time since, is accepted again without a margin. With a margin one peer could push epochs
    /// further with each proposal.
    fn is_plausible(&self, epoch: Epoch, margin: u64) -> bool {
        let millis = epoch.millis();
        let allows = |unix_ms: u64| millis <= max_plausible_ms(unix_ms).saturating_add(margin);
        allows(self.unix_ms())
            || millis <= self.wall_clock.accepted.saturating_add(self.run_ms())
            || (self.settings.enabled(Rule::EpochSupportedByHalf)
                && self.supported_by_half(|peer| peer.unix_ms(self.now)).is_some_and(allows))
    }

    /// The greatest value that at least half of the candidate members and no fewer than two peers report. A value of one peer alone
    /// never counts.
    fn supported_by_half<T: Ord>(&self, said: impl Fn(&Peer) -> T) -> Option<T> {
        let nodes = &self.candidate.nodes;
        let peers = nodes.iter().filter_map(|id| self.peers.get(id)).filter(|peer| peer.is_live());
        let mut said: Vec<T> = peers.map(said).collect();
        said.sort_unstable_by(|a, b| b.cmp(a));
        said.into_iter().nth(nodes.len().div_ceil(2).max(MIN_SUPPORTERS) - 1)
    }

    /// The peers that this node cannot agree with because of the wall clocks: one of the two rejects the epochs of the other.
    #[must_use]
    pub fn clocks_apart(&self) -> Vec<Obstacle> {
        let apart = |peer: &&Peer| {
            let Some(report) = peer.report.filter(|_| peer.is_live()) else { return false };
            let not_accepted_there = || {
                let accepts = max_plausible_ms(peer.unix_ms(self.now)).saturating_add(PROPOSAL_MARGIN_MS);
                report.max_epoch_seen < self.max_epoch_seen && self.max_epoch_seen.millis() > accepts
            };
            (report.max_epoch_seen > self.max_epoch_seen && !self.is_plausible(report.max_epoch_seen, 0))
                || not_accepted_there()
        };
        let obstacle = |peer: &Peer| Obstacle::ClocksApart {
            peer: peer.member.id.clone(),
            theirs: peer.unix_ms(self.now),
            ours: self.unix_ms(),
        };
        self.peers.values().filter(apart).map(obstacle).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::super::state::WallClock;
    use super::*;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::message::Heartbeat;
    use crate::name::{Incarnation, NodeId};
    use crate::peer::Report;
    use crate::settings::Settings;
    use crate::view::Member;

    const NOW_MS: u64 = MIN_PLAUSIBLE_MS + DAY_MS;
    const YEAR_MS: u64 = MAX_EPOCH_SKEW_MS;

    fn member(n: u64, started_at: u64) -> Member {
        Member::without_tags(NodeId::new(
            format!("a@h{n}:1").parse().expect("a name"),
            Incarnation(n),
            started_at,
        ))
    }

    /// A node whose clock shows [`NOW_MS`] at its start, and its peers. Of each there is what its clock shows, and the highest epoch it has
    /// heard of, in milliseconds.
    fn node(peers: &[(u64, u64)]) -> Node {
        let mut node = Node::new(
            Settings::new(member(0, NOW_MS), NonZeroUsize::MIN, 1),
            Time::from_nanos(1_000_000_000),
        );
        for (n, (unix_ms, highest)) in (1..).zip(peers) {
            let peer = member(n, NOW_MS + n);
            node.on_linked(LinkId(n), peer.clone(), PeerTerms::new(Duration::from_secs(2)));
            let heartbeat =
                Heartbeat { max_epoch_seen: epoch(*highest), unix_ms: *unix_ms, ..Heartbeat::first() };
            let known = node.peers.get_mut(&peer.id).expect("it is linked");
            (known.heartbeat_seen, known.report) = (true, Some(Report::new(&heartbeat, node.now)));
        }
        node.candidate.nodes = node.peers.keys().chain([&node.me]).cloned().collect();
        node.candidate.nodes.sort();
        node.max_epoch_seen = Epoch::ZERO;
        node.wall_clock = WallClock::new(NOW_MS);
        node
    }

    fn epoch(millis: u64) -> Epoch {
        Epoch::from_u64(millis << 20)
    }

    #[test]
    fn a_clock_accepts_a_year_ahead_and_one_that_is_not_set_fifty_years_of_the_present() {
        assert_eq!(max_plausible_ms(MIN_PLAUSIBLE_MS), MIN_PLAUSIBLE_MS + YEAR_MS);
        assert_eq!(max_plausible_ms(MIN_PLAUSIBLE_MS - 1), MIN_PLAUSIBLE_MS + 50 * YEAR_MS);
        assert_eq!(max_plausible_ms(u64::MAX), u64::MAX);
        let node = node(&[]);
        assert!(
            node.is_plausible(epoch(NOW_MS + YEAR_MS), 0)
                && !node.is_plausible(epoch(NOW_MS + YEAR_MS + 1), 0)
        );
        assert!(node.is_plausible_proposal(epoch(NOW_MS + YEAR_MS + DAY_MS)), "a day more for a proposal");
        assert!(!node.is_plausible_proposal(epoch(NOW_MS + YEAR_MS + DAY_MS + 1)));
    }

    #[test]
    fn a_clock_that_is_set_is_taken_over_and_one_that_drifts_is_not() {
        let mut node = node(&[]);
        let later = node.now + Duration::from_secs(60);
        node.now = later;
        let read = NOW_MS + 60_000;
        assert_eq!(node.unix_ms(), read);
        for (step, shows) in [(0, 0), (999, 0), (1_000, 1_000), (500, 1_000), (0, 0)] {
            node.on_wall_clock(later, read + step);
            assert_eq!(node.unix_ms(), read + shows, "read {step} ms ahead");
        }
        node.on_wall_clock(later, read - 5_000);
        assert_eq!(node.unix_ms(), read - 5_000);
        node.now = later + Duration::from_secs(1);
        assert_eq!(node.unix_ms(), read - 4_000, "it runs on");
    }

    #[test]
    fn what_was_accepted_once_is_accepted_again_whatever_the_clock_shows() {
        let mut node = node(&[]);
        node.accept_epoch(epoch(NOW_MS + 3 * YEAR_MS));
        assert_eq!(node.max_epoch_seen, epoch(NOW_MS + 3 * YEAR_MS));
        node.accept_epoch(epoch(NOW_MS));
        assert_eq!(node.max_epoch_seen, epoch(NOW_MS + 3 * YEAR_MS), "it goes on from the greatest");
        assert!(node.is_plausible(epoch(NOW_MS + 3 * YEAR_MS), 0));
        assert!(!node.is_plausible(epoch(NOW_MS + 3 * YEAR_MS + 1), DAY_MS), "without a margin");
        node.now = node.now + Duration::from_secs(1);
        assert!(node.is_plausible(epoch(NOW_MS + 3 * YEAR_MS + 1_000), 0), "and the time since");
    }

    #[test]
    fn a_node_takes_note_of_an_epoch_that_may_be_and_counts_one_that_may_not() {
        let mut node = node(&[]);
        node.observe_epoch(epoch(NOW_MS + YEAR_MS));
        assert_eq!((node.max_epoch_seen, node.rejections().len()), (epoch(NOW_MS + YEAR_MS), 0));
        node.observe_epoch(epoch(NOW_MS + 2 * YEAR_MS));
        assert_eq!(node.max_epoch_seen, epoch(NOW_MS + YEAR_MS));
        assert_eq!(node.rejections()[&Rejection::EpochAhead], 1);
    }

    #[test]
    fn what_many_peers_report_counts_and_what_one_reports_does_not() {
        let far = NOW_MS + 5 * YEAR_MS;
        // The clocks of two of three peers are five years ahead.
        let ahead = node(&[(far, 0), (far, 0), (NOW_MS, 0)]);
        assert!(
            ahead.is_plausible(epoch(far + YEAR_MS), 0) && !ahead.is_plausible(epoch(far + YEAR_MS + 1), 0)
        );
        let one = node(&[(far, 0), (NOW_MS, 0), (NOW_MS, 0)]);
        assert!(!one.is_plausible(epoch(NOW_MS + YEAR_MS + 1), 0));
        assert!(!node(&[(far, 0)]).is_plausible(epoch(far), 0), "of two nodes one is half, but alone");

        // Two of three report that they have seen an epoch; the next epoch follows the greatest that both report.
        let mut heard = node(&[(NOW_MS, far + 1), (NOW_MS, far), (NOW_MS, 0)]);
        heard.observe_max_epoch(epoch(far + 1));
        assert_eq!(heard.max_epoch_seen, epoch(far));
        let mut one = node(&[(NOW_MS, far), (NOW_MS, 0), (NOW_MS, 0)]);
        one.observe_max_epoch(epoch(far));
        assert_eq!(one.max_epoch_seen, Epoch::ZERO);
    }

    #[test]
    fn what_a_peer_reports_that_is_not_live_does_not_count() {
        let far = NOW_MS + 5 * YEAR_MS;
        let mut node = node(&[(far, 0), (far, 0), (NOW_MS, 0)]);
        assert!(node.is_plausible(epoch(far), 0));
        node.peers.get_mut(&member(1, NOW_MS + 1).id).expect("it is linked").heartbeat_seen = false;
        assert!(!node.is_plausible(epoch(far), 0));
    }

    #[test]
    fn a_proposal_begins_at_the_own_clock_but_not_ahead_of_what_each_member_accepts() {
        assert_eq!(node(&[(NOW_MS, 0)]).proposal_ms(), NOW_MS);
        let behind = NOW_MS - YEAR_MS - DAY_MS / 2;
        // A clock of before 2026 counts as unset and accepts much.
        assert_eq!(node(&[(behind, 0)]).proposal_ms(), NOW_MS);
        let mut node = node(&[(NOW_MS, 0), (NOW_MS + 7, 0)]);
        node.wall_clock.reading = NOW_MS + 3 * YEAR_MS;
        assert_eq!(node.proposal_ms(), NOW_MS + YEAR_MS);
    }

    #[test]
    fn the_clock_of_a_peer_runs_on_and_that_of_an_earlier_build_is_its_start_and_its_age() {
        let mut node = node(&[(NOW_MS + 50, 0), (0, 0)]);
        node.now = node.now + Duration::from_secs(3);
        let shows = |n: u64| node.peers[&member(n, NOW_MS + n).id].unix_ms(node.now);
        assert_eq!((shows(1), shows(2)), (NOW_MS + 3_050, NOW_MS + 2 + 3_000));
    }

    #[test]
    fn peers_with_implausible_epochs_and_peers_that_reject_the_own_epoch_are_reported() {
        let far = NOW_MS + 5 * YEAR_MS;
        let apart = |node: &Node| -> Vec<(u64, u64)> {
            let clocks = node.clocks_apart().into_iter().map(|obstacle| match obstacle {
                Obstacle::ClocksApart { theirs, ours, .. } => (theirs, ours),
                other => panic!("{other}"),
            });
            clocks.collect()
        };
        assert_eq!(apart(&node(&[(far, far), (NOW_MS, NOW_MS)])), [(far, NOW_MS)]);
        assert_eq!(apart(&node(&[(far, NOW_MS + YEAR_MS)])), [], "what it says is accepted");

        let mut ahead = node(&[(NOW_MS, 0), (far, 0)]);
        ahead.wall_clock.reading = far;
        ahead.max_epoch_seen = epoch(NOW_MS + YEAR_MS + DAY_MS);
        assert_eq!(apart(&ahead), [], "the first accepts it as a proposal");
        ahead.max_epoch_seen = epoch(NOW_MS + YEAR_MS + DAY_MS + 1);
        assert_eq!(apart(&ahead), [(NOW_MS, far)]);
        let mut accepted = node(&[(NOW_MS, far)]);
        accepted.accept_epoch(epoch(far));
        assert_eq!(apart(&accepted), [], "whatever its clock shows, it has gone on from the same epoch");
        let not_behind = node(&[(NOW_MS, NOW_MS)]);
        assert_eq!(apart(&not_behind), []);
    }
}
