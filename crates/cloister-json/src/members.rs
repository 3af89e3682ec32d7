//! `GET /members`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The cluster as one node sees it.
///
/// Only the name and the status of the node are required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The name of the node.
    pub node: String,
    /// Its incarnation, a decimal number.
    #[serde(default)]
    pub incarnation: Option<String>,
    /// How far it has come, such as `up`.
    pub status: String,
    /// The epoch of the view that it installed last, a decimal number.
    #[serde(default)]
    pub epoch: Option<String>,
    /// How many changes the node has seen.
    #[serde(default)]
    pub seq: Option<u64>,
    /// The minimal number of members of a first view (quorum).
    #[serde(default)]
    pub consensus: Option<u64>,
    /// The settings that all nodes should have alike, as text, by their names in the configuration; `rings` are the named
    /// rings. Then what its program has defined, as `table stock`: such names have a space.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What the cluster can lose; `null` while the node is in no view.
    #[serde(default)]
    pub split: Option<Split>,
    /// What the next loss or split would do: one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The name of the sentry (leader).
    #[serde(default)]
    pub sentry: Option<String>,
    /// Whether this node is the sentry, by a lease that it holds.
    #[serde(default)]
    pub is_sentry: Option<bool>,
    /// The members, the oldest first.
    #[serde(default)]
    pub members: Vec<Member>,
    /// The other nodes, and the addresses where nodes may be.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// The ring over all members.
    #[serde(default)]
    pub ring: Option<Ring>,
    /// The named rings.
    #[serde(default)]
    pub rings: Vec<NamedRing>,
}

/// What the cluster can lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Which part goes on when the network splits, as in the configuration.
    #[serde(default)]
    pub policy: Option<String>,
    /// How many members the view has.
    #[serde(default)]
    pub members: Option<u64>,
    /// How many nodes the cluster counts.
    #[serde(default)]
    pub counted: Option<u64>,
    /// How many members may crash at once while the rest goes on.
    #[serde(default)]
    pub spare: Option<u64>,
    /// Whether two parts of a split may both go on.
    #[serde(default)]
    pub allows_two: Option<bool>,
}

/// A member of the installed view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its incarnation, a decimal number.
    #[serde(default)]
    pub incarnation: Option<String>,
    /// When its process started by the clock of its machine, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub started_at: Option<u64>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether the node that answers hears of it at present.
    #[serde(default)]
    pub live: Option<bool>,
}

/// A peer, and how the node that answers stands to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, once it is known.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it is looked for.
    #[serde(default)]
    pub address: Option<String>,
    /// `linked`, `dialling`, `refused`, `unreachable` or `self`.
    pub state: String,
    /// Why the last attempt to link it failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// How many milliseconds ago its last byte came in.
    #[serde(default)]
    pub last_heard_ms: Option<u64>,
    /// The nodes that it reports as reachable.
    #[serde(default)]
    pub reaches: Vec<String>,
    /// The version of its application, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Settings that it has otherwise.
    #[serde(default)]
    pub differs: Vec<Difference>,
}

/// A setting that two nodes have different values of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name in the configuration.
    pub key: String,
    /// The value of the node that answers.
    #[serde(default)]
    pub here: String,
    /// The value of the peer.
    #[serde(default)]
    pub there: String,
}

/// The ring over all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// How many slots it has.
    #[serde(default)]
    pub slots: Option<u64>,
    /// How many of them the node that answers owns, by a lease that it holds.
    #[serde(default)]
    pub mine: Option<u64>,
    /// How many each member owns.
    #[serde(default)]
    pub owners: Vec<Owner>,
}

/// A ring over the members with certain tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRing {
    /// Its name in the configuration.
    pub name: String,
    /// How many slots each of its members owns.
    #[serde(default)]
    pub owners: Vec<Owner>,
}

/// How many slots a member owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The name of the member.
    pub node: String,
    /// How many slots.
    pub slots: u64,
}
