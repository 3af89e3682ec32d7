//! The laws of tables hold in many runs, and the same seed gives the same run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_table_sim::{Family, run};

/// Runs the first seeds of a family, or the first `CLOISTER_SIM_SEEDS` of them if that is set, on all processors; fails with the script of
/// the first that broke a law.
fn sweep(family: Family, seeds: u64) {
    let max =
        std::env::var("CLOISTER_SIM_SEEDS").map(|max| max.parse().expect("CLOISTER_SIM_SEEDS is a number"));
    let seeds = max.unwrap_or(u64::MAX).min(seeds);
    let (next, broken) = (AtomicU64::new(0), Mutex::new(None));
    let [done, uncertain, losses] = [const { AtomicU64::new(0) }; 3];
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let (outcome, oracle) = run(family, seed, None, false);
                    done.fetch_add(oracle.done, Ordering::Relaxed);
                    uncertain.fetch_add(oracle.uncertain, Ordering::Relaxed);
                    losses.fetch_add(oracle.losses, Ordering::Relaxed);
                    if outcome.violation.is_some() {
                        broken.lock().expect("no worker panics").get_or_insert(seed);
                        next.store(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if let Some(seed) = broken.into_inner().expect("no worker panics") {
        let (outcome, _) = run(family, seed, None, true);
        panic!("{family:?}, seed {seed}: {:?}\n{}", outcome.violation, outcome.script.join("\n"));
    }
    let [done, uncertain, losses] = [done, uncertain, losses].map(AtomicU64::into_inner);
    println!(
        "{family:?}: {seeds} runs, {done} operations, {uncertain} without a known end, {losses} losses told"
    );
    assert!(done > seeds * 50, "clients are hardly answered");
}

#[test]
fn the_laws_hold_under_random_faults() {
    sweep(Family::Adversarial, 350);
}

#[test]
fn the_laws_hold_under_faults_aimed_at_what_tables_say() {
    sweep(Family::Aimed, 350);
}

#[test]
fn the_laws_hold_where_view_follows_view() {
    sweep(Family::Storm, 350);
}

#[test]
fn nothing_is_lost_where_one_node_fails_at_a_time() {
    sweep(Family::OneByOne, 60);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let script = || run(Family::Storm, 7, None, true).0.script;
    let (first, second) = (script(), script());
    assert!(first.len() > 100);
    assert_eq!(first, second);
}
