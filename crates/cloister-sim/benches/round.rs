//! What it costs the cores of a whole cluster to come together, to agree on a view, and to keep it for three seconds.

use cloister_sim::{Scenario, World};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

#[divan::bench(args = [3, 5, 10, 50])]
fn assemble(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.bench(|| {
        let outcome = World::run(Scenario::calm(black_box(1), nodes), false);
        assert_eq!(outcome.violation, None);
        outcome.views
    });
}
