//! A few real nodes in one thread, all linked, with hardly a delay and no fault; and one of them says what it should not.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use cloister_proto::{
    Action, Event, Incarnation, LinkId, Member, Message, Node, NodeId, PeerTerms, Settings, Status, Time,
};

/// When they start, in milliseconds of the unix time: in November 2026.
pub(crate) const START_MS: u64 = 1_795_000_000_000;

/// How long a message is under way.
const TRANSIT: Duration = Duration::from_micros(20);

/// Nodes that are all linked. Eve is the last in the list, whatever her age.
pub(crate) struct Crowd {
    now: Time,
    pub(crate) nodes: Vec<Node>,
    pub(crate) members: Vec<Member>,
    linked: BTreeSet<(usize, usize)>,
    letters: VecDeque<(usize, usize, Message)>,
    /// What Eve has said of herself last.
    pub(crate) honest: Option<cloister_proto::wire::Heartbeat>,
    /// Whether a node could not go on.
    pub(crate) failed: bool,
}

impl Crowd {
    /// `number` nodes, up with one view that needs `consensus` of them. Eve is the oldest or the youngest.
    pub(crate) fn up(number: usize, consensus: usize, eve_is_oldest: bool) -> Self {
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
        let (linked, letters) = Default::default();
        let mut crowd = Self { now, nodes, members, linked, letters, honest: None, failed: false };
        for at in 0..number {
            let (unverified, refusing, named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            crowd.feed(at, Event::DiscoveryUpdate { unverified, refusing, named, complete: true });
        }
        for at in 0..number {
            for other in 0..number {
                crowd.link(at, other);
            }
        }
        crowd.settle();
        crowd.pass(Duration::from_secs(1));
        crowd
    }

    /// Who is Eve.
    pub(crate) fn eve(&self) -> usize {
        self.nodes.len() - 1
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
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

    /// Ends Eve: her address refuses.
    pub(crate) fn kill_eve(&mut self) {
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

    /// Eve says something to one of the others, in bytes.
    pub(crate) fn says(&mut self, to: usize, message: &Message) -> bool {
        self.is_told(to, self.eve(), message)
    }

    /// One hears something from another, in bytes, whether that has said it or not.
    pub(crate) fn is_told(&mut self, to: usize, from: usize, message: &Message) -> bool {
        let Ok(message) = Message::decode(&message.encode()) else { return false };
        self.feed(to, Event::Received { link: LinkId(from as u64), message });
        self.settle();
        true
    }

    /// Lets time pass. Nobody is silent, and every timer rings when it should.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = (0..self.nodes.len()).filter(|at| self.lives(*at));
            let next = due.filter_map(|at| self.nodes[at].next_timeout().map(|due| (due, at))).min();
            let Some((due, at)) = next.filter(|(due, _)| *due <= end) else { break };
            self.now = self.now.max(due);
            for other in 0..self.nodes.len() {
                if self.linked.contains(&(at, other)) {
                    let heard = Event::BytesReceived { link: LinkId(other as u64), at: self.now };
                    self.nodes[at].handle(self.now, heard);
                }
            }
            self.feed(at, Event::Tick);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    fn lives(&self, at: usize) -> bool {
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
            let Some((from, to, message)) = self.letters.pop_front() else { return };
            // Without it a report from before a commit would look like one from after it.
            self.now = self.now + TRANSIT;
            if self.linked.contains(&(to, from)) {
                self.feed(to, Event::Received { link: LinkId(from as u64), message });
            }
        }
        panic!("they never stop talking");
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
                    self.letters.push_back((at, usize::try_from(link.0).expect("small"), message));
                }
                Action::Close { link, .. } => {
                    let other = usize::try_from(link.0).expect("small");
                    self.linked.remove(&(at, other));
                    if self.linked.remove(&(other, at)) {
                        self.feed(other, Event::Unlinked { link: LinkId(at as u64), at: self.now });
                    }
                }
                Action::Notify(change) => {
                    if let Some(epoch) = change.hold {
                        self.feed(at, Event::HoldReleased { epoch });
                    }
                }
                Action::Fail(_) => self.failed = true,
                Action::Connect { .. } | Action::Stopped => {}
                other => panic!("what is {other:?}?"),
            }
        }
    }

    /// What node `at` takes for the truth: status, epoch, names of the members, whether it may act.
    pub(crate) fn truth(&self, at: usize) -> (Status, Option<u64>, Vec<String>, bool) {
        let node = &self.nodes[at];
        let state = node.state();
        let members = state.members.iter().map(|member| member.id.to_string()).collect();
        let acts = node.lease_until().is_some_and(|until| self.now < until);
        (state.status, state.epoch().map(|epoch| epoch.as_u64()), members, acts)
    }

    /// What all but Eve take for the truth.
    pub(crate) fn truths(&self) -> Vec<(Status, Option<u64>, Vec<String>, bool)> {
        (0..self.eve()).map(|at| self.truth(at)).collect()
    }
}
