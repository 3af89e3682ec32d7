//! The settings of a node, fixed at its start.

use std::num::NonZeroUsize;
use std::time::Duration;

use thiserror::Error;

use crate::memory::Memory;
use crate::rule::Rule;
use crate::split::SplitPolicy;
use crate::view::Member;

/// The settings of a node.
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub struct Settings {
    /// This node, and its tags.
    pub me: Member,
    /// The minimal number of members of a first view (quorum). Under [`SplitPolicy::Majority`], the default, later views need more than
    /// half of the nodes that the cluster counts, and not this number. Under [`SplitPolicy::Consensus`] and
    /// [`SplitPolicy::KeepOldest`] every view needs it. Two views at a time are then impossible only if it is more than half of all nodes
    /// that ever run at once.
    pub consensus: NonZeroUsize,
    /// Which part goes on when the network splits.
    pub split: SplitPolicy,
    /// Intervals and timeouts.
    pub timing: Timing,
    /// Whether a refused connection proves that the process at the address has exited.
    pub trust_refusal: TrustRefusal,
    /// Whether the address of this node belongs to its own machine, so that nothing else answers or refuses there.
    pub owns_address: bool,
    /// What the previous incarnation left, where the shell persists it: a state file, for [`SplitPolicy::Majority`]. `None` by
    /// default: nothing is persisted.
    pub memory: Option<Memory>,
    /// Seeds the jitter of back-offs, so that a run can be repeated.
    pub jitter: u64,
    /// The rule that a test has disabled. Only the feature `test-support` has a function that sets it.
    disabled_rule: Option<Rule>,
}

impl Settings {
    /// Default times and the default policy.
    #[must_use]
    pub fn new(me: Member, consensus: NonZeroUsize, jitter: u64) -> Self {
        Self {
            me,
            consensus,
            split: SplitPolicy::default(),
            timing: Timing::default(),
            trust_refusal: TrustRefusal::default(),
            owns_address: true,
            memory: None,
            jitter,
            disabled_rule: None,
        }
    }

    /// Whether a connection refused at this node's address proves its exit. Sent to peers.
    #[must_use]
    pub fn owns_refusals(&self) -> bool {
        match self.trust_refusal {
            TrustRefusal::Auto => self.owns_address,
            TrustRefusal::Always => true,
            TrustRefusal::Never => false,
        }
    }

    /// Switches one rule off, or none. For the tests that show what happens without it.
    #[cfg(feature = "test-support")]
    pub fn disable_rule(&mut self, rule: Option<Rule>) {
        self.disabled_rule = rule;
    }

    /// Whether a rule holds: always, outside of tests.
    pub(crate) fn enabled(&self, rule: Rule) -> bool {
        self.disabled_rule != Some(rule)
    }
}

/// Whether an address that refuses a connection proves that the process there has ended.
///
/// It does where the connection reaches the very machine of the process. A firewall that rejects, a proxy or a load
/// balancer without a backend may answer in its place. Each refuses for a process that lives and still holds its lease.
/// Without that proof the cluster waits for the lease of a process that was killed, about 2 s.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::TrustRefusal;
///
/// assert_eq!(TrustRefusal::default().as_str(), "auto");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustRefusal {
    /// Not of a node that is known by an address which is none of its machine's; yes of others.
    #[default]
    Auto,
    /// Yes, for every address.
    Always,
    /// No: only another process that answers at the address proves that the one before has ended.
    Never,
}

impl TrustRefusal {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TrustRefusal::Auto => "auto",
            TrustRefusal::Always => "true",
            TrustRefusal::Never => "false",
        }
    }
}

/// Intervals and timeouts. All nodes of a cluster should have the same.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use std::time::Duration;
///
/// use cloister::Timing;
///
/// let timing = Timing { heartbeat_every: Duration::from_secs(1), ..Timing::default() };
/// assert_eq!(timing.problems().len(), 1, "one lost heartbeat would end every lease");
/// assert_eq!(timing.guard(), timing.lease * 105 / 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The interval of heartbeats. Shorter detects failures faster and costs more; 500 ms by default.
    pub heartbeat_every: Duration,
    /// After how long without a byte a peer is unreachable; 3 s by default.
    pub unreachable_after: Duration,
    /// The lease: for how long a node acts as sentry and owner by the grants of the others; 2 s by default.
    pub lease: Duration,
    /// How long the set of nodes must stay the same before newcomers are taken in; 20 ms by default.
    pub settle: Duration,
    /// How long listeners may hold a new view at most; 10 s by default.
    pub rehash_timeout: Duration,
    /// How long a node that leaves stays linked at most, until the others have taken over and no listener holds its stop; 15 s by
    /// default. Longer than `rehash_timeout`, for which the others may hold the view without it.
    pub leave_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_millis(500),
            unreachable_after: Duration::from_secs(3),
            lease: Duration::from_secs(2),
            settle: Duration::from_millis(20),
            rehash_timeout: Duration::from_secs(10),
            leave_timeout: Duration::from_secs(15),
        }
    }
}

/// Two times that contradict each other, or one that is out of bounds.
///
/// [`Timing`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The lease would run out between two heartbeats.
    #[error(
        "2 × heartbeat_every ({heartbeat_every:?}) must be less than lease ({lease:?}): \
         one lost heartbeat would end every lease; lengthen lease or shorten heartbeat_every"
    )]
    HeartbeatTooSlow {
        /// As configured.
        heartbeat_every: Duration,
        /// As configured.
        lease: Duration,
    },
    /// A peer would be disconnected before its lease has certainly expired.
    #[error(
        "1.05 × lease ({lease:?}) must be less than unreachable_after ({unreachable_after:?}): \
         a silent peer may hold its lease that long; lengthen unreachable_after or shorten lease"
    )]
    LeaseTooLong {
        /// As configured.
        lease: Duration,
        /// As configured.
        unreachable_after: Duration,
    },
    /// A node that leaves would stop while the others still hold the view without it.
    #[error(
        "rehash_timeout ({rehash_timeout:?}) must be less than leave_timeout ({leave_timeout:?}): a node that leaves would stop while \
         the others still take over what it has; lengthen leave_timeout or shorten rehash_timeout"
    )]
    LeaveTooShort {
        /// As configured.
        rehash_timeout: Duration,
        /// As configured.
        leave_timeout: Duration,
    },
    /// A time outside of what makes sense.
    #[error("{field} is {value:?}: it must be between {min:?} and {max:?}")]
    OutOfBounds {
        /// The name of the field.
        field: &'static str,
        /// As configured.
        value: Duration,
        /// The least allowed.
        min: Duration,
        /// The most allowed.
        max: Duration,
    },
}

/// The upper bound of every configured time.
pub(crate) const MAX_TIMING: Duration = Duration::from_secs(3600);

impl Timing {
    /// For how long after its last heartbeat a peer may still hold its lease: the lease plus a clock drift of 5 %.
    #[must_use]
    pub fn guard(&self) -> Duration {
        guard_of(self.lease)
    }

    /// Every violated bound or relation; empty when the timing is valid.
    #[must_use]
    pub fn problems(&self) -> Vec<TimingError> {
        const MILLI: Duration = Duration::from_millis(1);
        const HOUR: Duration = MAX_TIMING;
        let bounds = [
            ("heartbeat_every", self.heartbeat_every, 10 * MILLI, HOUR),
            ("unreachable_after", self.unreachable_after, 50 * MILLI, HOUR),
            ("lease", self.lease, 30 * MILLI, HOUR),
            ("settle", self.settle, Duration::ZERO, 10_000 * MILLI),
            ("rehash_timeout", self.rehash_timeout, MILLI, HOUR),
            ("leave_timeout", self.leave_timeout, MILLI, HOUR),
        ];
        let mut problems: Vec<TimingError> = bounds
            .into_iter()
            .filter(|(_, value, min, max)| value < min || value > max)
            .map(|(field, value, min, max)| TimingError::OutOfBounds { field, value, min, max })
            .collect();
        if 2 * self.heartbeat_every >= self.lease {
            problems.push(TimingError::HeartbeatTooSlow {
                heartbeat_every: self.heartbeat_every,
                lease: self.lease,
            });
        }
        if self.guard() >= self.unreachable_after {
            problems.push(TimingError::LeaseTooLong {
                lease: self.lease,
                unreachable_after: self.unreachable_after,
            });
        }
        if self.rehash_timeout >= self.leave_timeout {
            problems.push(TimingError::LeaveTooShort {
                rehash_timeout: self.rehash_timeout,
                leave_timeout: self.leave_timeout,
            });
        }
        problems
    }

    /// By how much the wall clock may jump ahead of the monotonic clock before the lease is given up: the clock drift that the
    /// guard allows.
    #[must_use]
    pub fn clock_slack(&self) -> Duration {
        self.lease / 20
    }

    /// After how long without a heartbeat a peer is hung, though bytes arrive.
    pub(crate) fn hung_after(&self) -> Duration {
        (20 * self.heartbeat_every).max(self.unreachable_after)
    }

    /// How long after a disconnect a peer still counts as reachable.
    pub(crate) fn reconnect_grace(&self) -> Duration {
        self.heartbeat_every
    }

    /// How long a node may miss from its own candidate members before it steps down.
    pub(crate) fn left_out_after(&self) -> Duration {
        self.heartbeat_every
    }

    /// How long a proposer waits for all promises.
    pub(crate) fn promise_timeout(&self) -> Duration {
        2 * self.heartbeat_every
    }
}

pub(crate) fn guard_of(lease: Duration) -> Duration {
    lease + lease / 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Incarnation, NodeId};

    const MILLI: Duration = Duration::from_millis(1);

    /// The fields that are out of bounds when one time is `value` and all others are by default.
    fn out_of_bounds(change: impl Fn(&mut Timing)) -> Vec<&'static str> {
        let mut timing = Timing::default();
        change(&mut timing);
        let field = |problem| match problem {
            TimingError::OutOfBounds { field, .. } => Some(field),
            _ => None,
        };
        timing.problems().into_iter().filter_map(field).collect()
    }

    #[test]
    fn each_time_has_its_bounds_and_may_be_as_short_and_as_long_as_they_say() {
        type Field = fn(&mut Timing) -> &mut Duration;
        let hour = Duration::from_secs(3600);
        let bounds: [(&str, Field, Duration, Duration); 6] = [
            ("heartbeat_every", |timing| &mut timing.heartbeat_every, 10 * MILLI, hour),
            ("unreachable_after", |timing| &mut timing.unreachable_after, 50 * MILLI, hour),
            ("lease", |timing| &mut timing.lease, 30 * MILLI, hour),
            ("settle", |timing| &mut timing.settle, Duration::ZERO, Duration::from_secs(10)),
            ("rehash_timeout", |timing| &mut timing.rehash_timeout, MILLI, hour),
            ("leave_timeout", |timing| &mut timing.leave_timeout, MILLI, hour),
        ];
        for (name, field, min, max) in bounds {
            for fits in [min, max] {
                assert!(out_of_bounds(|timing| *field(timing) = fits).is_empty(), "{name}: {fits:?}");
            }
            let nano = Duration::from_nanos(1);
            for wrong in min.checked_sub(nano).into_iter().chain([max + nano]) {
                assert_eq!(out_of_bounds(|timing| *field(timing) = wrong), [name], "{wrong:?}");
            }
        }
    }

    #[test]
    fn times_that_contradict_each_other_are_reported_and_those_at_the_limit_are_not() {
        let problems = |heartbeat_every: Duration, lease: Duration, unreachable_after: Duration| {
            Timing { heartbeat_every, lease, unreachable_after, ..Timing::default() }.problems()
        };
        assert_eq!(Timing::default().problems(), []);
        assert_eq!(problems(499 * MILLI, 1000 * MILLI, 1051 * MILLI), []);
        let (heartbeat_every, lease, unreachable_after) = (500 * MILLI, 1000 * MILLI, 1050 * MILLI);
        assert_eq!(
            problems(heartbeat_every, lease, unreachable_after),
            [
                TimingError::HeartbeatTooSlow { heartbeat_every, lease },
                TimingError::LeaseTooLong { lease, unreachable_after }
            ]
        );
        let leaving = |rehash_timeout: Duration, leave_timeout: Duration| {
            Timing { rehash_timeout, leave_timeout, ..Timing::default() }.problems()
        };
        assert_eq!(leaving(4_999 * MILLI, 5_000 * MILLI), []);
        let (rehash_timeout, leave_timeout) = (5_000 * MILLI, 5_000 * MILLI);
        assert_eq!(
            leaving(rehash_timeout, leave_timeout),
            [TimingError::LeaveTooShort { rehash_timeout, leave_timeout }]
        );
    }

    #[test]
    fn what_follows_from_the_default_times_is_what_the_rules_say() {
        let timing = Timing::default();
        assert_eq!((timing.guard(), timing.clock_slack()), (2100 * MILLI, 100 * MILLI));
        assert_eq!((timing.hung_after(), timing.promise_timeout()), (10_000 * MILLI, 1000 * MILLI));
        assert_eq!((timing.reconnect_grace(), timing.left_out_after()), (500 * MILLI, 500 * MILLI));
    }

    #[test]
    fn a_node_says_that_its_refusals_prove_its_end_unless_it_knows_better() {
        let name = "a@h:1".parse().expect("a name");
        let me = Member::without_tags(NodeId::new(name, Incarnation(1), 1));
        let says = |trust_refusal: TrustRefusal, owns_address: bool| {
            let mut settings = Settings::new(me.clone(), NonZeroUsize::MIN, 1);
            (settings.trust_refusal, settings.owns_address) = (trust_refusal, owns_address);
            settings.owns_refusals()
        };
        use TrustRefusal::{Always, Auto, Never};
        let found =
            [Auto, Always, Never].map(|trust| (trust.as_str(), says(trust, true), says(trust, false)));
        assert_eq!(found, [("auto", true, false), ("true", true, true), ("false", false, false)]);
    }
}
