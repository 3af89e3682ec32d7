//! The messages of the protocol.

use std::sync::Arc;
use std::time::Duration;

use crate::goodbye::Goodbye;
use crate::hello::{Hello, Refusal};
use crate::name::NodeId;
use crate::view::{Epoch, View};

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// The first message on a link. Handled before the core's state machine.
    Hello(Hello),
    /// The last message on a link between incompatible nodes. Handled before the core's state machine.
    Refused(Refusal),
    /// The sender is alive; this is its state.
    Heartbeat(Heartbeat),
    /// A proposal of the next view. Its sender is the proposer.
    Propose(View),
    /// A member's reply to a proposal.
    Reply {
        /// The epoch of the proposal.
        epoch: Epoch,
        /// The reply.
        reply: ProposalReply,
    },
    /// Every member has acknowledged the proposal: install it.
    Commit {
        /// The epoch of the proposal.
        epoch: Epoch,
    },
    /// An older live node has the receiver's name, so the receiver must end.
    DuplicateName {
        /// The older node.
        older: NodeId,
    },
}

/// A member's reply to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalReply {
    /// The member no longer takes part in an earlier view, and notifies its listeners.
    Promise,
    /// No listener holds the view: the member is prepared.
    Ack,
    /// Refused: the member has promised this higher epoch.
    StaleEpoch(Epoch),
    /// Refused: the member is leaving.
    Leaving,
}

/// A heartbeat: the sender is alive, and this is its state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Heartbeat {
    /// The sender's clock when it sent this, in nanoseconds; rises with each heartbeat on a link.
    pub sent: u64,
    /// The newest `sent` that the sender has processed from the receiver; 0 for none.
    pub echo: u64,
    /// For how long the sender's process has run.
    pub age: Duration,
    /// The nodes that the sender reaches.
    pub reach: Reach,
    /// The epoch of the last view the sender installed; zero for none ever.
    pub installed: Epoch,
    /// The highest epoch it has promised.
    pub promised: Epoch,
    /// Whether it is prepared for `promised`.
    pub prepared: bool,
    /// The sender has released every view up to this epoch, and claims nothing by them.
    pub released_epoch: Epoch,
    /// The highest epoch that it has seen.
    pub max_epoch_seen: Epoch,
    /// Its wall clock, in milliseconds since the Unix epoch; 0 from builds that do not send it.
    pub unix_ms: u64,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether it waits for its first lease and asks for an immediate echo. Echoes do not ask.
    pub wants_echo: bool,
    /// How many nodes its cluster counts, by its own count; 0 for a node that was in none.
    pub size: usize,
    /// Its newest view: the one it installed last, or one that it acknowledged since; zero for none.
    pub base: Epoch,
    /// Whether it can neither follow its views nor begin a cluster with the nodes that it reaches.
    pub objects: bool,
    /// Goodbyes that the receiver has not been sent before.
    pub goodbyes: Vec<Goodbye>,
    /// Earlier incarnations of the sender that its remembered views name. They have exited.
    pub former: Vec<NodeId>,
    /// Whether its listeners warm up before a planned change of the membership.
    pub warms: bool,
    /// Whether it wants to leave. It is still a member like any other.
    pub drains: bool,
    /// The number of the announced change that it has warmed up for; 0 for none.
    pub warmed: u64,
    /// The change of the membership that it plans, as the proposer.
    pub intent: Option<Intent>,
}

/// A change of the membership that its proposer announces before the round, so that listeners can warm up while all nodes stay up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Tells it from the other ones of this proposer. Not zero.
    pub number: u64,
    /// The planned members, in order of age.
    pub members: Arc<[NodeId]>,
    /// Whether all of them have warmed up, or are not waited for any longer.
    pub ready: bool,
}

/// The nodes that a node reaches.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Reach {
    /// These nodes, itself included, in order of age.
    Nodes(Arc<[NodeId]>),
    /// The same as in the heartbeat before, with this hash.
    Same(u64),
}

#[cfg(test)]
impl Heartbeat {
    /// The first heartbeat of a node that reaches no other.
    pub(crate) fn first() -> Self {
        Self {
            sent: 1,
            echo: 0,
            age: Duration::ZERO,
            reach: Reach::Same(0),
            installed: Epoch::ZERO,
            promised: Epoch::ZERO,
            prepared: false,
            released_epoch: Epoch::ZERO,
            max_epoch_seen: Epoch::ZERO,
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
        }
    }
}

impl Message {
    /// The kind as a word, for logs and counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Hello(_) => "hello",
            Message::Refused(_) => "refused",
            Message::Heartbeat(_) => "heartbeat",
            Message::Propose(_) => "propose",
            Message::Reply { reply: ProposalReply::Promise, .. } => "promise",
            Message::Reply { reply: ProposalReply::Ack, .. } => "ack",
            Message::Reply { .. } => "nack",
            Message::Commit { .. } => "commit",
            Message::DuplicateName { .. } => "duplicate_name",
        }
    }
}
