//! What the shell has been asked to keep over a restart, and what it has kept.

use std::collections::BTreeSet;

use crate::name::NodeId;
use crate::view::Epoch;

/// How the memory of a node stands. Only a node with a state file has one.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Persistence {
    /// Earlier lives of this node that the views which it remembers name. They have ended.
    pub(crate) former: Vec<NodeId>,
    /// Members of these views whose address refused a connection since. This node may never have been linked to them.
    pub(crate) exited: BTreeSet<NodeId>,
    /// The number of the last memory that the shell was asked to keep.
    pub(crate) requested: u64,
    /// The number of the last memory that it has kept.
    pub(crate) persisted: u64,
    /// What the last memory was made of.
    pub(crate) last_contents: Option<Contents>,
    /// Why the shell cannot keep it now.
    pub(crate) error: Option<String>,
}

/// How far the view that this node has promised is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PersistState {
    /// It need not be, or not yet.
    NotNeeded,
    /// It must be kept before it is acknowledged.
    Required,
    /// It is in the memory with this number.
    Requested(u64),
}

/// What a memory is made of: while it is the same, there is nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Contents {
    pub(crate) installed: Epoch,
    pub(crate) acknowledged: Vec<Epoch>,
    pub(crate) goodbyes: Vec<NodeId>,
}
