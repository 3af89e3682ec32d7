//! Which faults come when: decided by the seed alone, before the run.

use std::fmt;
use std::time::Duration;

use cloister_testkit::random::Rng;

/// How long nothing happens at the beginning, so that the cluster and its clients are at work.
const QUIET_BEGIN: u64 = 3_000;

/// How long nothing happens at the end, so that what was lost is missed.
const QUIET_END: u64 = 6_000;

/// How many cuts there are at a time at most, of all sorts.
const MAX_CUTS: usize = 2;

/// How long after a fault the next may come, if copies are not to be lost: until the nodes are a view again and copies are made.
const SETTLE: u64 = 5_000;

/// Which faults may come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Less than half of the processes are stopped, and there are two cuts at a time. Some writes to the store are late.
    OfRegister,
    /// The same without the store, and so many nodes are killed at once, time and again; or nothing but that.
    Losing { copies: usize, alone: bool },
    /// A node joins when another is about to be left out that still reaches some: time and again.
    Joining,
    /// No more than so many nodes are absent at a time, and others only when all copies are made again.
    Spaced { absent: usize },
}

/// A fault. Nodes are numbers from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed, and started again at the end.
    Kill(usize),
    /// The process is killed, and started again at once.
    Restart(usize),
    /// The process leaves in order, and is started again at the end.
    Leave(usize),
    /// The process is stopped, and goes on at the end.
    Freeze(usize),
    /// The store lets some writes of this node wait.
    Late(usize),
    /// Packets from one node to these others are lost.
    OneWay(usize, Vec<usize>),
    /// Packets between one node and these others are lost.
    BothWays(usize, Vec<usize>),
    /// Packets between these nodes and all others are lost.
    Split(Vec<usize>),
}

/// A fault, and from when to when after the beginning it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    pub(crate) fault: Fault,
}

impl Fault {
    /// The sorts of faults, as they are reported.
    pub(crate) const SORTS: [&'static str; 8] =
        ["kill", "restart", "leave", "freeze", "late", "one-way cut", "two-way cut", "split"];

    /// Its sort.
    pub(crate) fn sort(&self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Restart(_) => "restart",
            Fault::Leave(_) => "leave",
            Fault::Freeze(_) => "freeze",
            Fault::Late(_) => "late",
            Fault::OneWay(..) => "one-way cut",
            Fault::BothWays(..) => "two-way cut",
            Fault::Split(_) => "split",
        }
    }

    /// Whether it is one of the network.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self, Fault::OneWay(..) | Fault::BothWays(..) | Fault::Split(_))
    }

    /// The nodes that a view may go on without: those of which copies may be lost.
    pub(crate) fn absent(&self) -> Vec<usize> {
        match self {
            Fault::Kill(node) | Fault::Restart(node) | Fault::Leave(node) | Fault::Freeze(node) => {
                vec![*node]
            }
            Fault::Late(_) => vec![],
            // One of both, and nothing says which.
            Fault::OneWay(one, others) | Fault::BothWays(one, others) if others.len() == 1 => {
                vec![*one, others[0]]
            }
            Fault::OneWay(one, _) | Fault::BothWays(one, _) => vec![*one],
            Fault::Split(part) => part.clone(),
        }
    }

    /// How many nodes a view may go on without.
    fn absence(&self) -> usize {
        match self {
            Fault::OneWay(..) | Fault::BothWays(..) => 1,
            _ => self.absent().len(),
        }
    }

    /// The node whose process it stops, for good or for a while.
    fn stops(&self) -> Option<usize> {
        match self {
            Fault::Kill(node) | Fault::Restart(node) | Fault::Leave(node) | Fault::Freeze(node) => {
                Some(*node)
            }
            Fault::Late(_) | Fault::OneWay(..) | Fault::BothWays(..) | Fault::Split(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(node) | Fault::Restart(node) | Fault::Leave(node) | Fault::Freeze(node) => {
                write!(f, "{} {node}", self.sort())
            }
            Fault::Late(node) => write!(f, "writes of {node} are late"),
            Fault::OneWay(from, to) => write!(f, "cut {from} → {to:?}"),
            Fault::BothWays(one, others) => write!(f, "cut {one} ↔ {others:?}"),
            Fault::Split(part) => write!(f, "split {part:?} off"),
        }
    }
}

/// The faults of a run, in the order in which they begin. All have ended [`QUIET_END`] before the run does.
pub(crate) fn schedule(
    seed: u64,
    lasts: Duration,
    nodes: usize,
    with_cuts: bool,
    faults: Faults,
) -> Vec<Planned> {
    let mut rng = Rng::new(seed);
    let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    let last = lasts.saturating_sub(QUIET_END);
    let mut planned = Vec::<Planned>::new();
    let mut now = QUIET_BEGIN;
    loop {
        now += rng.between(200, 2_200);
        let fault = match faults {
            Faults::Joining | Faults::Losing { alone: true, .. } => Fault::Late(rng.index(nodes)),
            _ => any(&mut rng, nodes, with_cuts),
        };
        if let Fault::Late(node) = fault {
            now = match faults {
                Faults::OfRegister => plan_late(&mut rng, &mut planned, node, nodes, now, last, with_cuts),
                Faults::Spaced { absent: 0 | 1 } => now,
                Faults::Losing { copies, .. } => {
                    plan_loss(&mut rng, &mut planned, node, (nodes, copies), now, last)
                }
                Faults::Joining if with_cuts => {
                    plan_join(&mut rng, &mut planned, node, nodes, now, last, 2_000)
                }
                _ if with_cuts => plan_join(&mut rng, &mut planned, node, nodes, now, last, SETTLE),
                _ => now,
            };
        }
        if now >= last {
            return planned;
        }
        let (min, max) = match &fault {
            Fault::Restart(_) => (500, 501),
            Fault::Freeze(_) => (300, 7_000),
            Fault::Kill(_) | Fault::Leave(_) => (300, 5_000),
            Fault::OneWay(..) | Fault::BothWays(..) | Fault::Split(_) => (500, 8_000),
            Fault::Late(_) => continue,
        };
        let end = (now + rng.between(min, max)).min(last);
        let present = planned.iter().filter(|other| other.end > Duration::from_millis(now));
        let fits = fits(&fault, &present.map(|other| &other.fault).collect::<Vec<_>>(), nodes);
        if fits && keeps_copies(&fault, &planned, now, faults) {
            planned.push(at(now, end, fault));
        }
    }
}

fn at(begin: u64, end: u64, fault: Fault) -> Planned {
    Planned { begin: Duration::from_millis(begin), end: Duration::from_millis(end), fault }
}

/// Late writes, and a fault by which keys of their node get another owner: what is sent under a claim arrives when that is over. The cluster
/// must be well, for the others to take over. Returns when the next fault may come.
fn plan_late(
    rng: &mut Rng,
    planned: &mut Vec<Planned>,
    node: usize,
    nodes: usize,
    now: u64,
    last: u64,
    with_cuts: bool,
) -> u64 {
    let all_over = planned.iter().map(|planned| planned.end).max().unwrap_or_default();
    let begin = now.max(u64::try_from(all_over.as_millis()).unwrap_or(u64::MAX).saturating_add(1_500));
    let overtaken = begin + rng.between(500, 2_000);
    let lasts = rng.between(5_000, 8_000);
    let others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
    let overtaker = match rng.between(0, 100) {
        0..60 if with_cuts => Fault::BothWays(node, others),
        0..80 => Fault::Freeze(node),
        _ => Fault::Kill(*rng.pick(&others)),
    };
    if overtaken + lasts <= last {
        planned.push(at(begin, overtaken + lasts, Fault::Late(node)));
        planned.push(at(overtaken, overtaken + lasts, overtaker));
        overtaken + 4_000
    } else {
        now
    }
}

/// A node is killed, and joins again when one of two others that do not reach each other is about to be left out. That one still reaches
/// those that have copies of its entries, and entries of it go to the one that joins. Returns when the next fault may come.
fn plan_join(
    rng: &mut Rng,
    planned: &mut Vec<Planned>,
    node: usize,
    nodes: usize,
    now: u64,
    last: u64,
    settle: u64,
) -> u64 {
    let all_over = planned.iter().map(|planned| planned.end).max().unwrap_or_default();
    let begin = now.max(u64::try_from(all_over.as_millis()).unwrap_or(u64::MAX).saturating_add(settle));
    let mut others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
    let one = others.swap_remove(rng.index(others.len()));
    let other = *rng.pick(&others);
    let cut = begin + rng.between(1_500, 2_500);
    let (joins, ends) = (cut + rng.between(0, 3_000), cut + 6_000);
    if ends > last {
        return now;
    }
    planned.push(at(begin, joins, Fault::Kill(node)));
    planned.push(at(cut, ends, Fault::BothWays(one, vec![other])));
    ends
}

/// As many nodes are killed at once as there are copies, if the others are a majority and all nodes were at work before. Returns when the
/// next fault may come.
fn plan_loss(
    rng: &mut Rng,
    planned: &mut Vec<Planned>,
    node: usize,
    (nodes, copies): (usize, usize),
    now: u64,
    last: u64,
) -> u64 {
    let all_over = planned.iter().map(|planned| planned.end).max().unwrap_or_default();
    let begin = now.max(u64::try_from(all_over.as_millis()).unwrap_or(u64::MAX).saturating_add(SETTLE));
    let end = begin + rng.between(500, 2_500);
    if 2 * copies >= nodes || end > last {
        return now;
    }
    let mut left: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
    planned.push(at(begin, end, Fault::Kill(node)));
    for _ in 1..copies {
        let other = left.swap_remove(rng.index(left.len()));
        planned.push(at(begin, end, Fault::Kill(other)));
    }
    end
}

fn any(rng: &mut Rng, nodes: usize, with_cuts: bool) -> Fault {
    let node = rng.index(nodes);
    let others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
    // All others or one of them.
    let some = |rng: &mut Rng| if rng.percent(60) { others.clone() } else { vec![*rng.pick(&others)] };
    match rng.between(0, if with_cuts { 100 } else { 64 }) {
        0..8 => Fault::Kill(node),
        8..15 => Fault::Restart(node),
        15..23 => Fault::Leave(node),
        23..34 => Fault::Freeze(node),
        34..64 => Fault::Late(node),
        64..76 => Fault::OneWay(node, some(rng)),
        76..90 => Fault::BothWays(node, some(rng)),
        _ => {
            let size = 1 + rng.index(nodes / 2);
            Fault::Split((0..size).map(|at| (node + at) % nodes).collect())
        }
    }
}

/// Whether it may begin beside these: less than half of the processes are stopped at a time, and no process twice.
fn fits(fault: &Fault, present: &[&Fault], nodes: usize) -> bool {
    let cuts = present.iter().filter(|other| other.is_cut()).count();
    let stopped: Vec<_> = present.iter().filter_map(|other| other.stops()).collect();
    match fault.stops() {
        Some(node) => !stopped.contains(&node) && 2 * (stopped.len() + 1) < nodes,
        None if fault.is_cut() => cuts < MAX_CUTS,
        None => true,
    }
}

/// Whether a copy of each entry is left, and others are made before the next are lost.
fn keeps_copies(fault: &Fault, planned: &[Planned], now: u64, faults: Faults) -> bool {
    let Faults::Spaced { absent } = faults else { return true };
    let begin = Duration::from_millis(now);
    let recent = planned.iter().filter(|other| other.end + Duration::from_millis(SETTLE) > begin);
    recent.map(|other| other.fault.absence()).sum::<usize>() + fault.absence() <= absent
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_same_seed_plans_the_same_faults() {
        assert_eq!(
            schedule(7, MINUTE, 5, true, Faults::OfRegister),
            schedule(7, MINUTE, 5, true, Faults::OfRegister)
        );
        assert_ne!(
            schedule(7, MINUTE, 5, true, Faults::OfRegister),
            schedule(8, MINUTE, 5, true, Faults::OfRegister)
        );
    }

    #[test]
    fn every_fault_has_ended_before_the_end_and_less_than_half_of_the_processes_are_stopped() {
        for (seed, nodes) in (0..200).flat_map(|seed| [(seed, 3), (seed, 5), (seed, 9)]) {
            let planned = schedule(seed, MINUTE, nodes, true, Faults::OfRegister);
            assert!((6..60).contains(&planned.len()), "seed {seed}: {}", planned.len());
            for (at, one) in planned.iter().enumerate() {
                assert!(one.begin < one.end && one.end <= Duration::from_secs(54), "seed {seed}: {one:?}");
                let present = planned[..at].iter().filter(|other| other.end > one.begin);
                let stopped: Vec<_> = present.filter_map(|other| other.fault.stops()).collect();
                if let Some(node) = one.fault.stops() {
                    assert!(
                        !stopped.contains(&node) && 2 * (stopped.len() + 1) < nodes,
                        "seed {seed}: {one:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_sort_of_fault_comes_and_some_overlap() {
        let all: Vec<_> = (0..20).map(|seed| schedule(seed, MINUTE, 5, true, Faults::OfRegister)).collect();
        for sort in Fault::SORTS {
            assert!(all.iter().flatten().any(|planned| planned.fault.sort() == sort), "{sort}");
        }
        assert!(all.iter().all(|planned| planned.windows(2).any(|two| two[1].begin < two[0].end)));
    }

    #[test]
    fn without_a_network_of_its_own_nothing_is_cut() {
        let all: Vec<_> =
            (0..50).flat_map(|seed| schedule(seed, MINUTE, 5, false, Faults::OfRegister)).collect();
        assert!(all.iter().all(|planned| !planned.fault.is_cut()));
    }

    #[test]
    fn the_shortest_run_has_faults() {
        for seed in 0..50 {
            assert!(
                !schedule(seed, Duration::from_secs(20), 5, true, Faults::OfRegister).is_empty(),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn spaced_faults_leave_a_copy_of_each_entry() {
        for seed in 0..200 {
            for absent in 1..=2 {
                let planned = schedule(seed, MINUTE, 5, true, Faults::Spaced { absent });
                assert!(planned.len() > 3, "seed {seed}: {}", planned.len());
                for (at, one) in planned.iter().enumerate() {
                    let settle = Duration::from_millis(SETTLE);
                    let recent = planned[..at].iter().filter(|other| other.end + settle > one.begin);
                    let all = recent.map(|other| other.fault.absence()).sum::<usize>() + one.fault.absence();
                    assert!(all <= absent, "seed {seed}: {one:?}");
                }
            }
        }
    }

    #[test]
    fn copies_are_lost_at_once_if_that_is_asked_for() {
        for seed in 0..50 {
            let planned = schedule(seed, MINUTE, 5, true, Faults::Losing { copies: 2, alone: false });
            let twice = planned.windows(2).any(|two| {
                let both = |one: &Planned| matches!(one.fault, Fault::Kill(_));
                two.iter().all(both) && two[0].begin == two[1].begin && two[0].fault != two[1].fault
            });
            assert!(twice, "seed {seed}: {planned:?}");
        }
    }

    #[test]
    fn a_table_has_no_store_whose_writes_are_late() {
        for faults in
            [Faults::Losing { copies: 2, alone: false }, Faults::Joining, Faults::Spaced { absent: 2 }]
        {
            let all: Vec<_> = (0..50).flat_map(|seed| schedule(seed, MINUTE, 5, true, faults)).collect();
            assert!(all.iter().all(|planned| !matches!(planned.fault, Fault::Late(_))));
        }
    }
}
