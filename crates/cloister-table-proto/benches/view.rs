//! What a view change costs: all tables of a cluster in one thread, without a network between them. A figure is the work of all nodes
//! together, but for what a newcomer fetches: that is its work alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_proto::{Epoch, Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::{
    Action, Bytes, Decision, Event, Message, OnLoss, Options, Placement, Table, Token,
};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// What the slots have before the view.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Nothing was ever written.
    Empty,
    /// Each slot has an entry.
    Written,
}

const CASES: [(u64, Content); 4] =
    [(3, Content::Empty), (3, Content::Written), (10, Content::Empty), (10, Content::Written)];

/// The rows of each slot that a newcomer fetches, and the bytes of the value of each.
const ROWS: u64 = 16;
const VALUE: usize = 100;

/// What a table is given, in order.
type Given = Vec<(Option<Epoch>, Event)>;

struct Cluster {
    slots: Arc<[Slot]>,
    tables: BTreeMap<NodeId, Table>,
    epoch: u64,
    flying: VecDeque<(NodeId, NodeId, Message)>,
    messages: usize,
    served: usize,
    /// The node of which all that it is given is kept.
    recorded: Option<(NodeId, Given)>,
}

fn node(n: u64) -> NodeId {
    NodeId::new(format!("shop@10.0.0.{n}:4370").parse().expect("a name"), Incarnation(n), n)
}

impl Cluster {
    fn new(nodes: u64) -> Self {
        let mut cluster = Self {
            slots: Slot::all().collect(),
            tables: BTreeMap::new(),
            epoch: 0,
            flying: VecDeque::new(),
            messages: 0,
            served: 0,
            recorded: None,
        };
        (1..=nodes).for_each(|n| cluster.start(n));
        cluster
    }

    /// A cluster that is up, with this content.
    fn up(nodes: u64, content: Content) -> Self {
        let mut cluster = Self::new(nodes);
        cluster.view(&cluster.placement());
        if let Content::Written = content {
            cluster.write(1, b"value");
        }
        cluster.view(&cluster.placement());
        cluster
    }

    /// A node starts, and has links to all others.
    fn start(&mut self, n: u64) {
        let started = self.table(n);
        for table in self.tables.values_mut() {
            table.handle(None, Event::Linked(node(n)));
        }
        let peers: Vec<NodeId> = self.tables.keys().cloned().collect();
        self.tables.insert(node(n), started);
        for peer in peers {
            self.give(&node(n), Event::Linked(peer));
        }
    }

    fn table(&self, n: u64) -> Table {
        let options =
            Options { slots: Arc::clone(&self.slots), on_loss: OnLoss::Empty, chunk_bytes: 1 << 18 };
        Table::new(node(n), options)
    }

    fn end(&mut self, n: u64) {
        self.tables.remove(&node(n));
        for table in self.tables.values_mut() {
            table.handle(None, Event::Unlinked(node(n)));
        }
    }

    /// The next view, of all nodes that run.
    fn placement(&self) -> Placement {
        self.placement_of(self.tables.keys().cloned().collect())
    }

    fn placement_of(&self, members: Vec<NodeId>) -> Placement {
        let (epoch, before) = (Epoch::from_u64(self.epoch + 1), Epoch::from_u64(self.epoch));
        let replicas = Arc::new(Ring::new(&members).replicas(2));
        Placement::new(epoch, before, members.into(), replicas)
    }

    /// Gives a node an event, and all messages that follow to those they are for.
    fn give(&mut self, to: &NodeId, event: Event) {
        let claim = Some(Epoch::from_u64(self.epoch));
        if let Some((recorded, given)) = &mut self.recorded
            && recorded == to
        {
            given.push((claim, event.clone()));
        }
        if let Some(table) = self.tables.get_mut(to) {
            table.handle(claim, event);
        }
        self.perform(to);
    }

    fn perform(&mut self, at: &NodeId) {
        let Some(table) = self.tables.get_mut(at) else { return };
        while let Some(action) = table.next_action() {
            match action {
                Action::Send { to, message } => self.flying.push_back((at.clone(), to, message)),
                Action::Serves(_) => self.served += 1,
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.flying.pop_front() {
            self.messages += 1;
            self.give(&to, Event::Received { from, message });
        }
    }

    /// A view, until every slot is served and has its copies.
    fn view(&mut self, placement: &Placement) {
        self.served = 0;
        for member in placement.members() {
            self.give(member, Event::Promised(placement.clone()));
        }
        self.settle();
        self.epoch += 1;
        for member in placement.members() {
            self.give(member, Event::Up(placement.clone()));
        }
        self.settle();
        assert_eq!(self.served, self.slots.len());
    }

    /// Writes so many entries into each slot.
    fn write(&mut self, rows: u64, value: &[u8]) {
        let (claim, value) = (Some(Epoch::from_u64(self.epoch)), Bytes::from(value));
        for at in self.tables.keys().cloned().collect::<Vec<_>>() {
            let Some(table) = self.tables.get_mut(&at) else { continue };
            for slot in table.owned_slots().collect::<Vec<_>>() {
                for row in 0..rows {
                    let key = Bytes::from(row.to_le_bytes());
                    let decide = |_: Option<&Bytes>| Decision::Insert {
                        value: value.clone(),
                        answer: Bytes::default(),
                    };
                    table.write(claim, (slot, &key), None, Token(1), decide).expect("the slot is served");
                }
            }
            self.perform(&at);
            self.settle();
        }
    }
}

fn bench(bencher: Bencher<'_, '_>, prepare: impl Fn() -> (Cluster, Placement)) {
    bencher.with_inputs(prepare).bench_local_values(|(mut cluster, placement)| {
        cluster.view(&placement);
        black_box(cluster)
    });
}

#[divan::bench(args = [1, 3, 10, 100], sample_count = 20)]
fn the_first_view(bencher: Bencher<'_, '_>, nodes: u64) {
    bench(bencher, || {
        let cluster = Cluster::new(nodes);
        let placement = cluster.placement();
        (cluster, placement)
    });
}

/// A view of the same members after one that served all slots.
#[divan::bench(args = [1, 3, 10], sample_count = 20)]
fn view_of_all_slots(bencher: Bencher<'_, '_>, nodes: u64) {
    bench(bencher, || {
        let cluster = Cluster::up(nodes, Content::Empty);
        let placement = cluster.placement();
        (cluster, placement)
    });
}

/// The view without a node that has ended.
#[divan::bench(args = CASES, sample_count = 20)]
fn kill(bencher: Bencher<'_, '_>, (nodes, content): (u64, Content)) {
    bench(bencher, || {
        let mut cluster = Cluster::up(nodes, content);
        cluster.end(1);
        let placement = cluster.placement();
        (cluster, placement)
    });
}

/// The view with one more node, which nothing has prepared.
#[divan::bench(args = CASES, sample_count = 20)]
fn join(bencher: Bencher<'_, '_>, (nodes, content): (u64, Content)) {
    bench(bencher, || {
        let mut cluster = Cluster::up(nodes, content);
        cluster.start(nodes + 1);
        let placement = cluster.placement();
        (cluster, placement)
    });
}

/// The view without a node that leaves and hands over what it has.
#[divan::bench(args = CASES, sample_count = 20)]
fn leave(bencher: Bencher<'_, '_>, (nodes, content): (u64, Content)) {
    bench(bencher, || {
        let mut cluster = Cluster::up(nodes, content);
        cluster.give(&node(1), Event::Leaves);
        let members = cluster.tables.keys().filter(|id| **id != node(1)).cloned().collect();
        let placement = cluster.placement_of(members);
        (cluster, placement)
    });
}

/// What a table takes in that joins one with content, until it has a copy of all of it. The bytes are those of keys and values.
#[divan::bench(sample_count = 20)]
fn what_a_newcomer_fetches(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::new(1);
    cluster.view(&cluster.placement());
    cluster.write(ROWS, &[7; VALUE]);
    cluster.recorded = Some((node(2), Vec::new()));
    cluster.start(2);
    cluster.view(&cluster.placement());
    let newcomer = cluster.table(2);
    let given = cluster.recorded.take().map(|(_, given)| given).expect("it is recorded");
    let rows = ROWS * cluster.slots.len() as u64;
    assert_eq!(take_in(newcomer, given.clone()), rows, "it has all of them");
    let bytes = rows * (size_of::<u64>() + VALUE) as u64;
    bencher
        .counter(ItemsCount::new(rows))
        .counter(BytesCount::new(bytes))
        .with_inputs(|| (cluster.table(2), given.clone()))
        .bench_local_values(|(newcomer, given)| take_in(newcomer, given));
}

/// How many rows the table has afterwards.
fn take_in(mut table: Table, given: Given) -> u64 {
    for (claim, event) in given {
        table.handle(claim, event);
        while let Some(action) = table.next_action() {
            black_box(action);
        }
    }
    table.held_slots().map(|(_, _, content)| content.len() as u64).sum()
}
