//! What nodes say to each other.

use std::sync::Arc;
use std::time::Duration;

use crate::goodbye::Goodbye;
use crate::hello::{Hello, Refusal};
use crate::name::NodeId;
use crate::view::{Epoch, View};

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// The first word on a new link. Never reaches the core's state machine.
    Hello(Hello),
    /// The last word on a link that does not fit. Never reaches the core's state machine.
    Refused(Refusal),
    /// I live, and this is how things are here.
    Heartbeat(Heartbeat),
    /// Let this be the next view. Its sender is the proposer.
    Propose(View),
    /// A member's word on a proposal.
    Reply {
        /// The epoch of the proposal.
        epoch: Epoch,
        /// What the member says.
        reply: ProposalReply,
    },
    /// Every member has prepared: install.
    Commit {
        /// The epoch of the proposal.
        epoch: Epoch,
    },
    /// You have the name of an older node that lives: end.
    DuplicateName {
        /// The older node.
        older: NodeId,
    },
}

/// A member's word on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalReply {
    /// I take part in no earlier view any more; my listeners are being told.
    Promise,
    /// None of my listeners holds it: I am prepared.
    Ack,
    /// No: I have promised this higher epoch.
    StaleEpoch(Epoch),
    /// No: I am on my way out.
    Leaving,
}

/// I live, and this is how things are here.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Heartbeat {
    /// The sender's clock when it sent this, in nanoseconds; rises with each heartbeat on a link.
    pub sent: u64,
    /// The newest `sent` that the sender has handled from the receiver; 0 for none.
    pub echo: u64,
    /// For how long the sender's process has run.
    pub age: Duration,
    /// Whom the sender hears.
    pub reach: Reach,
    /// The epoch of the last view the sender installed; zero for none ever.
    pub installed: Epoch,
    /// The highest epoch it has promised.
    pub promised: Epoch,
    /// Whether it is prepared for `promised`.
    pub prepared: bool,
    /// It claims nothing from views at or below this epoch.
    pub released_epoch: Epoch,
    /// The highest epoch it has heard of.
    pub max_epoch_seen: Epoch,
    /// What its wall clock shows, in milliseconds since the Unix epoch; 0 from builds that do not say.
    pub unix_ms: u64,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether it waits for its first lease and would like an answer at once. Answers do not ask.
    pub wants_echo: bool,
    /// How many nodes its cluster counts, by its own count; 0 for a node that was in none.
    pub size: usize,
    /// Its newest view: the one it installed last, or one that it acknowledged since; zero for none.
    pub base: Epoch,
    /// Whether it can neither follow its views nor begin a cluster with the nodes that it hears.
    pub objects: bool,
    /// Goodbyes that the receiver has not been sent before.
    pub goodbyes: Vec<Goodbye>,
    /// Earlier lives of the sender's process which the views that it remembers name. They have ended.
    pub former: Vec<NodeId>,
}

/// Whom a node hears.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Reach {
    /// These nodes, itself included, in order of age.
    Nodes(Arc<[NodeId]>),
    /// The same as in the heartbeat before, with this hash.
    Same(u64),
}

#[cfg(test)]
impl Heartbeat {
    /// Of a node that has just begun and hears nobody else.
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
        }
    }
}

impl Message {
    /// A word for logs and counters.
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
