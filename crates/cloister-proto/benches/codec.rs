//! What it costs to write and to read a message.

use std::time::Duration;

use cloister_proto::wire::{Heartbeat, Reach};
use cloister_proto::{Epoch, Incarnation, Member, Message, NodeId, NodeIdInterner, View};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Which message.
const KINDS: [&str; 3] = ["heartbeat", "heartbeat with reach of 50", "proposal of 50"];

fn message(kind: &str) -> Message {
    let nodes = || {
        (1..=50_u64).map(|n| {
            let name = format!("app@10.0.0.{n}:4370").parse().expect("an IP address makes a name");
            NodeId::new(name, Incarnation(n), n)
        })
    };
    let epoch = Epoch::from_u64(7);
    let heartbeat = |reach: Reach| {
        Message::Heartbeat(Heartbeat {
            sent: 1_000_000_000,
            echo: 900_000_000,
            age: Duration::from_secs(60),
            reach,
            installed: epoch,
            promised: epoch,
            prepared: true,
            released_epoch: Epoch::ZERO,
            max_epoch_seen: epoch,
            unix_ms: 0,
            leaving: false,
            wants_echo: false,
            size: 0,
            base: Epoch::ZERO,
            objects: false,
            goodbyes: Vec::new(),
            former: Vec::new(),
            warms: false,
            drains: false,
            warmed: 0,
            intent: None,
        })
    };
    match kind {
        "heartbeat" => heartbeat(Reach::Same(42)),
        "heartbeat with reach of 50" => heartbeat(Reach::Nodes(nodes().collect())),
        _ => Message::Propose(View::new(epoch, nodes().map(Member::without_tags).collect())),
    }
}

#[divan::bench(args = KINDS)]
fn encode(bencher: Bencher<'_, '_>, kind: &str) {
    let message = message(kind);
    bencher.bench(|| black_box(&message).encode());
}

#[divan::bench(args = KINDS)]
fn decode(bencher: Bencher<'_, '_>, kind: &str) {
    let bytes = message(kind).encode();
    bencher.bench(|| Message::decode(black_box(&bytes)));
}

/// As a node does it that has heard of all of them.
#[divan::bench(args = KINDS)]
fn decode_known(bencher: Bencher<'_, '_>, kind: &str) {
    let bytes = message(kind).encode();
    let mut incarnations = NodeIdInterner::default();
    let mut decode = |bytes: &[u8]| Message::decode_with(bytes.to_vec(), &mut incarnations);
    bencher.bench_local(|| decode(black_box(&bytes)));
}
