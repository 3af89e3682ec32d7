//! What keeps a node from being up, for people.

use std::fmt;
use std::time::Duration;

use crate::change::DownReason;
use crate::name::{Address, NodeId};
use crate::view::Epoch;

/// A discovered address that is not linked.
///
/// [`Obstacle`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbsentAddress {
    /// The address.
    pub address: Address,
    /// Whether it refuses connections; else it is silent, or has not been dialled yet.
    pub refuses: bool,
    /// For how long it still counts as a node that may be in a cluster elsewhere.
    pub counts_for: Duration,
}

/// Something that keeps a node from being `Up`.
///
/// Its `Display` is one line for people:
///
/// ```
/// use cloister_proto::Obstacle;
///
/// fn report(obstacles: &[Obstacle]) {
///     for obstacle in obstacles {
///         eprintln!("not up: {obstacle}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Fewer nodes reach each other than `consensus` requires.
    TooFew {
        /// The present nodes, this one included.
        present: Vec<NodeId>,
        /// How many are needed.
        needed: usize,
    },
    /// By the split policy the present nodes may not go on without the others.
    NotViable {
        /// The present nodes, this one included.
        present: Vec<NodeId>,
    },
    /// Under `majority`: too few members of a view that a new one has to follow are here.
    TooFewMembers {
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
        has_state_file: bool,
    },
    /// Under `majority`, with a state file: an earlier incarnation of this node was a member of a view, and too few of its other
    /// members are here.
    Remembers {
        /// The members of that view.
        of: Vec<NodeId>,
        /// Those that are not here, did not leave in order, and may still run, each with why it is not here.
        waits_for: Vec<(NodeId, DownReason)>,
        /// For how much longer, if the earlier incarnation left in order.
        forgotten_in: Option<Duration>,
    },
    /// With a state file: it cannot be written, so this node acknowledges no view.
    NotPersisted {
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
        /// How many are needed to begin: the configured `consensus`.
        consensus: usize,
        /// The named addresses that are not linked.
        absent: Vec<AbsentAddress>,
        /// Linked nodes that are not included: not every node reaches them, or they have sent no heartbeat.
        outside: Vec<NodeId>,
    },
    /// Under `majority`: the lease that a leaver may have granted just before it left has not expired yet, and is of members that
    /// are not here.
    LeaversGrants {
        /// The node that left.
        leaver: NodeId,
        /// The members that may act by its grant.
        holders: Vec<NodeId>,
        /// For how long that is waited for.
        remaining: Duration,
    },
    /// Members of the installed view that are not here may still hold a lease.
    LeasesOutside {
        /// Those members.
        holders: Vec<NodeId>,
        /// For how long that is waited for.
        remaining: Duration,
    },
    /// Processes started so recently that a lease confirmed by an earlier process under the same name may still be held.
    RecentStarts {
        /// The nodes of these processes.
        nodes: Vec<NodeId>,
        /// For how long that is waited for.
        remaining: Duration,
    },
    /// Under `majority`: others are a cluster that this node can neither follow nor begin anew with, and go on without it.
    LeftBehind {
        /// The nodes of that cluster that this node reaches.
        by: Vec<NodeId>,
        /// The members of the view that this node remembers which are not here and did not leave in order.
        missing: Vec<NodeId>,
        /// Whether this node keeps its views in a state file, so that a restart alone does not forget them.
        has_state_file: bool,
    },
    /// The others reach each other, but not all of them reach this node.
    LeftOut {
        /// The candidate members.
        candidate: Vec<NodeId>,
    },
    /// This discovered address neither answers nor refuses; a node of an older cluster may be behind it.
    Unverified(Address),
    /// This discovered address refuses, which by `timing.trust_refusal` does not prove that no node is behind it.
    RefusalInconclusive(Address),
    /// Discovery has not answered yet.
    NotDiscovered,
    /// A round is under way and these have not answered.
    Round {
        /// The epoch of the round.
        epoch: Epoch,
        /// The members that have not answered; empty when this node does not run the round.
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
            Obstacle::NotViable { present } => {
                write!(f, "by the split policy {} may not go on without the other members", Names(present))
            }
            Obstacle::TooFewMembers { here, needed, of, missing, left_from, has_state_file } => {
                let view = match left_from {
                    Some(leaver) => {
                        write!(f, "{} left from a view that this node does not know: ", leaver.name())?;
                        "that view"
                    }
                    None => "the last view",
                };
                write!(f, "{} of {of} members of {view} are here, {needed} needed; missing ", here.len())?;
                list(f, missing, |f, (id, reason)| write!(f, "{} ({reason})", id.name()))?;
                if here.is_empty() {
                    f.write_str(". Gone for good? Restart this node")
                } else {
                    write!(f, ". Gone for good? Restart {}", Names(here))
                }?;
                if *has_state_file { f.write_str(" without a state file") } else { Ok(()) }
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
            Obstacle::NotPersisted { cause } => {
                write!(f, "the state file cannot be written, so this node acknowledges no view: {cause}")
            }
            Obstacle::TooSmall { here, size, needed, gone } => {
                write!(
                    f,
                    "{here} nodes are here, the cluster counts {size}, {needed} needed: any further node will do"
                )?;
                if gone.is_empty() { Ok(()) } else { write!(f, ". Gone without a goodbye: {}", Names(gone)) }
            }
            Obstacle::Rivals { here, consensus, absent, outside } => {
                let others = absent.len() + outside.len();
                write!(
                    f,
                    "{here} nodes are here, `consensus` is {consensus}, but {others} others may be a cluster: "
                )?;
                list(f, absent, |f, AbsentAddress { address, refuses, counts_for }| {
                    let how = if *refuses { "refuses" } else { "silent" };
                    write!(f, "{address} (not linked, {how}, counts for {} s more)", counts_for.as_secs())
                })?;
                let comma = if absent.is_empty() || outside.is_empty() { "" } else { ", " };
                f.write_str(comma)?;
                list(f, outside, |f, id| write!(f, "{} (linked, not heard by all)", id.name()))
            }
            Obstacle::LeaversGrants { leaver, holders, remaining } => write!(
                f,
                "{:.1} s more: {}, which left, may have confirmed the lease of {}",
                remaining.as_secs_f64(),
                leaver.name(),
                Names(holders)
            ),
            Obstacle::LeasesOutside { holders, remaining } => write!(
                f,
                "{:.1} s more: {} may still hold a lease of the last view",
                remaining.as_secs_f64(),
                Names(holders)
            ),
            Obstacle::RecentStarts { nodes, remaining } => write!(
                f,
                "{:.1} s more: {} started recently, and an earlier process under the same name may have confirmed a lease that \
                 is still held",
                remaining.as_secs_f64(),
                Names(nodes)
            ),
            Obstacle::LeftBehind { by, missing, has_state_file } => write!(
                f,
                "left out by {}: they are a cluster that this node cannot follow, since it remembers a view of which {} are \
                 missing. Gone for good? Restart this node{}",
                Names(by),
                Names(missing),
                if *has_state_file { " without a state file" } else { "" }
            ),
            Obstacle::LeftOut { candidate } => {
                write!(
                    f,
                    "not every one of {} hears this node: check the links between them",
                    Names(candidate)
                )
            }
            Obstacle::Unverified(address) => {
                write!(f, "{address} is named by discovery and neither answers nor refuses")
            }
            Obstacle::RefusalInconclusive(address) => write!(
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

#[cfg(test)]
mod tests;
