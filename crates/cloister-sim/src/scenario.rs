//! What happens in a run: how many nodes, and which faults when.

mod gone;
mod majority;

use std::time::Duration;

use cloister_proto::rule::Rule;
use cloister_proto::{SplitPolicy, Timing, TrustRefusal};
use cloister_testkit::random::Rng;

pub use majority::{Amnesia, Names, Stale};

/// A millisecond, in the nanoseconds of the simulation.
pub const MS: u64 = 1_000_000;

/// The beginning of 2026 and that of 2028, in milliseconds since the Unix epoch.
const START_2026_MS: u64 = 1_767_225_600_000;
const START_2028_MS: u64 = 1_830_297_600_000;

const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// One thing done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Packets from the first to the second host are lost until healed.
    Cut(usize, usize),
    /// Packets from the first to the second host pass again.
    Heal(usize, usize),
    /// Every cut is healed.
    HealAll,
    /// Every link between the two hosts is reset.
    Reset(usize, usize),
    /// The process is killed; its host then refuses connections.
    Kill(usize),
    /// The process is killed and its host no longer answers.
    Vanish(usize),
    /// A new process starts at the same address.
    Start(usize),
    /// The process stands still for this long.
    Pause(usize, u64),
    /// The machine stands still for this long, and so does its monotonic clock; its wall clock is right when it goes on.
    Freeze(usize, u64),
    /// The cluster part of the process hangs for this long, while bytes still flow.
    Hang(usize, u64),
    /// From now on each event takes the process this long.
    Slow(usize, u64),
    /// Something between this host and the others forgets every connection, resets the others' ends, and passes nothing
    /// on any more: the host itself does not notice.
    HalfReset(usize),
    /// Something before this host begins to refuse in its place: it resets what others have open towards it, and passes
    /// nothing on. The host itself does not notice, and runs on.
    Reject(usize),
    /// What is sent to and from this host passes again.
    Accept(usize),
    /// The process leaves gracefully.
    Leave(usize),
    /// From now on listeners of the process hold each view this long. An [`Application`](crate::Application) decides itself.
    Hold(usize, u64),
    /// The wall clock of the host is set right.
    SetClock(usize),
}

/// How the adversary, which sees the messages of rounds, may inject faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adversary {
    /// Not at all.
    None,
    /// At one in this many messages of a round.
    OneIn(u64),
}

/// Something that must be so at a moment of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// When, in nanoseconds.
    pub at: u64,
    /// At least this many nodes are up in one view.
    pub up: usize,
    /// How many nodes that view counts, if that is asked.
    pub size: Option<usize>,
}

/// A run, but for its random numbers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// From which all random numbers of the run follow.
    pub seed: u64,
    /// How many hosts there are.
    pub hosts: usize,
    /// How many members a view needs.
    pub consensus: usize,
    /// Which part goes on when the network splits.
    pub split: SplitPolicy,
    /// The times of every node.
    pub timing: Timing,
    /// The times of the nodes on each host, where they differ; empty where all have [`Scenario::timing`].
    pub timings: Vec<Timing>,
    /// Whether an address that refuses proves that its process has ended.
    pub trust_refusal: TrustRefusal,
    /// What happens when, in nanoseconds; in order of time.
    pub faults: Vec<(u64, Fault)>,
    /// The adversary that injects faults during rounds.
    pub adversary: Adversary,
    /// At one in how many of the application's messages at which it aims the adversary strikes too; 0 is never. See
    /// [`Application::is_aimed_at`](crate::Application::is_aimed_at).
    pub application_adversary: u64,
    /// Whether the adversary starts a process anew that it has ended.
    pub adversary_restarts: bool,
    /// Whether a process that was never a member of a view may start while something is cut.
    pub starts_anywhere: bool,
    /// Whether what a process remembers is kept over its restart.
    pub state_files: bool,
    /// What discovery names.
    pub names: Names,
    /// What discovery names besides.
    pub stale: Stale,
    /// What must be so in the middle of the run.
    pub expected: Vec<Expectation>,
    /// Whether a node may take a peer for silent that runs and is not cut off.
    pub may_misjudge: bool,
    /// When faults end and everything is healed.
    pub quiet_at: u64,
    /// How long the cluster then has to agree on one view.
    pub heal_within: u64,
    /// How long one message takes, from and to.
    pub latency: (u64, u64),
    /// How far process clocks may be from the truth, in parts of ten thousand.
    pub drift: u64,
    /// Whether each process clock is as far from the truth as it may be, one way or the other.
    pub drifts_fully: bool,
    /// The wall clock at the start of the run, in milliseconds since the Unix epoch.
    pub wall_start_ms: u64,
    /// How far wall clocks may be from the truth, in milliseconds.
    pub skew_ms: u64,
    /// Whether the outcome records what was sent and reported when; it costs time, and changes nothing that happens.
    pub weighed: bool,
    /// The rule that is switched off.
    pub disabled_rule: Option<Rule>,
}

impl Scenario {
    /// Whether some nodes warm up before planned changes, and nodes that leave wait for that: in every second seed.
    pub(crate) fn has_announced_rounds(&self) -> bool {
        self.seed % 2 == 1
    }

    /// `hosts` processes that start within half a second and suffer nothing.
    pub fn calm(seed: u64, hosts: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x5ca1_ab1e);
        let mut faults: Vec<(u64, Fault)> =
            (0..hosts).map(|host| (rng.between(0, 500 * MS), Fault::Start(host))).collect();
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            hosts,
            consensus: hosts / 2 + 1,
            split: SplitPolicy::Consensus,
            timing: Timing::default(),
            timings: Vec::new(),
            trust_refusal: TrustRefusal::default(),
            faults,
            adversary: Adversary::None,
            application_adversary: 0,
            adversary_restarts: true,
            starts_anywhere: true,
            state_files: false,
            names: Names::Hosts,
            stale: Stale::default(),
            expected: Vec::new(),
            may_misjudge: false,
            quiet_at: 1_000 * MS,
            heal_within: 30_000 * MS,
            latency: (100_000, 2 * MS),
            drift: 50,
            drifts_fully: false,
            wall_start_ms: START_2026_MS,
            skew_ms: 60_000,
            weighed: false,
            disabled_rule: None,
        }
    }

    /// Random faults for ten to twenty seconds, and an adversary that strikes at rounds.
    pub fn adversarial(seed: u64, hosts: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut scenario = Self::calm(seed, hosts);
        scenario.quiet_at = rng.between(10_000, 20_000) * MS;
        scenario.may_misjudge = true;
        if rng.percent(30) {
            scenario.skew_ms = 0;
        }
        scenario.adversary = match rng.index(4) {
            0 => Adversary::None,
            1 => Adversary::OneIn(40),
            2 => Adversary::OneIn(15),
            _ => Adversary::OneIn(6),
        };
        let gap = *rng.pick(&[150, 400, 1_000, 2_500]);
        let mut at = rng.between(100, 1_500) * MS;
        while at < scenario.quiet_at {
            scenario.add_fault(&mut rng, at);
            at += rng.between(gap / 4, gap * 2) * MS;
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// As [`Scenario::adversarial`], in 2028, with wall clocks that are up to two years from the truth. In some runs no process
    /// ends, and a clock is set right in the middle.
    pub fn clocks_apart(seed: u64, hosts: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0xc1_0c5);
        let mut scenario =
            Self { wall_start_ms: START_2028_MS, skew_ms: 2 * YEAR_MS, ..Self::adversarial(seed, hosts) };
        if rng.percent(30) {
            // A node that restarts forgets an epoch that no clock accounts for any more.
            scenario.adversary = Adversary::None;
            scenario
                .faults
                .retain(|(_, fault)| !matches!(fault, Fault::Kill(_) | Fault::Vanish(_) | Fault::Leave(_)));
            let at = rng.between(1_000 * MS, scenario.quiet_at);
            scenario.faults.push((at, Fault::SetClock(rng.index(hosts))));
            scenario.faults.sort_by_key(|(at, _)| *at);
        }
        scenario
    }

    /// Faults of the network and pauses, but no process ends. The cluster knows only that it should have two members or more, and
    /// `keep-oldest` must keep it one.
    pub fn of_unknown_size(seed: u64, hosts: usize, split: SplitPolicy) -> Self {
        let mut scenario = Self { split, consensus: 2, ..Self::adversarial(seed, hosts) };
        let calm = 4_000 * MS;
        scenario.adversary = Adversary::None;
        scenario.faults.retain(|(at, fault)| match fault {
            Fault::Start(_) => *at < 500 * MS,
            Fault::Kill(_) | Fault::Vanish(_) | Fault::Leave(_) => false,
            _ => *at >= calm,
        });
        scenario
    }

    /// The same with process clocks that are all as far from the truth as this, in parts of ten thousand, one way or the other. Peers count
    /// as gone as soon as the configuration allows it.
    pub fn with_clocks_off_by(mut self, drift: u64) -> Self {
        self.drift = drift;
        self.drifts_fully = true;
        self.timing.unreachable_after = self.timing.guard() + Duration::from_millis(1);
        self
    }

    /// A cluster that is up; then something refuses in the place of its sentry, or of another node, which goes on. Later
    /// another node is killed and comes back.
    pub fn rejected(seed: u64, trust_refusal: TrustRefusal) -> Self {
        let mut rng = Rng::new(seed ^ 0x4e_1ec7);
        let hosts = 3 + rng.index(3);
        let mut scenario = Self { trust_refusal, may_misjudge: true, ..Self::calm(seed, hosts) };
        let victim = rng.index(hosts);
        let other = (victim + 1 + rng.index(hosts - 1)) % hosts;
        let at = rng.between(2_500, 4_000) * MS;
        let killed = at + rng.between(0, 4_000) * MS;
        scenario.faults.push((at, Fault::Reject(victim)));
        scenario.faults.push((killed, Fault::Kill(other)));
        scenario.faults.push((killed + rng.between(50, 1_000) * MS, Fault::Start(other)));
        scenario.faults.push((at + rng.between(1_000, 8_000) * MS, Fault::Accept(victim)));
        scenario.quiet_at = at + 14_000 * MS;
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Random faults in a cluster whose nodes are configured with different leases, of 1 to 6 s, and heartbeats that fit.
    pub fn mixed(seed: u64, hosts: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x313e_d000);
        let ms = Duration::from_millis;
        let mut timing = || {
            let (heartbeat, lease, unreachable) = *rng.pick(&[
                (250, 1_000, 1_500),
                (500, 2_000, 3_000),
                (400, 3_000, 4_000),
                (450, 6_000, 7_000),
            ]);
            let (heartbeat_every, lease, unreachable_after) = (ms(heartbeat), ms(lease), ms(unreachable));
            Timing { heartbeat_every, lease, unreachable_after, ..Timing::default() }
        };
        let timings = (0..hosts).map(|_| timing()).collect();
        Self { timings, ..Self::adversarial(seed, hosts) }
    }

    /// A cluster is up. Then the machine of one node stands still with its clock, once or twice, as one that is paused, moved to other
    /// hardware, or restored.
    pub fn frozen(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xf4_02e4);
        let hosts = 3 + rng.index(3);
        let mut scenario = Self { may_misjudge: true, ..Self::calm(seed, hosts) };
        let mut at = rng.between(2_500, 4_000) * MS;
        for _ in 0..=rng.index(2) {
            let span = rng.between(50, 8_000) * MS;
            scenario.faults.push((at, Fault::Freeze(rng.index(hosts), span)));
            at += span + rng.between(500, 4_000) * MS;
        }
        scenario.quiet_at = at + 4_000 * MS;
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    fn add_fault(&mut self, rng: &mut Rng, at: u64) {
        let hosts = self.hosts;
        let one = rng.index(hosts);
        let other = (one + 1 + rng.index(hosts - 1)) % hosts;
        let later = at + rng.between(50, 6_000) * MS;
        let mut add = |at: u64, fault: Fault| self.faults.push((at, fault));
        match rng.index(16) {
            0 | 1 => {
                add(at, Fault::Cut(one, other));
                add(later, Fault::Heal(one, other));
            }
            2 => {
                add(at, Fault::Cut(one, other));
                add(at, Fault::Cut(other, one));
                add(later, Fault::Heal(one, other));
                add(later, Fault::Heal(other, one));
            }
            3 | 4 => {
                let cut = 1 + rng.index(hosts - 1);
                let both = rng.percent(70);
                let shift = rng.index(hosts);
                for a in 0..cut {
                    for b in cut..hosts {
                        let (a, b) = ((a + shift) % hosts, (b + shift) % hosts);
                        add(at, Fault::Cut(a, b));
                        if both {
                            add(at, Fault::Cut(b, a));
                        }
                    }
                }
                add(later, Fault::HealAll);
            }
            5 => add(at, Fault::Reset(one, other)),
            6 | 7 => {
                add(at, Fault::Kill(one));
                add(at + rng.between(1, 3_000) * MS, Fault::Start(one));
            }
            8 => {
                add(at, Fault::Vanish(one));
                add(at + rng.between(1, 5_000) * MS, Fault::Start(one));
            }
            9 => {
                // Most of the cluster dies and comes back at once.
                let shift = rng.index(hosts);
                for n in 0..=hosts / 2 {
                    let host = (n + shift) % hosts;
                    add(at + rng.between(0, 20) * MS, Fault::Kill(host));
                    add(at + rng.between(30, 1_000) * MS, Fault::Start(host));
                }
            }
            10 | 11 => add(at, Fault::Pause(one, rng.between(50, 10_000) * MS)),
            12 => add(at, Fault::Slow(one, rng.between(0, 30) * MS)),
            13 => {
                add(at, Fault::Leave(one));
                add(at + rng.between(500, 7_000) * MS, Fault::Start(one));
            }
            14 => {
                let hold = *rng.pick(&[0, 0, 5, 300, 2_000, 12_000]);
                add(at, Fault::Hold(one, hold * MS));
            }
            _ => add(at, Fault::Hang(one, rng.between(500, 14_000) * MS)),
        }
    }

    /// A cluster that is up, and then one fault that is aimed at one rule, at moments that vary with the seed.
    pub fn aimed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xa1_3ed);
        let hosts = 3 + rng.index(3);
        let mut scenario = Self::calm(seed, hosts);
        let at = rng.between(2_500, 4_000) * MS;
        let victim = rng.index(hosts);
        let other = (victim + 1 + rng.index(hosts - 1)) % hosts;
        scenario.quiet_at = at + 14_000 * MS;
        match rng.index(9) {
            0 => scenario.faults.push((at, Fault::HalfReset(victim))),
            1 => {
                for host in (0..hosts).filter(|host| *host != victim) {
                    scenario.faults.push((at, Fault::Cut(host, victim)));
                    scenario.faults.push((at, Fault::Cut(victim, host)));
                }
                scenario.faults.push((at + 4_500 * MS, Fault::HealAll));
                scenario.faults.push((at + rng.between(8_000, 9_000) * MS, Fault::HalfReset(victim)));
                scenario.may_misjudge = true;
            }
            2 => {
                // All forget everything; their wall clocks are right.
                scenario.skew_ms = 0;
                scenario.faults.extend((0..hosts).map(|host| (at, Fault::Kill(host))));
                scenario
                    .faults
                    .extend((0..hosts).map(|host| (at + rng.between(10, 900) * MS, Fault::Start(host))));
            }
            3 => {
                // The others need a round while it hangs.
                scenario.faults.push((at, Fault::Hang(victim, 60_000 * MS)));
                scenario.faults.push((at + 1_000 * MS, Fault::Kill(other)));
                scenario.faults.push((at + 1_500 * MS, Fault::Start(other)));
                scenario.expected.push(Expectation { at: at + 13_900 * MS, up: hosts - 1, size: None });
            }
            4 => {
                let last = scenario.faults.iter().map(|(at, _)| *at).max().unwrap_or(0);
                scenario.expected.push(Expectation { at: last + 350 * MS, up: hosts, size: None });
            }
            5 if rng.percent(50) => {
                scenario.faults.push((at, Fault::Pause(victim, rng.between(1_000, 9_000) * MS)));
            }
            5 => scenario.faults.push((at, Fault::Hang(victim, rng.between(3_200, 9_000) * MS))),
            6 => {
                scenario.faults.push((at, Fault::Cut(victim, other)));
                scenario.faults.push((at, Fault::Cut(other, victim)));
                scenario.expected.push(Expectation { at: at + 9_000 * MS, up: hosts - 1, size: None });
                scenario.may_misjudge = true;
            }
            7 => {
                // A lease is lost; then what one member said meanwhile gets through, while another has lost the link.
                for host in (0..hosts).filter(|host| *host != victim) {
                    scenario.faults.push((at, Fault::Cut(host, victim)));
                }
                let back = at + rng.between(2_000, 2_500) * MS;
                scenario.faults.push((back - rng.between(0, 600) * MS, Fault::Reset(victim, other)));
                for host in (0..hosts).filter(|host| *host != victim && *host != other) {
                    scenario.faults.push((back, Fault::Heal(host, victim)));
                    scenario.faults.push((back + rng.between(0, 1_500) * MS, Fault::Cut(host, victim)));
                }
                scenario.may_misjudge = true;
            }
            _ => {
                scenario.faults.push((at, Fault::Kill(victim)));
                scenario.faults.push((at + rng.between(50, 400) * MS, Fault::Start(victim)));
                scenario.adversary = Adversary::OneIn(4);
                scenario.may_misjudge = true;
            }
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }
}
