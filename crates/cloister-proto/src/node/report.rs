//! What a node can tell about itself and its peers, for people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Node, Stage};
use crate::change::DownReason;
use crate::event::LinkId;
use crate::name::{Address, NodeId};
use crate::time::Time;
use crate::view::{Epoch, Member};

/// What a node knows of a peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerReport {
    /// Who it is.
    pub member: Member,
    /// The open link to it, if there is one.
    pub link: Option<LinkId>,
    /// When the last byte came in.
    pub last_heard: Time,
    /// Whom it hears, by its own word.
    pub reach: Arc<[NodeId]>,
    /// The epoch of the view it installed last; zero for none.
    pub installed: Epoch,
    /// Whether it is on its way out.
    pub leaving: bool,
}

/// Something that keeps a node from being `Up`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Fewer nodes hear each other than consensus asks for.
    TooFew {
        /// Who is there, this node included.
        present: Vec<NodeId>,
        /// How many are needed.
        needed: usize,
    },
    /// The nodes that are left may not go on without the others, by the split policy.
    MayNotStand {
        /// Who is there, this node included.
        present: Vec<NodeId>,
    },
    /// Under `majority`: too few members of a view that a new one has to follow are here.
    TooFewLives {
        /// The members that are here, this node included.
        here: Vec<NodeId>,
        /// How many of them are needed.
        needed: usize,
        /// How many members the view has that have not left in order.
        of: usize,
        /// The members that are not here and have not left, each with why.
        missing: Vec<(NodeId, DownReason)>,
        /// The node that left and handed this view over, if this node was not a member of it.
        left_from: Option<NodeId>,
        /// Whether this node has a state file: then a restart alone does not make it forget.
        kept: bool,
    },
    /// Under `majority`, with a state file: an earlier life of this node was a member of a view, and too few of its other
    /// members are here.
    Remembers {
        /// The members of that view.
        of: Vec<NodeId>,
        /// Those that are not here, did not leave in order, and may still run, each with why it is not here.
        waits_for: Vec<(NodeId, DownReason)>,
        /// For how much longer, if the earlier life left in order.
        forgotten_in: Option<Duration>,
    },
    /// With a state file: it cannot be written, so this node acknowledges no view.
    NotKept {
        /// Why.
        cause: String,
    },
    /// Under `majority`: fewer nodes are here than a cluster of this size needs.
    TooSmall {
        /// How many nodes are here.
        here: usize,
        /// How many nodes the cluster counts.
        size: usize,
        /// How many are needed.
        needed: usize,
        /// Members of the last view that are not here and did not leave in order.
        gone: Vec<NodeId>,
    },
    /// Under `majority`: a cluster could begin, but as many nodes may be one elsewhere.
    Rivals {
        /// How many nodes are here.
        here: usize,
        /// The named addresses that are not linked, each with for how long it counts.
        absent: Vec<(Address, Duration)>,
        /// Linked nodes that are not here: they are not heard by all, or have not spoken.
        outside: Vec<NodeId>,
    },
    /// The others hear each other, but not all of them hear this node.
    LeftOut {
        /// Who is in.
        target: Vec<NodeId>,
    },
    /// This address is named by discovery and neither answers nor refuses; behind it may be a node of an older cluster.
    Unaccounted(Address),
    /// This address is named by discovery and refuses, which by `timing.trust_refusal` is no proof that no node is behind it.
    Doubted(Address),
    /// Discovery has not answered yet.
    NotDiscovered,
    /// A round is under way and these have not answered.
    Round {
        /// The epoch of the round.
        epoch: Epoch,
        /// Who has not answered; empty when this node does not run the round.
        waits_for: Vec<NodeId>,
    },
    /// Enough nodes are there; the oldest of them is about to propose a view.
    WaitsForRound {
        /// The oldest.
        proposer: NodeId,
    },
    /// A view is installed, but too few of its members have granted the lease.
    WaitsForLease {
        /// The epoch of the view.
        epoch: Epoch,
    },
    /// This node and a peer cannot agree on an epoch: their wall clocks are more than a year apart, or were.
    ClocksApart {
        /// The peer.
        peer: NodeId,
        /// What its wall clock shows, in milliseconds since the Unix epoch.
        theirs: u64,
        /// What the wall clock of this node shows.
        ours: u64,
    },
    /// This node leaves or has left.
    Leaving,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A time in milliseconds since the Unix epoch, as a date and a time of day.
struct Utc(u64);

impl fmt::Display for Utc {
    /// The date of a day count after Howard Hinnant, "chrono-compatible low-level date algorithms".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days since 1 March of the year 0; an era has 400 years.
        let days = self.0 / DAY_MS + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let seconds = self.0 / 1000 % 86_400;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

struct Names<'a>(&'a [NodeId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0, |f, id| write!(f, "{}", id.name()))
    }
}

/// Writes each item, with commas between them.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(at, item)| {
        f.write_str(if at == 0 { "" } else { ", " })?;
        write(f, item)
    })
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::TooFew { present, needed } => write!(
                f,
                "{} of {needed} nodes are connected ({}): {} more needed",
                present.len(),
                Names(present),
                needed.saturating_sub(present.len())
            ),
            Obstacle::MayNotStand { present } => {
                write!(f, "by the split policy {} may not go on without the other members", Names(present))
            }
            Obstacle::TooFewLives { here, needed, of, missing, left_from, kept } => {
                if let Some(leaver) = left_from {
                    write!(f, "{} left from a view that this node does not know: ", leaver.name())?;
                }
                write!(
                    f,
                    "{} of {of} members of the last view are here, {needed} needed; missing ",
                    here.len()
                )?;
                list(f, missing, |f, (id, reason)| write!(f, "{} ({reason})", id.name()))?;
                if here.is_empty() {
                    f.write_str(". Gone for good? Restart this node")
                } else {
                    write!(f, ". Gone for good? Restart {}", Names(here))
                }?;
                if *kept { f.write_str(" without a state file") } else { Ok(()) }
            }
            Obstacle::Remembers { of, waits_for, forgotten_in } => {
                write!(f, "the state file remembers a view of {}: ", Names(of))?;
                list(f, waits_for, |f, (id, reason)| write!(f, "{} ({reason})", id.name()))?;
                f.write_str(" may still be a cluster. This node waits until each answers, refuses connections or is replaced by another process")?;
                if let Some(left) = forgotten_in {
                    return write!(f, ", for {} s more, since it left that view in order", left.as_secs());
                }
                f.write_str(". Gone for good? Remove the state file of this node and restart it")
            }
            Obstacle::NotKept { cause } => {
                write!(f, "the state file cannot be written, so this node acknowledges no view: {cause}")
            }
            Obstacle::TooSmall { here, size, needed, gone } => {
                write!(
                    f,
                    "{here} nodes are here, the cluster counts {size}, {needed} needed: any further node will do"
                )?;
                if gone.is_empty() { Ok(()) } else { write!(f, ". Gone without a goodbye: {}", Names(gone)) }
            }
            Obstacle::Rivals { here, absent, outside } => {
                let others = absent.len() + outside.len();
                write!(f, "{here} nodes are here, but {others} others may be a cluster: ")?;
                list(f, absent, |f, (address, left)| {
                    write!(
                        f,
                        "{address} (named by discovery and not linked, counts for {} s more)",
                        left.as_secs()
                    )
                })?;
                let comma = if absent.is_empty() || outside.is_empty() { "" } else { ", " };
                f.write_str(comma)?;
                list(f, outside, |f, id| write!(f, "{} (linked, not heard by all)", id.name()))
            }
            Obstacle::LeftOut { target } => {
                write!(f, "not every one of {} hears this node: check the links between them", Names(target))
            }
            Obstacle::Unaccounted(address) => {
                write!(f, "{address} is named by discovery and neither answers nor refuses")
            }
            Obstacle::Doubted(address) => write!(
                f,
                "{address} is named by discovery and refuses, which proves nothing here (`timing.trust_refusal`): \
                 a node behind it is waited for until its lease has ended"
            ),
            Obstacle::NotDiscovered => f.write_str("discovery has not answered yet"),
            Obstacle::Round { epoch, waits_for } if waits_for.is_empty() => {
                write!(f, "view {epoch} is being agreed on")
            }
            Obstacle::Round { epoch, waits_for } => {
                write!(f, "view {epoch} waits for the answer of {}", Names(waits_for))
            }
            Obstacle::WaitsForRound { proposer } => {
                write!(f, "enough nodes are connected; {} is about to propose a view", proposer.name())
            }
            Obstacle::WaitsForLease { epoch } => {
                write!(f, "view {epoch} is installed, but too few of its members confirm it yet")
            }
            Obstacle::ClocksApart { peer, theirs, ours } => {
                let days = (theirs.abs_diff(*ours) + DAY_MS / 2) / DAY_MS;
                let differs = if theirs < ours { "behind" } else { "ahead of" };
                write!(
                    f,
                    "{} and this node do not accept the same epochs: its wall clock shows {}, {days} days {differs} \
                     the one of this node, {}. Set the clock that is wrong, and restart the node whose clock was ahead",
                    peer.name(),
                    Utc(*theirs),
                    Utc(*ours),
                )
            }
            Obstacle::Leaving => f.write_str("this node is leaving"),
        }
    }
}

impl Node {
    /// What this node knows of every peer it is or was linked to, in order of age.
    pub fn peers(&self) -> Vec<PeerReport> {
        self.peers
            .values()
            .map(|peer| PeerReport {
                member: peer.member.clone(),
                link: peer.open(),
                last_heard: peer.heard,
                reach: Arc::clone(&peer.reach),
                installed: peer.report.map_or(Epoch::ZERO, |report| report.installed),
                leaving: peer.is_leaving(),
            })
            .collect()
    }

    /// Why this node is not `Up` at `now`; empty when it is.
    pub fn obstacles(&self, now: Time) -> Vec<Obstacle> {
        match &self.stage {
            Stage::Leaving { .. } | Stage::Left => vec![Obstacle::Leaving],
            Stage::Bound(bound) if bound.until.is_some_and(|until| now < until) => Vec::new(),
            Stage::Bound(_) => vec![Obstacle::WaitsForLease { epoch: self.installed_epoch() }],
            Stage::Promised(promise) => {
                let waits_for = self.round.as_ref().map_or_else(Vec::new, |round| round.waits_for());
                let mut obstacles = self.clocks_apart();
                obstacles.push(Obstacle::Round { epoch: promise.view.epoch(), waits_for });
                obstacles
            }
            Stage::Assembling => self.obstacles_to_a_round(),
        }
    }

    fn obstacles_to_a_round(&self) -> Vec<Obstacle> {
        let target = &self.target.nodes;
        let mut obstacles = self.clocks_apart();
        if let Some(cause) = self.memory_trouble() {
            obstacles.push(Obstacle::NotKept { cause: cause.to_owned() });
        }
        if !target.contains(&self.me) {
            obstacles.push(Obstacle::LeftOut { target: target.clone() });
        } else if let Err(shortfall) = self.succession(target) {
            obstacles.push(self.obstacle(target, shortfall));
        } else if let Some(proposer) = target.first() {
            obstacles.push(Obstacle::WaitsForRound { proposer: proposer.clone() });
        }
        if !self.survey.complete {
            obstacles.push(Obstacle::NotDiscovered);
        }
        obstacles.extend(self.survey.unaccounted.iter().cloned().map(Obstacle::Unaccounted));
        obstacles.extend(self.doubted_addresses().cloned().map(Obstacle::Doubted));
        obstacles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_a_date() {
        let told =
            [0, 951_782_399_000, 951_782_400_000, 1_767_225_600_000, 1_830_297_599_999, 4_107_542_400_000]
                .map(|ms| Utc(ms).to_string());
        let dates = [
            "1970-01-01 00:00:00 UTC",
            "2000-02-28 23:59:59 UTC",
            "2000-02-29 00:00:00 UTC",
            "2026-01-01 00:00:00 UTC",
            "2027-12-31 23:59:59 UTC",
            "2100-03-01 00:00:00 UTC",
        ];
        assert_eq!(told, dates);
    }
}
