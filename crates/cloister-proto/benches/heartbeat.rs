//! What it costs a node that is up to take in one heartbeat, beside its own heartbeats and ticks meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use cloister_proto::wire::{Heartbeat, ProposalReply, Reach};
use cloister_proto::{
    Action, Epoch, Event, Incarnation, LinkId, Member, Message, Node, NodeId, PeerTerms, Settings, Status,
    Time,
};
use divan::Bencher;

fn main() {
    divan::main();
}

const EVERY: Duration = Duration::from_millis(500);

/// The oldest node of a cluster, up, and peers that say what it wants to hear.
struct Cluster {
    node: Node,
    now: Time,
    members: Vec<Member>,
    /// The view that the peers have promised, and the one that they have installed.
    promised: Epoch,
    installed: Epoch,
    /// What the node gave as its time of sending to each peer last.
    said: Vec<u64>,
    turn: usize,
}

impl Cluster {
    fn up(peers: usize) -> Self {
        let member = |at: usize| {
            let name = format!("app@10.0.{}.{}:4370", at / 250, at % 250 + 1).parse().expect("a name");
            Member::without_tags(NodeId::new(
                name,
                Incarnation(77 + at as u64),
                1_795_000_000_000 + at as u64,
            ))
        };
        let members: Vec<Member> = (0..=peers).map(member).collect();
        let now = Time::from_nanos(1_000_000_000);
        let consensus = NonZeroUsize::new(peers / 2 + 1).expect("at least one");
        let node = Node::new(Settings::new(members[0].clone(), consensus, 1), now);
        let (promised, installed) = (Epoch::ZERO, Epoch::ZERO);
        let mut cluster = Self { node, now, members, promised, installed, said: vec![0; peers + 1], turn: 0 };
        cluster.feed(Event::DiscoveryUpdate {
            unverified: BTreeSet::new(),
            refusing: BTreeSet::new(),
            named: BTreeSet::new(),
            complete: true,
        });
        for at in 1..=peers {
            let peer = cluster.members[at].clone();
            cluster.feed(Event::Linked {
                link: LinkId(at as u64),
                peer,
                terms: PeerTerms::new(Duration::from_secs(2)),
            });
        }
        let nodes: Vec<NodeId> = cluster.members.iter().map(|member| member.id.clone()).collect();
        (0..peers).for_each(|_| cluster.hear(Reach::Nodes(nodes.clone().into())));
        (0..8 * peers).for_each(|_| cluster.hear(Reach::Same(0)));
        cluster.assert_up();
        cluster
    }

    fn assert_up(&self) {
        let state = self.node.state();
        assert_eq!((state.status, state.members.len()), (Status::Up, self.members.len()));
        assert!(self.node.holds_lease(self.now));
    }

    /// The next of the peers says its heartbeat; they take turns.
    fn hear(&mut self, reach: Reach) {
        let peers = self.members.len() - 1;
        self.now = self.now + EVERY / u32::try_from(peers).expect("a small cluster");
        while self.node.next_timeout().is_some_and(|due| due <= self.now) {
            for at in 1..=peers {
                self.node.handle(self.now, Event::BytesReceived { link: LinkId(at as u64), at: self.now });
            }
            self.feed(Event::Tick);
        }
        let at = self.turn % peers + 1;
        self.turn += 1;
        let heartbeat = Heartbeat {
            sent: self.now.as_nanos(),
            echo: self.said[at],
            age: Duration::from_secs(3600),
            reach,
            installed: self.installed,
            promised: self.promised,
            prepared: true,
            released_epoch: Epoch::ZERO,
            max_epoch_seen: self.promised,
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
        };
        self.feed(Event::Received { link: LinkId(at as u64), message: Message::Heartbeat(heartbeat) });
    }

    fn feed(&mut self, event: Event) {
        self.node.handle(self.now, event);
        while let Some(action) = self.node.next_action() {
            match action {
                Action::Send { link, message: Message::Heartbeat(heartbeat) } => {
                    self.said[link.0 as usize] = heartbeat.sent;
                }
                Action::Send { link, message: Message::Propose(view) } => {
                    self.promised = view.epoch();
                    let message = Message::Reply { epoch: view.epoch(), reply: ProposalReply::Ack };
                    self.node.handle(self.now, Event::Received { link, message });
                }
                Action::Send { message: Message::Commit { epoch }, .. } => self.installed = epoch,
                Action::Notify(change) => {
                    if let Some(held) = change.hold {
                        self.node.handle(self.now, Event::HoldReleased { held });
                    }
                }
                _ => {}
            }
        }
    }
}

#[divan::bench(args = [10, 200])]
fn receive(bencher: Bencher<'_, '_>, peers: usize) {
    let mut cluster = Cluster::up(peers);
    bencher.bench_local(|| cluster.hear(Reach::Same(0)));
    cluster.assert_up();
}
