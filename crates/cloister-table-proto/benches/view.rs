//! What a view change costs: all tables of a cluster in one thread, without a network between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_proto::{Epoch, Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::{Action, Event, Message, OnLoss, Options, Placement, Table};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

struct Cluster {
    members: Vec<NodeId>,
    tables: BTreeMap<NodeId, Table>,
    epoch: u64,
    replicas: Arc<cloister_proto::Replicas>,
}

impl Cluster {
    fn new(nodes: u64) -> Self {
        let member = |n: u64| {
            let name = format!("shop@10.0.0.{n}:4370").parse().expect("a name");
            NodeId::new(name, Incarnation(n), n)
        };
        let members: Vec<NodeId> = (1..=nodes).map(member).collect();
        let slots: Arc<[Slot]> = Slot::all().collect();
        let table = |me: &NodeId| {
            let options = Options { slots: Arc::clone(&slots), on_loss: OnLoss::Empty, chunk_bytes: 1 << 18 };
            let mut table = Table::new(me.clone(), options);
            for peer in members.iter().filter(|peer| *peer != me) {
                table.handle(None, Event::Linked(peer.clone()));
            }
            (me.clone(), table)
        };
        let tables = members.iter().map(table).collect();
        let replicas = Arc::new(Ring::new(&members).replicas(2));
        Self { members, tables, epoch: 1, replicas }
    }

    fn placement(&self) -> Placement {
        let (epoch, before) = (Epoch::from_u64(self.epoch), Epoch::from_u64(self.epoch - 1));
        Placement::new(epoch, before, self.members.clone().into(), Arc::clone(&self.replicas))
    }

    /// Every node gets an event, and all messages that follow arrive; returns how many that were.
    fn all(&mut self, event: &Event, claim: Option<Epoch>) -> usize {
        let mut flying: VecDeque<(NodeId, NodeId, Message)> = VecDeque::new();
        let mut count = 0;
        let mut perform = |me: &NodeId, table: &mut Table, flying: &mut VecDeque<_>| {
            while let Some(action) = table.next_action() {
                if let Action::Send { to, message } = action {
                    count += 1;
                    flying.push_back((me.clone(), to, message));
                }
            }
        };
        for (me, table) in &mut self.tables {
            table.handle(claim, event.clone());
            perform(me, table, &mut flying);
        }
        while let Some((from, to, message)) = flying.pop_front() {
            if let Some(table) = self.tables.get_mut(&to) {
                table.handle(claim, Event::Received { from, message });
                perform(&to, table, &mut flying);
            }
        }
        count
    }

    fn view(&mut self) -> usize {
        let promised = self.all(&Event::Promised(self.placement()), None);
        let claim = Some(Epoch::from_u64(self.epoch));
        let up = self.all(&Event::Up(self.placement()), claim);
        self.epoch += 1;
        promised + up
    }
}

/// A view of the same members after one that served all slots: the work of all nodes together.
#[divan::bench(args = [1, 3, 10], sample_count = 20)]
fn view_of_all_slots(bencher: Bencher<'_, '_>, nodes: u64) {
    let mut cluster = Cluster::new(nodes);
    cluster.view();
    bencher.bench_local(|| black_box(cluster.view()));
}
