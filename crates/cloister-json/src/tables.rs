//! `GET /tables`.

use serde::{Deserialize, Serialize};

/// How the tables and entities of a node stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// The node that answers.
    pub node: String,
    /// Its tables, by kind and name.
    #[serde(default)]
    pub tables: Vec<TableRow>,
}

/// How a table stands at a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// `table`, or `entity` for the states of entities.
    #[serde(default)]
    pub kind: String,
    /// How many copies of each row there should be.
    #[serde(default)]
    pub copies: u64,
    /// How many rows this node has, with copies of those that other nodes own.
    #[serde(default)]
    pub rows: u64,
    /// The bytes of their keys and values, and of answers that may be asked for again.
    #[serde(default)]
    pub bytes: u64,
    /// How many slots this node is fetching.
    #[serde(default)]
    pub moving: u64,
    /// How many slots of this node have fewer copies than they should, or are not served yet.
    #[serde(default)]
    pub under_replicated: u64,
    /// How many more members it takes for all copies; 0 if they are there, or are being made.
    #[serde(default)]
    pub missing_nodes: u64,
    /// How many slots have lost writes since the process began, or may have, while this node owned them.
    #[serde(default)]
    pub lost: u64,
}
