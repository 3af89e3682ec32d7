//! Tables of Cloister: keyed data with copies, which follows the views of the cluster. No code of the program runs for a hand-over.
//!
//! ```
//! # extern crate cloister_core as cloister;
//! use cloister::{Config, ManagerActor, ManagerArguments};
//! use cloister_table::{DefineTable, TableOptions};
//! # use cloister::ractor::Actor;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut arguments = ManagerArguments::new(Config::new("shop"))?;
//! let stock = arguments.table::<String, u32>("stock", TableOptions::default().copies(2))?;
//! # let cloister = arguments.handle();
//! # Actor::spawn(None, ManagerActor, arguments).await?;
//!
//! let apples = "apples".to_owned();
//! assert_eq!(stock.insert(&apples, &7).await?, None);
//! assert_eq!(stock.get(&apples).await?, Some(7));
//! assert_eq!(stock.compare_and_swap(&apples, Some(&7), Some(&6)).await?, Ok(()));
//! assert_eq!(stock.len().await?, 1);
//! assert_eq!(stock.remove(&apples).await?, Some(6));
//! # cloister.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! Programs use it by the crate `cloister`, which re-exports it.
//!
//! # Layout
//!
//! - `table.rs`, `client.rs`: the typed methods, and an operation from its first attempt to its end.
//! - `shard.rs`: a part of the slots, as one state machine of `cloister-table-proto`, with the operations that wait for it.
//! - `core.rs`: the shards, and what they need of the cluster. Any thread may work in a shard: each is behind a lock of its own.
//! - `actor.rs`, `changes.rs`: what other nodes send, and what becomes of the cluster.
//! - `row.rs`: a value as it is kept, with its time to live.
//! - `watch.rs`: the present entries of some keys, then their changes.
//! - `wire.rs`: the bytes between the tables of two nodes.
//! - `service.rs`: what answers messages for keys at their owner, with the rows of a table as its memory. Entities are made of it.
//! - `leaving.rs`: what a service of a node that leaves still passes on.

mod actor;
mod blob;
mod changes;
mod client;
mod client_view;
mod core;
mod delivery;
mod error;
mod event;
mod exchange;
mod holds;
mod leaving;
mod message;
mod numbers;
mod options;
mod outgoing;
mod reply;
mod requests;
mod row;
mod send;
pub mod service;
mod shard;
mod standing;
mod start;
mod statistics;
mod table;
mod tasks;
mod watch;
mod watching;
mod wire;

use cloister_core::ManagerArguments;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::Purpose;

pub use cloister_table_proto::OnLoss;
#[cfg(feature = "test-support")]
pub use cloister_table_proto::rule::Rule;
pub use error::TableError;
pub use event::TableEvent;
pub use options::TableOptions;
pub use statistics::{TableStatistics, statistics};
pub use table::{MAX_KEY_BYTES, Table};
pub use watch::{Watch, WatchEvent};

/// Defines tables, before a node starts. [`ManagerArguments`] implements it.
///
/// The [page of the crate](crate) has an example.
pub trait DefineTable {
    /// Defines a table of this name: on all nodes, alike. It is there when the node is up.
    ///
    /// The same name twice is an error at the start: the node does not join.
    ///
    /// # Errors
    ///
    /// [`TableError::Definition`] if the name or the options are not possible, if there are more than 256 tables and entities, or if the
    /// node has been started.
    fn table<K, V>(&mut self, name: &str, options: TableOptions) -> Result<Table<K, V>, TableError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned;
}

impl DefineTable for ManagerArguments {
    fn table<K, V>(&mut self, name: &str, options: TableOptions) -> Result<Table<K, V>, TableError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let core = start::start_with(self, name, options, Purpose::Table)?;
        Ok(Table::new(core))
    }
}
