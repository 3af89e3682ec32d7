//! A few real nodes in one thread, all linked, with hardly a delay and no fault. One of them, Eve, is Byzantine: a test sends in its name.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use cloister_proto::{
    Action, Event, Incarnation, LinkId, Member, Message, Node, NodeId, PeerTerms, Settings, Status, Time,
};

/// When they start, in milliseconds of the unix time: in November 2026.
pub const START_MS: u64 = 1_795_000_000_000;

/// How long a message is under way.
const TRANSIT: Duration = Duration::from_micros(20);

/// Nodes that are all linked. Eve is the last in the list, whatever its age.
#[derive(Debug)]
pub struct MemoryCluster {
    now: Time,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Each node as a member.
    pub members: Vec<Member>,
    linked: BTreeSet<(usize, usize)>,
    in_flight: VecDeque<(usize, usize, Message)>,
    /// The last heartbeat that Eve's own core sent.
    pub honest: Option<cloister_proto::wire::Heartbeat>,
    /// Whether a node could not go on.
    pub failed: bool,
}

impl MemoryCluster {
    /// `number` nodes, up with one view that needs `consensus` of them. Eve is the oldest or the youngest.
    #[must_use]
    pub fn up(number: usize, consensus: usize, eve_is_oldest: bool) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let member = |at: usize| {
            let age = if eve_is_oldest && at + 1 == number { 0 } else { 1 + at as u64 };
            let name = format!("app@10.0.0.{}:4370", at + 1).parse().expect("a name");
            Member::without_tags(NodeId::new(name, Incarnation(77 + at as u64), START_MS + age))
        };
        let members: Vec<_> = (0..number).map(member).collect();
        let consensus = NonZeroUsize::new(consensus).expect("at least one");
        let settings =
            |(at, member): (usize, &Member)| Settings::new(member.clone(), consensus, at as u64 + 1);
        let nodes =
            members.iter().enumerate().map(settings).map(|settings| Node::new(settings, now)).collect();
        let (linked, in_flight) = Default::default();
        let mut cluster = Self { now, nodes, members, linked, in_flight, honest: None, failed: false };
        for at in 0..number {
            let (unverified, refusing, named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            cluster.feed(at, Event::DiscoveryUpdate { unverified, refusing, named, complete: true });
        }
        for at in 0..number {
            for other in 0..number {
                cluster.link(at, other);
            }
        }
        cluster.settle();
        cluster.advance(Duration::from_secs(1));
        cluster
    }

    /// The index of Eve.
    pub fn eve(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The present time.
    pub fn now(&self) -> Time {
        self.now
    }

    fn link(&mut self, at: usize, other: usize) {
        if at == other {
            return;
        }
        self.linked.insert((at, other));
        let terms = PeerTerms::new(Duration::from_secs(2));
        let peer = self.members[other].clone();
        self.feed(at, Event::Linked { link: LinkId(other as u64), peer, terms });
    }

    /// Ends Eve: its address refuses.
    pub fn kill_eve(&mut self) {
        let eve = self.eve();
        for at in 0..eve {
            if self.linked.remove(&(at, eve)) {
                self.feed(at, Event::Unlinked { link: LinkId(eve as u64), at: self.now });
            }
            let address = self.members[eve].id.name().address().expect("an address").clone();
            self.feed(at, Event::Refused { address, began: self.now });
        }
        self.linked.retain(|(at, other)| *at != eve && *other != eve);
        self.settle();
    }

    /// Eve sends a message to one of the others, in bytes. Returns whether it could be decoded.
    pub fn eve_sends(&mut self, to: usize, message: &Message) -> bool {
        self.deliver(to, self.eve(), message)
    }

    /// A node receives a message in the name of another, in bytes. Returns whether it could be decoded.
    pub fn deliver(&mut self, to: usize, from: usize, message: &Message) -> bool {
        let Ok(message) = Message::decode(&message.encode()) else { return false };
        self.feed(to, Event::Received { link: LinkId(from as u64), message });
        self.settle();
        true
    }

    /// Lets time pass. No node is silent, and every timer is on time.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = (0..self.nodes.len()).filter(|at| self.is_running(*at));
            let next = due.filter_map(|at| self.nodes[at].next_timeout().map(|due| (due, at))).min();
            let Some((due, at)) = next.filter(|(due, _)| *due <= end) else { break };
            self.now = self.now.max(due);
            for other in 0..self.nodes.len() {
                if self.linked.contains(&(at, other)) {
                    let received = Event::BytesReceived { link: LinkId(other as u64), at: self.now };
                    self.nodes[at].handle(self.now, received);
                }
            }
            self.feed(at, Event::Tick);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    fn is_running(&self, at: usize) -> bool {
        at != self.eve() || self.linked.iter().any(|(from, _)| *from == at)
    }

    fn feed(&mut self, at: usize, event: Event) {
        self.nodes[at].handle(self.now, event);
    }

    fn settle(&mut self) {
        // Every message is answered by one at most for each node, so this ends; a bound in case a change breaks that.
        for _ in 0..100_000 {
            for at in 0..self.nodes.len() {
                self.perform(at);
            }
            let Some((from, to, message)) = self.in_flight.pop_front() else { return };
            // Without it a report from before a commit would look like one from after it.
            self.now = self.now + TRANSIT;
            if self.linked.contains(&(to, from)) {
                self.feed(to, Event::Received { link: LinkId(from as u64), message });
            }
        }
        panic!("the nodes never stop sending");
    }

    fn perform(&mut self, at: usize) {
        while let Some(action) = self.nodes[at].next_action() {
            match action {
                Action::Send { link, message } => {
                    if at == self.eve()
                        && let Message::Heartbeat(heartbeat) = &message
                    {
                        self.honest = Some(heartbeat.clone());
                    }
                    let message = Message::decode(&message.encode()).expect("an honest message is one");
                    self.in_flight.push_back((at, usize::try_from(link.0).expect("small"), message));
                }
                Action::Close { link, .. } => {
                    let other = usize::try_from(link.0).expect("small");
                    self.linked.remove(&(at, other));
                    if self.linked.remove(&(other, at)) {
                        self.feed(other, Event::Unlinked { link: LinkId(at as u64), at: self.now });
                    }
                }
                Action::Notify(change) => {
                    if let Some(held) = change.hold {
                        self.feed(at, Event::HoldReleased { held });
                    }
                }
                Action::Fail(_) => self.failed = true,
                Action::Connect { .. } | Action::Stopped => {}
                other => panic!("an unexpected action: {other:?}"),
            }
        }
    }

    /// The state of node `at`: status, epoch, names of the members, whether it may act.
    pub fn state_of(&self, at: usize) -> (Status, Option<u64>, Vec<String>, bool) {
        let node = &self.nodes[at];
        let state = node.state();
        let members = state.members.iter().map(|member| member.id.to_string()).collect();
        let acts = node.lease_until().is_some_and(|until| self.now < until);
        (state.status, state.epoch().map(|epoch| epoch.as_u64()), members, acts)
    }

    /// The states of all but Eve.
    pub fn states(&self) -> Vec<(Status, Option<u64>, Vec<String>, bool)> {
        (0..self.eve()).map(|at| self.state_of(at)).collect()
    }
}
