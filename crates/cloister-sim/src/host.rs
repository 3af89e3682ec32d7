//! One host and the process that runs on it: its clock, its mailbox, and what its shell does around the core.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use cloister_proto::backoff::Backoff;
use cloister_proto::{
    Address, Epoch, Event, Incarnation, Member, Memory, Node, NodeId, NodeName, Settings, Time, Timing,
};
use cloister_testkit::random::Rng;

use crate::scenario::{MS, Scenario};

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: Address,
    pub(crate) process: Option<Process>,
    /// Whether it does not answer at all.
    pub(crate) vanished: bool,
    /// Whether something on the way refuses in its place.
    pub(crate) rejected: bool,
    /// How far its wall clock is from the truth.
    pub(crate) skew_ms: i64,
    /// How fast its monotonic clock runs, in parts of a million off the truth.
    drift_ppm: i64,
    clock_start: u64,
    /// The epoch under which its process may act, as long as its lease lasts.
    pub(crate) claim: Option<Epoch>,
    /// How long things take for the nodes on it.
    pub(crate) timing: Timing,
    /// How long its clocks stood still in all, a present stop aside.
    lost: u64,
    /// From when until when they stand still now.
    frozen: Option<(u64, u64)>,
    /// What its disk keeps, if [`Scenario::state_files`].
    pub(crate) memory: Memory,
    /// Whether a process of it was a member of a view.
    pub(crate) was_member: bool,
    /// What its next process starts with.
    pub(crate) hold: u64,
}

/// One incarnation of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) id: NodeId,
    pub(crate) inbox: VecDeque<Event>,
    /// How it dials each host.
    pub(crate) dials: Vec<Dial>,
    pub(crate) complete: bool,
    pub(crate) last_discovery: Option<([Vec<usize>; 3], bool)>,
    pub(crate) paused_until: u64,
    pub(crate) hung_until: u64,
    pub(crate) slow: u64,
    pub(crate) busy_until: u64,
    /// When its last write ends.
    pub(crate) written_at: u64,
    pub(crate) hold: u64,
    /// Wake-ups with another number are of the past.
    pub(crate) wake: u64,
    pub(crate) wake_at: u64,
}

/// How a process dials one host.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) backoff: Backoff,
    pub(crate) in_flight: bool,
    /// Attempts with another number are of the past.
    pub(crate) turn: u64,
    pub(crate) refused: bool,
    /// Incoming links are waited for until then.
    pub(crate) defer_until: u64,
}

impl Host {
    pub(crate) fn new(at: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let skew = rng.between(0, 2 * scenario.skew_ms + 1) as i64 - scenario.skew_ms as i64;
        let max = 100 * scenario.drift as i64;
        let drift = rng.between(0, 200 * scenario.drift + 1) as i64 - max;
        let drift = if scenario.drifts_fully { max * if drift < 0 { -1 } else { 1 } } else { drift };
        let address = Address::new(&format!("10.0.{}.{}", at / 250, at % 250 + 1), 4370);
        Self {
            address: address.expect("invariant: an IP address is an address"),
            process: None,
            vanished: false,
            rejected: false,
            skew_ms: skew,
            drift_ppm: drift,
            clock_start: rng.between(1, 1 << 50),
            claim: None,
            timing: scenario.timings.get(at).copied().unwrap_or(scenario.timing),
            lost: 0,
            frozen: None,
            memory: Memory::default(),
            was_member: false,
            hold: 0,
        }
    }

    /// What this host's monotonic clock shows at true time `now`.
    pub(crate) fn clock(&self, now: u64) -> Time {
        let (lost, now) = match self.frozen {
            Some((from, _)) => (self.lost, now.min(from)),
            None => (self.lost, now),
        };
        let now = now.saturating_sub(lost);
        let off = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        Time::from_nanos((i128::from(self.clock_start) + i128::from(now) + off) as u64)
    }

    /// What this host's wall clock shows at true time `now`, in milliseconds since the Unix epoch.
    pub(crate) fn wall_clock_ms(&self, now: u64, scenario: &Scenario) -> u64 {
        (scenario.wall_start_ms + now / MS).saturating_add_signed(self.skew_ms)
    }

    /// The true time at which this host's clock shows `time`, rounded up.
    pub(crate) fn true_time(&self, time: Time) -> u64 {
        let since = i128::from(time.as_nanos()) - i128::from(self.clock_start);
        let ran = (since.max(0) * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm))) as u64 + 1;
        match self.frozen {
            Some((from, until)) if ran + self.lost > from => ran + self.lost + (until - from),
            _ => ran + self.lost,
        }
    }

    /// Its clocks stand still from now until then. Returns whether they did not before.
    pub(crate) fn freeze(&mut self, now: u64, until: u64) -> bool {
        let runs = self.frozen.is_none();
        if runs {
            self.frozen = Some((now, until));
        }
        runs
    }

    /// Its clocks go on; returns by how much its wall clock is ahead now.
    pub(crate) fn thaw(&mut self, now: u64) -> Option<u64> {
        let (from, _) = self.frozen.take_if(|(_, until)| *until <= now)?;
        self.lost += now - from;
        Some(now - from)
    }

    pub(crate) fn start(&mut self, now: u64, scenario: &Scenario, rng: &mut Rng) {
        let name = NodeName::new("app", self.address.clone()).expect("invariant: `app` is a name");
        let started_at = self.wall_clock_ms(now, scenario);
        let id = NodeId::new(name, Incarnation(rng.next_u64()), started_at);
        let consensus = NonZeroUsize::new(scenario.consensus).unwrap_or(NonZeroUsize::MIN);
        let mut settings = Settings::new(Member::without_tags(id.clone()), consensus, rng.next_u64());
        settings.timing = self.timing;
        settings.split = scenario.split;
        settings.trust_refusal = scenario.trust_refusal;
        settings.memory = scenario.state_files.then(|| self.memory.clone());
        settings.disable_rule(scenario.disabled_rule);
        let dials = (0..scenario.hosts)
            .map(|_| Dial {
                backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), rng.next_u64()),
                in_flight: false,
                turn: 0,
                refused: false,
                defer_until: 0,
            })
            .collect();
        let node = Node::new(settings, self.clock(now));
        self.vanished = false;
        self.process = Some(Process {
            node,
            id,
            inbox: VecDeque::new(),
            dials,
            complete: false,
            last_discovery: None,
            paused_until: 0,
            hung_until: 0,
            slow: 0,
            busy_until: 0,
            written_at: 0,
            hold: self.hold,
            wake: 0,
            wake_at: u64::MAX,
        });
    }
}

impl Process {
    /// Whether it handles nothing at `now`.
    pub(crate) fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// Whether its cluster part handles nothing at `now`.
    pub(crate) fn is_idle(&self, now: u64) -> bool {
        now < self.paused_until.max(self.hung_until)
    }

    /// Whether it may act as a member of its view at this time of its clock, and answers at all at `now`.
    pub(crate) fn claims(&self, now: u64, clock: Time) -> bool {
        !self.is_paused(now) && self.node.holds_lease(clock)
    }
}
