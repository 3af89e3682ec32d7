//! What the shell has been asked to persist, and what it has persisted.

use std::collections::BTreeSet;

use crate::name::NodeId;
use crate::view::Epoch;

/// The persistence of a node's memory. Only a node with a state file has one.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Persistence {
    /// Earlier incarnations of this node that its remembered views name. They have exited.
    pub(crate) former: Vec<NodeId>,
    /// Members of these views whose address has refused a connection since. This node may never have been linked to them.
    pub(crate) exited: BTreeSet<NodeId>,
    /// The number of the last memory that the shell was asked to persist.
    pub(crate) requested: u64,
    /// The number of the last memory that it has persisted.
    pub(crate) persisted: u64,
    /// The contents of the last memory.
    pub(crate) last_contents: Option<Contents>,
    /// Why the shell cannot persist it now.
    pub(crate) error: Option<String>,
}

/// How far the promised view is persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PersistState {
    /// It need not be persisted, or not yet.
    NotNeeded,
    /// It must be persisted before it is acknowledged.
    Required,
    /// It is in the memory with this number.
    Requested(u64),
}

/// The contents of a memory: while they are the same, there is nothing to persist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Contents {
    pub(crate) installed: Epoch,
    pub(crate) acknowledged: Vec<Epoch>,
    pub(crate) goodbyes: Vec<NodeId>,
}
