//! Running many seeds on all processors.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_sim::{Outcome, Scenario, World};

/// Runs every seed, or the first `CLOISTER_SIM_SEEDS` of them if that is set; fails with the script of the first that broke
/// a law.
pub(crate) fn sweep(what: &str, seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) {
    run_all(what, seeds, scenario, |outcome| outcome.violation.is_some());
}

/// The same, but two clusters that began apart may act at once, in a tenth of the runs at most.
pub(crate) fn sweep_apart(what: &str, seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) {
    let (runs, apart) =
        run_all(what, seeds, scenario, |outcome| outcome.violation.is_some() && !outcome.two_roots);
    assert!(10 * apart <= runs, "{what}: {apart} of {runs} runs have two clusters that began apart");
}

fn run_all(
    what: &str,
    seeds: Range<u64>,
    scenario: impl Fn(u64) -> Scenario + Sync,
    has_failed: impl Fn(&Outcome) -> bool + Sync,
) -> (usize, usize) {
    let max =
        std::env::var("CLOISTER_SIM_SEEDS").map(|max| max.parse().expect("CLOISTER_SIM_SEEDS is a number"));
    let seeds = seeds.start..seeds.end.min(seeds.start.saturating_add(max.unwrap_or(u64::MAX)));
    let outcomes = Mutex::new(Vec::new());
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = World::run(scenario(seed), false);
                    let failed = has_failed(&outcome);
                    outcomes.lock().expect("no worker panics").push((seed, outcome));
                    if failed {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no worker panics");
    if let Some((seed, outcome)) = outcomes.iter().find(|(_, outcome)| has_failed(outcome)) {
        let script = World::run(scenario(*seed), true).script;
        panic!("{what}, seed {seed}: {:?}\n{}", outcome.violation, script.join("\n"));
    }
    tell(what, &outcomes);
    (outcomes.len(), outcomes.iter().filter(|(_, outcome)| outcome.two_roots).count())
}

fn tell(what: &str, outcomes: &[(u64, Outcome)]) {
    let mut healed: Vec<u64> =
        outcomes.iter().filter_map(|(_, outcome)| outcome.healed_after).map(|ns| ns / 1_000_000).collect();
    healed.sort_unstable();
    let at = |share: usize| healed[(healed.len() - 1) * share / 100];
    println!(
        "{what}: {} runs, {} with two clusters that began apart, {} views; one view after healing: median {} ms, 99 % {} ms, most {} ms",
        outcomes.len(),
        outcomes.iter().filter(|(_, outcome)| outcome.two_roots).count(),
        outcomes.iter().map(|(_, outcome)| outcome.views).sum::<usize>(),
        at(50),
        at(99),
        at(100),
    );
}
