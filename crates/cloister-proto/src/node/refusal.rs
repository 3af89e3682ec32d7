//! What a node does not believe of a peer, though the peer has authenticated itself.

use std::collections::BTreeMap;

use super::Node;
use crate::view::Epoch;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How far ahead of this node's wall clock an epoch may lie that it is only told of: a year. Epochs begin at the wall clock of a
/// proposer, and clocks are off by minutes, sometimes by a time zone. Without a limit one peer could say an epoch above
/// which no other can rise, and there would never be a view again.
const HEARSAY_MS: u64 = 365 * DAY_MS;

/// How much further ahead a proposal may lie. So an epoch that rises above the highest that somebody believed is
/// still accepted by all whose clocks are less than this behind his.
const MARGIN_MS: u64 = DAY_MS;

/// The beginning of 2026. Who thinks that it is earlier has no clock that is worth asking, such as a board without a
/// battery, and believes whatever lies within [`NO_CLOCK_MS`] of this.
const PRESENT_MS: u64 = 1_767_225_600_000;

/// Fifty years.
const NO_CLOCK_MS: u64 = 50 * HEARSAY_MS;

/// Why a message of a peer, or a part of one, was ignored. Counted by the node, see [`Node::refusals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Disbelief {
    /// It came by a link that is closed.
    LinkClosed,
    /// A heartbeat is not newer than the last one.
    Replayed,
    /// An epoch lies further ahead of the wall clock than any clock is off.
    EpochAhead,
    /// A proposal does not come from the oldest of its members, or this node is none of them.
    ForeignProposal,
    /// A proposal is older than one that this node thinks about.
    OldProposal,
    /// An answer or a commit belongs to no round that is under way here.
    ForeignRound,
    /// It echoes what this node has not said.
    EchoAhead,
    /// A word of the handshake, which is over.
    OutOfPlace,
    /// It says that an older node has this node's name, and that is not so.
    ForeignName,
}

impl Disbelief {
    /// All of them.
    pub const ALL: [Disbelief; 9] = [
        Disbelief::LinkClosed,
        Disbelief::Replayed,
        Disbelief::EpochAhead,
        Disbelief::ForeignProposal,
        Disbelief::OldProposal,
        Disbelief::ForeignRound,
        Disbelief::EchoAhead,
        Disbelief::OutOfPlace,
        Disbelief::ForeignName,
    ];

    /// A word for a counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Disbelief::LinkClosed => "link_closed",
            Disbelief::Replayed => "replayed",
            Disbelief::EpochAhead => "epoch_ahead",
            Disbelief::ForeignProposal => "foreign_proposal",
            Disbelief::OldProposal => "old_proposal",
            Disbelief::ForeignRound => "foreign_round",
            Disbelief::EchoAhead => "echo_ahead",
            Disbelief::OutOfPlace => "out_of_place",
            Disbelief::ForeignName => "foreign_name",
        }
    }
}

impl Node {
    /// How often each thing was not believed since this node began. Some of it is ordinary: an answer that comes
    /// when its round is over, for one.
    pub fn refusals(&self) -> &BTreeMap<Disbelief, u64> {
        &self.refusals
    }

    pub(super) fn disbelieve(&mut self, what: Disbelief) {
        let count = self.refusals.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// What this node takes the unix time to be, in milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        let run = u64::try_from(self.now.since(self.born).as_millis()).unwrap_or(u64::MAX);
        self.me.started_at().saturating_add(run)
    }

    /// Takes note that an epoch was said, if it may be: what this node proposes will be greater.
    pub(super) fn hear_of(&mut self, epoch: Epoch) {
        if epoch <= self.highest {
            return;
        }
        if epoch.millis() > self.horizon() {
            return self.disbelieve(Disbelief::EpochAhead);
        }
        self.highest = epoch;
    }

    /// Whether a proposal has an epoch that a clock may have given.
    pub(super) fn may_be_proposed(&self, epoch: Epoch) -> bool {
        epoch.millis() <= self.horizon().saturating_add(MARGIN_MS)
    }

    fn horizon(&self) -> u64 {
        match self.unix_ms() {
            now if now < PRESENT_MS => PRESENT_MS.saturating_add(NO_CLOCK_MS),
            now => now.saturating_add(HEARSAY_MS),
        }
    }
}
