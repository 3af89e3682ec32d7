//! The messages of the actors. Each part may import them; they import no actor.

use std::net::SocketAddr;

use cloister_net::links::LinkEvent;
use cloister_proto::{Held, NodeName, Obstacle, PeerReport, Time};
use ractor::{ActorCell, ActorId, RpcReplyPort};
use ractor_cluster::RactorMessage;

use crate::error::ExitReason;

/// What the manager receives from its own parts.
///
/// Programs need its name only, as in `ActorRef<ManagerMessage>`. [`ManagerActor`](crate::ManagerActor) has an example.
#[derive(Debug, RactorMessage)]
pub struct ManagerMessage(pub(crate) Command);

/// The orders and reports that a [`ManagerMessage`] carries.
#[derive(Debug)]
pub(crate) enum Command {
    /// Find out the address of this node, and begin an incarnation.
    Identify,
    /// The name and the address of this node are known.
    Identified(Identity),
    /// This node must find out its address anew, for this reason.
    Moved(String),
    /// The node is up.
    Up,
    /// This node was asked to leave: it drains, and then the manager stops.
    Leave,
    /// This node cannot go on.
    Failed(ExitReason),
    /// Start a child again.
    StartChild {
        /// Its number.
        child: usize,
    },
    /// A child has started, or not.
    ChildStarted {
        /// Its number.
        child: usize,
        /// The actor, or why there is none.
        started: Result<ActorCell, String>,
    },
    /// A child had ended when its start was heard of.
    ChildOver {
        /// Its actor.
        actor: ActorId,
    },
}

/// The name and the address of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: NodeName,
    /// Where it listens; `None` for a node without a network.
    pub(crate) bind: Option<SocketAddr>,
    /// How many entries of the list are this node.
    pub(crate) entries: usize,
    /// Whether its host is an address of this machine, so that a refusal of it is this machine's.
    pub(crate) own: bool,
}

/// What the monitor receives.
#[derive(Debug, RactorMessage)]
pub(crate) enum MonitorMessage {
    /// Something happened on a link, then.
    Link(LinkEvent, Time),
    /// The time that the core asked for has come.
    Tick,
    /// No listener holds this any more.
    HoldReleased(Held),
    /// What the core would have to remember, up to this number, is kept.
    Remembered(u64),
    /// What it would have to remember cannot be kept, for this reason.
    NotRemembered(String),
    /// Leave, and answer when this node has left: not before [`MonitorMessage::Finished`] or `leave_timeout`.
    Leave(RpcReplyPort<()>),
    /// A listener warms up before planned changes.
    WarmsUp,
    /// This node wants to leave; answered when the others have warmed up, or are not waited for.
    Drain(RpcReplyPort<()>),
    /// The manager of a node that leaves has stopped its children, and its actors have answered.
    Finished,
    /// Say how things are.
    Report(RpcReplyPort<CoreReport>),
}

/// How things are inside the core.
#[derive(Clone, Debug)]
pub(crate) struct CoreReport {
    /// What keeps the node from being up.
    pub(crate) obstacles: Vec<Obstacle>,
    /// What it knows of its peers.
    pub(crate) peers: Vec<PeerReport>,
}
