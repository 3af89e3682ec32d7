//! What a slot that nothing was written to takes in memory, at the nodes of a cluster that is at rest.
//!
//! It looks at the memory of this process, so it is the only test here, and for Linux only.

#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_proto::{Epoch, Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::{Action, Event, Message, OnLoss, Options, Placement, Table};

const NODES: u64 = 4;

const COPIES: usize = 2;

/// How many clusters there are: with their tables the pages that a process has by chance weigh little.
const CLUSTERS: usize = 16;

/// How many views each cluster has had.
const VIEWS: u64 = 40;

/// By slot of a table, whether its node has a copy or not: half of the nodes have one, and a quarter owns the slot. It is 30. It was 930
/// when each slot had values of its own, most of them for labels of views without a write.
const MAX: f64 = 45.0;

/// How many bytes of memory this process has.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number are the pages in memory") * 4096
}

fn node(n: u64) -> NodeId {
    NodeId::new(format!("shop@10.0.0.{n}:4370").parse().expect("a name"), Incarnation(n), n)
}

/// A cluster whose tables are in a view, with all copies.
struct Cluster {
    tables: BTreeMap<NodeId, Table>,
    epoch: u64,
    flying: VecDeque<(NodeId, NodeId, Message)>,
    served: usize,
}

impl Cluster {
    fn new(slots: &Arc<[Slot]>) -> Self {
        let nodes: Vec<NodeId> = (1..=NODES).map(node).collect();
        let options = || Options { slots: Arc::clone(slots), on_loss: OnLoss::Empty, chunk_bytes: 1 };
        let tables = nodes.iter().map(|node| (node.clone(), Table::new(node.clone(), options()))).collect();
        let mut cluster = Self { tables, epoch: 0, flying: VecDeque::new(), served: 0 };
        for (node, table) in &mut cluster.tables {
            for peer in nodes.iter().filter(|peer| *peer != node) {
                table.handle(None, Event::Linked(peer.clone()));
            }
        }
        cluster
    }

    fn view(&mut self) {
        self.served = 0;
        let members: Vec<NodeId> = self.tables.keys().cloned().collect();
        let (epoch, before) = (Epoch::from_u64(self.epoch + 1), Epoch::from_u64(self.epoch));
        let replicas = Arc::new(Ring::new(&members).replicas(COPIES));
        let placement = Placement::new(epoch, before, members.clone().into(), replicas);
        members.iter().for_each(|member| self.give(member, Event::Promised(placement.clone())));
        self.settle();
        self.epoch += 1;
        members.iter().for_each(|member| self.give(member, Event::Up(placement.clone())));
        self.settle();
        members.iter().for_each(|member| self.give(member, Event::Tick));
        self.settle();
    }

    fn give(&mut self, to: &NodeId, event: Event) {
        let Some(table) = self.tables.get_mut(to) else { return };
        table.handle(Some(Epoch::from_u64(self.epoch)), event);
        while let Some(action) = table.next_action() {
            match action {
                Action::Send { to: peer, message } => self.flying.push_back((to.clone(), peer, message)),
                Action::Serves(_) => self.served += 1,
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.flying.pop_front() {
            self.give(&to, Event::Received { from, message });
        }
        self.flying = VecDeque::new();
    }
}

#[test]
fn a_slot_that_nothing_was_written_to_takes_little() {
    let slots: Arc<[Slot]> = Slot::all().collect();
    let begin = || {
        let mut cluster = Cluster::new(&slots);
        (0..VIEWS).for_each(|_| cluster.view());
        assert_eq!(cluster.served, slots.len());
        cluster
    };
    // What is in flight during a view is memory that the next cluster uses again.
    let first = begin();
    let before = memory();
    let clusters: Vec<Cluster> = (0..CLUSTERS).map(|_| begin()).collect();
    let tables = clusters.len() * first.tables.len();
    let each = memory().saturating_sub(before) as f64 / (tables * slots.len()) as f64;
    println!("{each:.1} bytes a slot of a table after {VIEWS} views");
    assert!(each < MAX, "{each:.1} bytes a slot of a table after {VIEWS} views");
}
