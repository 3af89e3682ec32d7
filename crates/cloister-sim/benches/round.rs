//! What it costs the cores of a whole cluster to come together, to agree on a view, and to keep it.

use cloister_sim::{MS, Scenario, World};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Three seconds, in which the nodes start one by one.
#[divan::bench(args = [3, 5, 10, 50])]
fn assemble(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.bench(|| {
        let outcome = World::run(Scenario::calm(black_box(1), nodes), false);
        assert_eq!(outcome.violation, None);
        outcome.views
    });
}

/// The same, with so many nodes that a few runs have to do.
#[divan::bench(args = [200, 400], sample_count = 3, sample_size = 1)]
fn boot(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.bench_local(|| {
        let mut world =
            World::new(Scenario { quiet_at: u64::MAX, heal_within: 0, ..Scenario::calm(1, nodes) }, false);
        world.advance(4_000 * MS).expect("no law is broken");
        assert!(world.agrees(), "all are up in one view");
    });
}

/// One second in which nothing happens but heartbeats. Each node receives two from each other.
#[divan::bench(args = [50, 200, 400], sample_count = 10)]
fn second(bencher: Bencher<'_, '_>, nodes: usize) {
    let scenario = Scenario { quiet_at: u64::MAX, heal_within: 0, ..Scenario::calm(black_box(1), nodes) };
    let mut world = World::new(scenario, false);
    let mut pass = |seconds: u64| world.advance(seconds * 1_000 * MS).expect("no law is broken");
    pass(4);
    bencher.bench_local(|| pass(1));
    assert!(world.agrees(), "all are up in one view");
}
