//! What a row takes in memory beside its key and its value, at an owner whose slots have a few dozen rows each.
//!
//! It looks at the memory of this process, so it is the only test here, and for Linux only.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use cloister_proto::{Epoch, Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::{Bytes, Decision, Event, OnLoss, OperationId, Options, Placement, Table, Token};

/// 61 for each slot.
const ROWS: u64 = 1_000_000;

const VALUE: usize = 100;

/// It is 63.2: 16 for its place in the list, 20 for its allocation, the rest for what a slot has once, which is less where slots have
/// more rows. A part of that is what it no longer shares with empty slots.
const MAX: f64 = 64.0;

/// How many bytes of memory this process has.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number are the pages in memory") * 4096
}

#[test]
fn a_row_takes_little_beside_its_key_and_its_value() {
    let me = NodeId::new("shop@10.0.0.1:4370".parse().expect("a name"), Incarnation(1), 1);
    let options = Options { slots: Slot::all().collect(), on_loss: OnLoss::Empty, chunk_bytes: 1 };
    let mut table = Table::new(me.clone(), options);
    let epoch = Epoch::from_u64(1);
    let placement =
        Placement::new(epoch, Epoch::ZERO, [me.clone()].into(), Arc::new(Ring::new(&[me]).replicas(1)));
    table.handle(None, Event::Promised(placement.clone()));
    table.handle(Some(epoch), Event::Up(placement));
    while table.next_action().is_some() {}
    let before = memory();
    let mut bytes = 0;
    for row in 0..ROWS {
        let key: Bytes = row.to_le_bytes().into();
        let value: Bytes = [7; VALUE].into();
        bytes += key.len() + value.len();
        let id = OperationId { client: 1, number: row, settled: row };
        let decide = |_: Option<&Bytes>| Decision::Insert { value, answer: Bytes::from([1]) };
        table.write(Some(epoch), (Slot::of(&key), &key), Some(id), Token(row), decide).expect("it is served");
        while table.next_action().is_some() {}
    }
    let each = (memory() - before - bytes) as f64 / ROWS as f64;
    println!("{each:.1} bytes a row beside key and value");
    assert!(each < MAX, "{each:.1} bytes a row beside key and value");
}
