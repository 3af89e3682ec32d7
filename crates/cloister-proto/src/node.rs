//! The state machine: events and time in, actions out.

use std::fmt;
use std::sync::Arc;

use crate::action::Action;
use crate::change::ClusterState;
use crate::event::{Event, LinkId};
use crate::name::{Address, NodeId};
use crate::settings::Settings;
use crate::time::Time;
use crate::view::{Epoch, Member, View};

/// One node of a cluster, without clock, socket or task.
#[derive(Debug)]
pub struct Node {
    state: Arc<ClusterState>,
}

/// What a node knows of a peer.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// Who it is.
    pub member: Member,
    /// The open link to it, if there is one.
    pub link: Option<LinkId>,
    /// When the last byte came in.
    pub last_heard: Time,
    /// Whom it hears, by its own word.
    pub reach: Arc<[NodeId]>,
    /// The epoch of the view it installed last.
    pub installed: Epoch,
}

/// Something that keeps a node from being `Up`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Fewer nodes hear each other than consensus asks for.
    TooFew {
        /// How many there are, this node included.
        present: usize,
        /// How many are needed.
        needed: usize,
    },
    /// This address is named by discovery and neither answers nor refuses.
    Unaccounted(Address),
    /// Discovery has not answered yet.
    NotDiscovered,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::TooFew { present, needed } => {
                write!(f, "{present} of {needed} nodes are connected: {} more needed", needed - present)
            }
            Obstacle::Unaccounted(address) => write!(f, "{address} neither answers nor refuses"),
            Obstacle::NotDiscovered => f.write_str("discovery has not answered yet"),
        }
    }
}

impl Node {
    /// A node that starts now. Call [`Node::next_action`] at once: a single node is up without any event.
    pub fn new(settings: Settings, _now: Time) -> Self {
        Self { state: Arc::new(ClusterState::down(settings.me)) }
    }

    /// Takes in one event. Afterwards perform [`Node::next_action`] until it is `None`, then wake the node at
    /// [`Node::next_timeout`] with [`Event::Tick`].
    pub fn handle(&mut self, _now: Time, _event: Event) {}

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        None
    }

    /// When the node wants to be woken, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// The state that listeners were told last.
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// The view of which this node is a valid member until [`Node::lease_until`], if it is one.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.state.view.as_ref()
    }

    /// Until when this node may act as a member of its view, if it may at all. Compare with the clock at the
    /// very moment of acting.
    pub fn lease_until(&self) -> Option<Time> {
        None
    }

    /// What this node knows of every peer it is or was linked to, in order of age.
    pub fn peers(&self) -> Vec<PeerReport> {
        Vec::new()
    }

    /// Why this node is not `Up`; empty when it is.
    pub fn obstacles(&self, _now: Time) -> Vec<Obstacle> {
        Vec::new()
    }
}
