//! Courses of the split policy `majority` that random faults hardly come to: hosts are gone for good, goodbyes are sent by stale reports, and
//! a commit is not heard.

use super::{Expectation, Fault, MS, Names, Scenario};
use cloister_proto::SplitPolicy;
use cloister_testkit::random::Rng;

/// Within which time the nodes that stay are up: silent links are closed after 3 s, and a view takes some rounds.
const GOES_ON: u64 = 9_000 * MS;

/// For longer than any of these runs waits for a listener.
const HELD: u64 = 60_000 * MS;

impl Scenario {
    /// A cluster is up. Then some hosts are gone, and do not come back before the end. The others must be up in one view by then.
    ///
    /// Either nodes join, and are gone while the view with them is being agreed on; a member may leave meanwhile. Or less than half of the
    /// members are gone, one after the other.
    pub fn gone(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x904e);
        let members = 2 + rng.index(5);
        let join = rng.percent(70);
        let joining = if join { 1 + rng.index(6) } else { 0 };
        let mut scenario = Self::without_skew(seed, members + joining, members, &mut rng);
        scenario.consensus = 1 + rng.index(members);
        let at = rng.between(2_500, 4_000) * MS;
        let (gone, stay): (Vec<usize>, usize) = if join {
            let mut stay = members;
            for host in members..members + joining {
                // No view with them is ever committed.
                scenario.faults.push((0, Fault::Hold(host, HELD)));
                scenario.faults.push((at + rng.between(0, 25) * MS, Fault::Start(host)));
            }
            if members > 2 && rng.percent(30) {
                let leaver = rng.index(members);
                scenario.faults.push((at + rng.between(40, 3_500) * MS, Fault::Leave(leaver)));
                stay -= 1;
            }
            if rng.percent(30) {
                scenario.faults.push((at, Fault::Hold(rng.index(members), rng.between(1, 1_500) * MS)));
            }
            ((members..members + joining).collect(), stay)
        } else {
            let lost = rng.index(members.div_ceil(2));
            let first = rng.index(members);
            ((0..lost).map(|n| (first + n) % members).collect(), members - lost)
        };
        let mut last = at;
        for host in gone {
            let when = at + if join { rng.between(30, 600) } else { rng.between(0, 4_000) } * MS;
            last = last.max(when);
            scenario
                .faults
                .push((when, if rng.percent(60) { Fault::Vanish(host) } else { Fault::Kill(host) }));
        }
        let up = if join { last.max(at + 3_500 * MS) } else { last } + GOES_ON;
        scenario.expected.push(Expectation { at: up, up: stay, size: None });
        scenario.quiet_at = up + 100 * MS;
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Some members are cut off while others join. Then the cut moves: most go on without a part, of which some leave. When that part hears
    /// the others again, it still has their last report. So it names a view that they do not have any more; and those that were cut off
    /// hear of the goodbyes from them.
    pub fn handed_over(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0600_db1e);
        let cut_off = 1 + rng.index(2);
        let members = 2 * cut_off + 1;
        // Without a witness the leavers themselves are heard again: their listeners hold their stop.
        let witness = rng.percent(50);
        let keeps = cut_off - 1;
        let joining = members - cut_off + usize::from(witness) + 1 - keeps + rng.index(2);
        let hosts = members + joining;
        let mut scenario = Self::without_skew(seed, hosts, members, &mut rng);
        scenario.consensus = members / 2 + 1;
        let late: Vec<usize> = (0..cut_off).collect();
        let leavers: Vec<usize> = (cut_off + keeps..members).collect();
        let mut part = leavers.clone();
        part.extend(witness.then_some(hosts - 1));
        let rest: Vec<usize> = (cut_off..hosts).filter(|host| !part.contains(host)).collect();
        let all = [part.clone(), rest.clone()].concat();

        let mut at = rng.between(2_500, 4_000) * MS;
        scenario.cut_between(at, HELD, &late, &all);
        at += rng.between(3_500, 5_000) * MS;
        for host in members..hosts {
            scenario.faults.push((at + rng.between(0, 300) * MS, Fault::Start(host)));
        }
        at += rng.between(1_200, 2_500) * MS;
        let leave = at + rng.between(0, 4_500) * MS;
        let heard = at + rng.between(4_000, 6_000) * MS;
        scenario.cut_between(at, heard, &part, &rest);
        for host in leavers {
            if !witness {
                scenario.faults.push((leave, Fault::Hold(host, 12_000 * MS)));
            }
            scenario.faults.push((leave + MS + rng.between(0, 300) * MS, Fault::Leave(host)));
        }
        at = heard + rng.between(300, 1_500) * MS;
        let until = at + rng.between(300, 2_000) * MS;
        let hears = [rest[rng.index(rest.len())]];
        for (from, to) in late.iter().flat_map(|late| [(*late, hears[0]), (hears[0], *late)]) {
            scenario.faults.push((at, Fault::Heal(from, to)));
            scenario.faults.push((until, Fault::Cut(from, to)));
        }
        scenario.quiet_at = until + 7_000 * MS;
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Nodes join, and most members acknowledge the view with them but do not hear that it is committed. They hear of rounds after that one,
    /// some of which are aborted. Then they are cut off, and are most members of the view before.
    pub fn unheard_commit(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x00c0_3317);
        let members = 3 + 2 * rng.index(2);
        let joining = members + rng.index(2);
        let hosts = members + joining;
        let mut scenario = Self::without_skew(seed, hosts, members, &mut rng);
        scenario.consensus = 1 + members / 2;
        let unheard: Vec<usize> = (1..members).collect();
        let heard: Vec<usize> = [0].into_iter().chain(members..hosts).collect();
        let at = rng.between(2_500, 4_000) * MS;
        for &host in &heard[1..] {
            scenario.faults.push((0, Fault::Hold(host, 600 * MS)));
            scenario.faults.push((at + rng.between(0, 20) * MS, Fault::Start(host)));
        }
        let lost = at + rng.between(100, 300) * MS;
        let heals = at + rng.between(700, 1_000) * MS;
        for &host in &unheard {
            scenario.faults.push((lost, Fault::Cut(0, host)));
            scenario.faults.push((heals, Fault::Reset(0, host)));
            scenario.faults.push((heals + MS, Fault::Heal(0, host)));
            scenario.faults.push((heals, Fault::Hold(host, *rng.pick(&[0, 300, 800]) * MS)));
        }
        if rng.percent(70) {
            let killed = heals + rng.between(100, 1_500) * MS;
            scenario.faults.push((killed, Fault::Kill(heard[1 + rng.index(joining)])));
        }
        let apart = heals + rng.between(100, 2_500) * MS;
        scenario.cut_between(apart, apart + HELD, &unheard, &heard);
        scenario.quiet_at = apart + 7_000 * MS;
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// Some nodes leave within a moment. The view of those that stay counts no leaver.
    pub fn scaled_down(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (hosts, within) = (3 + rng.index(8), 1 + rng.between(0, 300) * MS);
        let leave = 1 + rng.index(hosts - 1);
        let mut scenario =
            Self { split: SplitPolicy::Majority, consensus: 1 + rng.index(hosts), ..Self::calm(seed, hosts) };
        for host in 0..leave {
            scenario.faults.push((4_000 * MS + rng.between(0, within), Fault::Leave(host)));
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        let stay = hosts - leave;
        scenario.expected.push(Expectation { at: 8_000 * MS, up: stay, size: Some(stay) });
        scenario.quiet_at = 8_100 * MS;
        scenario
    }

    /// Of `hosts` the first ones run. A later process is younger, as by wall clocks that agree.
    fn without_skew(seed: u64, hosts: usize, members: usize, rng: &mut Rng) -> Self {
        let mut scenario = Self::calm(seed, hosts);
        scenario.split = SplitPolicy::Majority;
        scenario.may_misjudge = true;
        scenario.skew_ms = 0;
        scenario.names = Names::Running;
        scenario.heal_within = 90_000 * MS;
        scenario.faults = (0..members).map(|host| (rng.between(0, 300) * MS, Fault::Start(host))).collect();
        scenario
    }
}
