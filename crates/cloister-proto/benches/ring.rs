//! What it costs to build a ring, to ask it, and to compare two.

use cloister_proto::{Incarnation, NodeId, Ring};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn members(n: usize) -> Vec<NodeId> {
    let member = |number: usize| {
        let name = format!("app@10.0.{}.{}:4370", number / 250, number % 250 + 1);
        let name = name.parse().expect("an IP address makes a name");
        NodeId::new(name, Incarnation(number as u64), number as u64)
    };
    (0..n).map(member).collect()
}

#[divan::bench(args = [3, 10, 50, 200])]
fn build(bencher: Bencher<'_, '_>, n: usize) {
    let members = members(n);
    bencher.bench(|| Ring::new(black_box(&members)));
}

#[divan::bench(args = [3, 1000])]
fn owner_of(bencher: Bencher<'_, '_>, n: usize) {
    let ring = Ring::new(&members(n));
    bencher.bench(|| ring.owner_of(black_box(b"user:000000000000042")).is_some());
}

#[divan::bench(args = [3, 50])]
fn transfers_to(bencher: Bencher<'_, '_>, n: usize) {
    let members = members(n);
    let (before, after) = (Ring::new(&members[1..]), Ring::new(&members));
    bencher.bench(|| before.transfers_to(black_box(&after)));
}

#[divan::bench(args = [3, 50])]
fn transfers_of(bencher: Bencher<'_, '_>, n: usize) {
    let members = members(n);
    let (before, after) = (Ring::new(&members[1..]), Ring::new(&members));
    bencher.bench(|| before.transfers_of(black_box(&members[1]), black_box(&after)));
}

#[divan::bench(args = [3, 50, 200])]
fn replicas(bencher: Bencher<'_, '_>, n: usize) {
    let ring = Ring::new(&members(n));
    bencher.bench(|| black_box(&ring).replicas(3));
}
