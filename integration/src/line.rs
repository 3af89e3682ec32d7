//! What a node prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of the standard output of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A listener was notified of a change.
    Notice(Notice),
    /// A command was obeyed.
    Replied(Replied),
    /// What the node answered to repeated questions over a while.
    Claimed(Claimed),
}

/// What a listener was notified of, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Nanoseconds of the clock that all processes of this host share.
    pub at: u64,
    /// Which listener.
    pub listener: String,
    /// The number of the change.
    pub seq: u64,
    /// The status before.
    pub from: String,
    /// The status now.
    pub to: String,
    /// The epoch of the installed view.
    pub epoch: Option<u64>,
    /// What is different.
    pub changes: Vec<Changed>,
    /// The members, `name#incarnation`.
    pub members: Vec<String>,
    /// The sentry, `name#incarnation`.
    pub sentry: Option<String>,
    /// How many slots this node takes.
    pub gained: usize,
    /// How many slots this node gives.
    pub lost: usize,
    /// Whether the round waits for this listener.
    pub held: bool,
    /// The greatest epoch that a member of the view of the rings had installed before it.
    #[serde(default)]
    pub predecessor: Option<u64>,
    /// The members of each named ring of `NODE_RINGS`, `name#incarnation`: of the view that is being agreed on, or is installed.
    #[serde(default)]
    pub rings: BTreeMap<String, Vec<Value>>,
}

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// As in the events of the admin server.
    pub kind: String,
    /// The node that it is about, `name#incarnation`.
    pub node: Option<String>,
    /// Why, if the node is down.
    pub reason: Option<String>,
}

/// What a command gave, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replied {
    /// Nanoseconds of the clock that all processes of this host share.
    pub at: u64,
    /// The command.
    pub command: String,
    /// What it gave.
    pub value: Value,
}

/// What a node that watches itself answered each time from one moment to another, a tenth of a second at most.
///
/// A claim is true at some instant while it is being asked for. So of a stretch of answers it is certain only between the end of the first
/// question and the beginning of the last. Of a single answer it is certain that it was true at an instant between the two: it meets
/// whatever was claimed for all of that time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The end of the first question, in nanoseconds of the clock that all processes of this host share.
    pub from: u64,
    /// The beginning of the last question; before `from` if there was only one.
    pub to: u64,
    /// The epoch of the installed view.
    pub epoch: Option<u64>,
    /// Whether the status was up.
    pub up: bool,
    /// Whether it claimed to be the sentry.
    pub sentry: bool,
    /// Which of the watched keys it claimed.
    pub mine: Vec<usize>,
    /// How often it was asked.
    pub samples: u64,
    /// The longest time between the beginnings of two questions, in nanoseconds; 0 if there was only one.
    pub apart: u64,
}

impl Notice {
    /// Whether the status is up.
    pub fn is_up(&self) -> bool {
        self.to == "up"
    }

    /// Whether it has a change of this kind about a node of this name.
    pub fn has_change(&self, kind: &str, name: &str) -> bool {
        self.change(kind, name).is_some()
    }

    /// The change of this kind that is about a node of this name.
    pub fn change(&self, kind: &str, name: &str) -> Option<&Changed> {
        let is_it = |node: &str| node.rsplit_once('#').is_some_and(|(its, _)| its == name);
        self.changes.iter().find(|change| change.kind == kind && change.node.as_deref().is_some_and(is_it))
    }

    /// The names of the members, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.members.iter().map(|id| id.rsplit_once('#').map_or(id.as_str(), |(name, _)| name)).collect();
        names.sort_unstable();
        names
    }
}
