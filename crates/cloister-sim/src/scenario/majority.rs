//! Runs for the split policy `majority`: clusters of unknown size, any gate, scaling, restarts, and discovery that names
//! all, some or too many.

use super::{Adversary, Fault, MS, Scenario};
use cloister_proto::SplitPolicy;
use cloister_testkit::random::Rng;

/// Whether processes may start where they do not hear the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amnesia {
    /// A process starts only while nothing is cut, and no process comes back at the address of another.
    Never,
    /// Processes that were members of a view restart at any moment, also behind a cut. Others start only while nothing is cut.
    Restarts,
    /// Processes start and restart at any moment, also behind a cut.
    Anywhere,
}

impl Amnesia {
    /// Whether processes restart behind a cut.
    fn restarts(self) -> bool {
        self != Amnesia::Never
    }
}

/// Which hosts discovery names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of them, as a list does.
    Hosts,
    /// Those that have a process, as the name of a service does.
    Running,
    /// All but the second of each pair, to the first.
    Without(Vec<(usize, usize)>),
}

/// What discovery names besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// How many addresses at which no host ever was.
    pub addresses: usize,
    /// Whether they refuse connections; else they are silent.
    pub refuse: bool,
}

/// How long a cluster may take that has to forget addresses first.
const FORGET: u64 = 60_000 * MS;

impl Scenario {
    /// Random faults; 2 to 12 hosts, any gate, nodes that join and leave in order or without a word.
    pub fn majority(seed: u64, amnesia: Amnesia) -> Self {
        let mut rng = Rng::new(seed ^ 0x03a7_0517);
        let hosts = 2 + rng.index(11);
        Self::majority_with(seed, hosts, amnesia, rng)
    }

    /// The same with so many hosts.
    pub fn majority_of(seed: u64, hosts: usize, amnesia: Amnesia) -> Self {
        Self::majority_with(seed, hosts, amnesia, Rng::new(seed ^ 0x03a7_0517))
    }

    fn majority_with(seed: u64, hosts: usize, amnesia: Amnesia, mut rng: Rng) -> Self {
        let mut scenario = Self::of_majority(seed, hosts, &mut rng);
        scenario.quiet_at = rng.between(8_000, 24_000) * MS;
        let at_first = 1 + rng.index(hosts);
        if rng.percent(70) {
            scenario.names = Names::Running;
        }
        scenario.start_some(&mut rng, at_first, amnesia);
        let gap = *rng.pick(&[300, 800, 2_000]);
        // Not before all that start at first have started.
        let mut at = rng.between(1_000, 3_000) * MS;
        let mut next = at_first;
        let mut cut_until = 0;
        while at < scenario.quiet_at {
            let later = at + rng.between(200, 7_000) * MS;
            scenario.add_fault_of_majority(&mut rng, at, later, amnesia, &mut next, &mut cut_until);
            at += rng.between(gap / 4, gap * 2) * MS;
        }
        scenario.end_well(&mut rng, amnesia);
        scenario
    }

    /// A cluster that is up, and then a course that is aimed at one part of the rule, at moments that vary with the seed.
    pub fn aimed_at_majority(seed: u64, amnesia: Amnesia) -> Self {
        let mut rng = Rng::new(seed ^ 0x0a13_ed05);
        let kinds = match amnesia {
            Amnesia::Never => 8,
            Amnesia::Restarts => 12,
            Amnesia::Anywhere => 13,
        };
        // Half of the restarts are aimed at the case that the others are not named.
        let kind = match amnesia {
            Amnesia::Restarts if rng.percent(50) => 13,
            _ => rng.index(kinds),
        };
        let hosts = 3 + rng.index(6);
        let mut scenario = Self::of_majority(seed, hosts, &mut rng);
        let at = rng.between(2_500, 4_000) * MS;
        let mut course = Course { rng, hosts, at, faults: Vec::new() };
        course.take(kind, &mut scenario);
        scenario.faults.extend(course.faults);
        scenario.quiet_at = at + 16_000 * MS;
        scenario.end_well(&mut course.rng, amnesia);
        scenario
    }

    fn of_majority(seed: u64, hosts: usize, rng: &mut Rng) -> Self {
        let mut scenario = Self::calm(seed, hosts);
        scenario.split = SplitPolicy::Majority;
        scenario.consensus = 1 + rng.index(hosts);
        scenario.may_misjudge = true;
        if rng.percent(30) {
            scenario.skew_ms = 0;
        }
        scenario.adversary = match rng.index(4) {
            0 | 1 => Adversary::None,
            2 => Adversary::OneIn(40),
            _ => Adversary::OneIn(12),
        };
        scenario
    }

    /// Only some hosts run from the beginning.
    fn start_some(&mut self, rng: &mut Rng, number: usize, amnesia: Amnesia) {
        self.faults = (0..number).map(|host| (rng.between(0, 500) * MS, Fault::Start(host))).collect();
        if amnesia == Amnesia::Anywhere && number > 1 && rng.percent(40) {
            // They start on two sides of a cut.
            let side = 1 + rng.index(number - 1);
            let heals = rng.between(3_000, 12_000) * MS;
            self.cut_between(
                0,
                heals,
                &(0..side).collect::<Vec<_>>(),
                &(side..self.hosts).collect::<Vec<_>>(),
            );
        }
    }

    pub(super) fn cut_between(&mut self, from: u64, until: u64, one: &[usize], other: &[usize]) {
        for &a in one {
            for &b in other {
                for (a, b) in [(a, b), (b, a)] {
                    self.faults.push((from, Fault::Cut(a, b)));
                    self.faults.push((until, Fault::Heal(a, b)));
                }
            }
        }
    }

    fn add_fault_of_majority(
        &mut self,
        rng: &mut Rng,
        at: u64,
        later: u64,
        amnesia: Amnesia,
        next: &mut usize,
        cut_until: &mut u64,
    ) {
        let hosts = self.hosts;
        let one = rng.index(hosts);
        // Of one host alone nothing is cut.
        let others = (hosts - 1).max(1);
        let other = (one + 1 + rng.index(others)) % hosts;
        let may_start = amnesia.restarts() || at > *cut_until;
        let mut cut_or = |later: u64| *cut_until = (*cut_until).max(later);
        match rng.index(14) {
            0 => {
                cut_or(later);
                self.faults.extend([(at, Fault::Cut(one, other)), (later, Fault::Heal(one, other))]);
            }
            1..=3 => {
                cut_or(later);
                let shift = rng.index(hosts);
                let side = 1 + rng.index(others);
                let place = |n: usize| (n + shift) % hosts;
                let sides: (Vec<usize>, Vec<usize>) =
                    ((0..side).map(place).collect(), (side..hosts).map(place).collect());
                self.cut_between(at, later, &sides.0, &sides.1);
            }
            4 => self.faults.push((at, Fault::Reset(one, other))),
            5 => self.faults.push((at, Fault::Kill(one))),
            6 => self.faults.push((at, Fault::Vanish(one))),
            7 | 8 => self.faults.push((at, Fault::Leave(one))),
            9 => {
                // Scaled down in order.
                for n in 0..1 + rng.index(hosts) {
                    let leaver = (one + n) % hosts;
                    self.faults.push((at + rng.between(0, 800) * MS, Fault::Leave(leaver)));
                }
            }
            10 | 11 if may_start => {
                // Scaled up.
                for _ in 0..1 + rng.index(3) {
                    if *next < hosts {
                        self.faults.push((at + rng.between(0, 300) * MS, Fault::Start(*next)));
                        *next += 1;
                    }
                }
                if amnesia.restarts() {
                    self.faults.push((at, Fault::Kill(one)));
                    self.faults.push((at + rng.between(20, 2_500) * MS, Fault::Start(one)));
                }
            }
            12 => self.faults.push((at, Fault::Pause(one, rng.between(50, 6_000) * MS))),
            13 if amnesia.restarts() => {
                let shift = rng.index(hosts);
                for n in 0..=hosts / 2 {
                    let host = (n + shift) % hosts;
                    self.faults.push((at + rng.between(0, 20) * MS, Fault::Kill(host)));
                    self.faults.push((at + rng.between(30, 1_500) * MS, Fault::Start(host)));
                }
            }
            _ => self.faults.push((at, Fault::Hold(one, *rng.pick(&[0, 5, 300, 2_000]) * MS))),
        }
    }

    /// What discovery names, and which hosts run at the end.
    fn end_well(&mut self, rng: &mut Rng, amnesia: Amnesia) {
        self.faults.sort_by_key(|(at, _)| *at);
        self.heal_within = FORGET + 30_000 * MS;
        self.adversary_restarts = amnesia.restarts();
        self.starts_anywhere = amnesia != Amnesia::Restarts;
        if amnesia.restarts() && self.names == Names::Hosts && rng.percent(40) {
            // Half of them, or each only those on its own side.
            let half = rng.percent(50);
            let hidden =
                |a: &usize, b: &usize, rng: &mut Rng| if half { rng.percent(50) } else { a % 2 != b % 2 };
            let pairs = (0..self.hosts).flat_map(|a| (0..self.hosts).map(move |b| (a, b)));
            self.names = Names::Without(pairs.filter(|(a, b)| a != b && hidden(a, b, rng)).collect());
        }
        self.stale = match rng.index(4) {
            0 => Stale { addresses: 1 + rng.index(3), refuse: rng.percent(50) },
            _ => Stale::default(),
        };
    }
}

/// Faults that are aimed at one part of the rule.
struct Course {
    rng: Rng,
    hosts: usize,
    at: u64,
    faults: Vec<(u64, Fault)>,
}

impl Course {
    fn add(&mut self, at: u64, fault: Fault) {
        self.faults.push((at, fault));
    }

    fn after(&mut self, min: u64, max: u64) -> u64 {
        self.at + self.rng.between(min, max) * MS
    }

    /// Cuts each of one from each of the other until healed, both ways.
    fn cut(&mut self, at: u64, one: &[usize], other: &[usize]) {
        for &a in one {
            for &b in other {
                self.add(at, Fault::Cut(a, b));
                self.add(at, Fault::Cut(b, a));
            }
        }
    }

    fn heal(&mut self, at: u64, one: &[usize], other: &[usize]) {
        for &a in one {
            for &b in other {
                self.add(at, Fault::Heal(a, b));
                self.add(at, Fault::Heal(b, a));
            }
        }
    }

    /// The hosts from a random one on, in a circle, in two parts.
    fn parts(&mut self, first: usize) -> (Vec<usize>, Vec<usize>) {
        let (hosts, shift) = (self.hosts, self.rng.index(self.hosts));
        let place = |n: usize| (n + shift) % hosts;
        ((0..first).map(place).collect(), (first..hosts).map(place).collect())
    }

    fn take(&mut self, kind: usize, scenario: &mut Scenario) {
        let (at, hosts) = (self.at, self.hosts);
        match kind {
            0 => {
                // Some lose one that others still hear; those leave, at about the time at which its lease ends.
                let leavers = 1 + self.rng.index(hosts - 2);
                let (lone, rest) = self.parts(1);
                let (left, stay) = rest.split_at(leavers);
                let (left, stay) = (left.to_vec(), stay.to_vec());
                self.cut(at, &lone, &stay);
                for leaver in left {
                    let when = self.after(1_000, 2_600);
                    self.add(when, Fault::Leave(leaver));
                }
            }
            1 => {
                // A view that a part never hears of, and whose members leave or are cut off.
                let (some, rest) = self.parts(1 + self.rng.clone().index(hosts - 1));
                let when = self.after(0, 400);
                self.cut(at, &some, &rest);
                for &leaver in &rest {
                    if self.rng.percent(60) {
                        let when = self.after(2_500, 6_000);
                        self.add(when, Fault::Leave(leaver));
                    }
                }
                let heals = self.after(5_000, 9_000);
                let one = rest[self.rng.index(rest.len())];
                self.heal(heals, &some, &[one]);
                self.add(when, Fault::Pause(some[0], self.rng.clone().between(100, 4_000) * MS));
            }
            2 => {
                // Scaled down in order, and one crashes or is cut off meanwhile.
                let leavers = 1 + self.rng.index(hosts - 1);
                let (left, stay) = self.parts(leavers);
                for &leaver in &left {
                    let when = self.after(0, 1_200);
                    self.add(when, Fault::Leave(leaver));
                }
                if let Some(&victim) = stay.last() {
                    let when = self.after(0, 1_500);
                    match self.rng.index(3) {
                        0 => self.add(when, Fault::Kill(victim)),
                        1 => self.add(when, Fault::Vanish(victim)),
                        _ => self.cut(when, &[victim], &stay[..stay.len() - 1]),
                    }
                }
            }
            3 => {
                // Goodbyes that only some hear.
                let (left, stay) = self.parts(1 + self.rng.clone().index(hosts - 1));
                for &leaver in &left {
                    for &deaf in &stay {
                        if self.rng.percent(50) {
                            self.add(at, Fault::Cut(leaver, deaf));
                        }
                    }
                    let when = self.after(50, 900);
                    self.add(when, Fault::Leave(leaver));
                    if self.rng.percent(40) {
                        let when = when + self.rng.between(1, 30) * MS;
                        self.add(when, Fault::Kill(leaver));
                    }
                }
            }
            4 => {
                // A cut that moves.
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                let (c, d) = self.parts(1 + self.rng.clone().index(hosts - 1));
                let moves = self.after(2_000, 6_000);
                self.cut(at, &a, &b);
                self.heal(moves, &a, &b);
                self.cut(moves + MS, &c, &d);
            }
            5 => {
                // Members vanish one after the other.
                let (some, _) = self.parts(self.rng.clone().index(hosts));
                for &victim in &some {
                    let when = self.after(0, 8_000);
                    let fault =
                        if self.rng.percent(50) { Fault::Kill(victim) } else { Fault::Vanish(victim) };
                    self.add(when, fault);
                }
            }
            6 => {
                // One side of a cut leaves in order, as far as it can.
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                self.cut(at, &a, &b);
                let side = if self.rng.percent(50) { a } else { b };
                for leaver in side {
                    if self.rng.percent(70) {
                        let when = self.after(0, 4_000);
                        self.add(when, Fault::Leave(leaver));
                    }
                }
            }
            7 => {
                // A node that leaves while it is half cut off.
                let (lone, rest) = self.parts(1);
                let hearing = self.rng.index(rest.len());
                for &deaf in rest.iter().skip(hearing) {
                    self.add(at, Fault::Cut(lone[0], deaf));
                }
                let when = self.after(300, 2_200);
                self.add(when, Fault::Leave(lone[0]));
                let when = self.after(0, 2_500);
                let (a, b) = rest.split_at(self.rng.index(rest.len()));
                let (a, b) = (a.to_vec(), b.to_vec());
                self.cut(when, &a, &b);
            }
            8 => {
                // One is cut off, others join the rest; then members of the rest restart, and the cut moves.
                let old = 2 + self.rng.index(hosts - 2);
                scenario.faults = (0..old).map(|host| (0, Fault::Start(host))).collect();
                let (lone, back): (Vec<usize>, Vec<usize>) = (vec![0], (1..old).collect());
                let young: Vec<usize> = (old..hosts).collect();
                self.cut(at, &lone, &[back.clone(), young.clone()].concat());
                for &host in &young {
                    self.add(at, Fault::Start(host));
                }
                let moves = self.after(4_500, 7_000);
                for &host in &back {
                    self.add(moves, Fault::Kill(host));
                    let again = moves + self.rng.between(5, 1_500) * MS;
                    self.add(again, Fault::Start(host));
                }
                self.heal(moves, &lone, &back);
                self.cut(moves, &back, &young);
            }
            9 => {
                // Members crash and others join, until few of the first are left; the first come back behind a cut.
                let old = hosts / 2 + 1;
                scenario.faults = (0..old).map(|host| (0, Fault::Start(host))).collect();
                let mut when = at;
                for n in 0..hosts - old {
                    self.add(when, Fault::Kill(n));
                    when += self.rng.between(300, 2_500) * MS;
                    self.add(when, Fault::Start(old + n));
                    when += self.rng.between(300, 2_500) * MS;
                }
                let (first, rest): (Vec<usize>, Vec<usize>) = (0..hosts).partition(|n| *n < hosts - old);
                self.cut(when, &first, &rest);
                for &host in &first {
                    self.add(when, Fault::Start(host));
                }
            }
            10 => {
                // A rollout with surge, behind a cut that comes and goes.
                let old = 1 + hosts / 2;
                scenario.faults = (0..old).map(|host| (0, Fault::Start(host))).collect();
                for n in 0..hosts - old {
                    let when = self.after(400 * n as u64, 400 * n as u64 + 300);
                    self.add(when, Fault::Start(old + n));
                    self.add(when + self.rng.clone().between(50, 600) * MS, Fault::Leave(n));
                }
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                let when = self.after(0, 2_500);
                self.cut(when, &a, &b);
            }
            11 => {
                // Most restart in place, all at once or on one side of a cut.
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                if self.rng.percent(60) {
                    self.cut(at, &a, &b);
                }
                for &host in &a {
                    let when = self.after(0, 1_500);
                    self.add(when, Fault::Kill(host));
                    let again = when + self.rng.between(5, 2_500) * MS;
                    self.add(again, Fault::Start(host));
                }
            }
            13 => {
                // One side of a cut restarts, and discovery names it only its own side.
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                let across = a.iter().flat_map(|&a| b.iter().flat_map(move |&b| [(a, b), (b, a)]));
                scenario.names = Names::Without(across.collect());
                self.cut(at, &a, &b);
                for &host in &a {
                    let when = self.after(0, 3_000);
                    let end = if self.rng.percent(70) { Fault::Kill(host) } else { Fault::Leave(host) };
                    self.add(when, end);
                    let again = when + self.rng.between(5, 2_500) * MS;
                    self.add(again, Fault::Start(host));
                }
                if self.rng.percent(40) {
                    // The rest goes on to other views, and members of it end.
                    let victim = b[self.rng.index(b.len())];
                    let when = self.after(0, 5_000);
                    self.add(when, Fault::Kill(victim));
                }
            }
            _ => {
                // They start on both sides of a cut.
                let (a, b) = self.parts(1 + self.rng.clone().index(hosts - 1));
                self.cut(0, &a, &b);
                let heals = self.after(0, 8_000);
                self.heal(heals, &a, &b);
            }
        }
    }
}
