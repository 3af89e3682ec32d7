//! A universe with a Byzantine node, Eve. Eve runs as the others do; a test sends messages in its name besides.

use std::time::Duration;

use cloister_proto::wire::Heartbeat;
use cloister_proto::{Event, LinkId, Member, Message, NodeId, Rejection, Status, Time};

use super::Universe;

/// The host of Eve, in a universe of [`Universe::with_eve`]. The hosts before it are honest.
pub const EVE: usize = 3;

/// How many of the nodes a view needs.
const CONSENSUS: usize = 3;

/// What a node is at one moment, so that a test can compare two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Its status; `Down` if it does not run.
    pub status: Status,
    /// The epoch of its view, as a number.
    pub epoch: Option<u64>,
    /// The members of its view.
    pub members: Vec<NodeId>,
    /// Whether it may act.
    pub acts: bool,
}

/// The last heartbeat that the node on one host sent.
#[derive(Clone, Debug, Hash)]
pub(super) struct LastHeartbeat {
    host: usize,
    heartbeat: Option<Heartbeat>,
}

impl Universe {
    /// Three honest nodes and Eve, up in one view for a second. Eve is the oldest or the youngest; the others are in the order of
    /// their hosts.
    #[must_use]
    pub fn with_eve(is_oldest: bool) -> Self {
        let mut universe = Self::new(EVE + 1, CONSENSUS);
        universe.last_heartbeat = Some(LastHeartbeat { host: EVE, heartbeat: None });
        let order = if is_oldest { [EVE, 0, 1, 2] } else { [0, 1, 2, EVE] };
        for at in order {
            universe.start(at);
            // The age of a node is the millisecond of its start.
            universe.run(Duration::from_millis(1));
        }
        assert!(universe.run_until(|universe| order.iter().all(|at| universe.members(*at) == order.len())));
        universe.run(Duration::from_secs(1));
        universe
    }

    /// The present time on the monotonic clock of every host.
    pub fn clock(&self) -> Time {
        self.now
    }

    /// Keeps the last heartbeat of Eve.
    pub(super) fn keep_heartbeat(&mut self, at: usize, message: &Message) {
        if let Some(last) = &mut self.last_heartbeat
            && last.host == at
            && let Message::Heartbeat(heartbeat) = message
        {
            last.heartbeat = Some(heartbeat.clone());
        }
    }

    /// The last heartbeat that Eve's own core sent.
    pub fn honest_heartbeat(&self) -> Option<&Heartbeat> {
        self.last_heartbeat.as_ref()?.heartbeat.as_ref()
    }

    /// Eve sends a message to one of the others, in bytes. Returns whether it could be decoded.
    pub fn eve_sends(&mut self, to: usize, message: &Message) -> bool {
        self.deliver(to, EVE, message)
    }

    /// A node receives a message in the name of another at once, in bytes, by the link between them. Returns whether the message could
    /// be decoded.
    pub fn deliver(&mut self, to: usize, from: usize, message: &Message) -> bool {
        let Ok(message) = Message::decode(&message.encode()) else { return false };
        if let Some(link) = self.open_link(to, from) {
            self.give(to, Event::Received { link, message });
            self.settle();
        }
        true
    }

    fn open_link(&self, at: usize, other: usize) -> Option<LinkId> {
        let links = self.network.of_pair(at, other).into_iter().map(|(link, _)| link);
        links.rev().find(|link| self.network.open_end(at, *link).is_some())
    }

    /// The processes that run, as members.
    pub fn running_members(&self) -> Vec<Member> {
        self.hosts.iter().filter_map(|host| Some(host.process.as_ref()?.me.clone())).collect()
    }

    /// How often this node rejected messages for this reason.
    pub fn rejections(&self, at: usize, reason: Rejection) -> u64 {
        self.node(at).and_then(|node| node.rejections().get(&reason)).copied().unwrap_or(0)
    }

    /// What the node on this host is now.
    pub fn node_state(&self, at: usize) -> NodeState {
        let state = self.node(at).map(|node| node.state());
        NodeState {
            status: self.status(at),
            epoch: state.and_then(|state| state.epoch()).map(|epoch| epoch.as_u64()),
            members: state
                .map_or_else(Vec::new, |state| state.members.iter().map(|m| m.id.clone()).collect()),
            acts: self.acts(at).is_some(),
        }
    }

    /// What each honest node is now.
    pub fn honest_states(&self) -> Vec<NodeState> {
        (0..EVE).map(|at| self.node_state(at)).collect()
    }

    /// Whether every node runs.
    pub fn all_run(&self) -> bool {
        (0..self.hosts.len()).all(|at| self.is_running(at))
    }

    /// Whether every honest node runs.
    pub fn all_honest_run(&self) -> bool {
        (0..EVE).all(|at| self.is_running(at))
    }
}
