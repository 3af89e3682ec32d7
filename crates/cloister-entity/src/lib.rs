//! Entities of Cloister: one object for each key, on the node that owns the key. No code of the program runs when it moves.
//!
//! ```
//! # extern crate cloister_core as cloister;
//! use cloister::{Config, ManagerActor, ManagerArguments};
//! use cloister_entity::{Context, DefineEntities, Entity, EntityOptions, HandlerError};
//! use serde::{Deserialize, Serialize};
//! # use cloister::ractor::Actor;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl Entity for Counter {
//!     const NAME: &'static str = "counter";
//!     type Message = u64;
//!     type Reply = u64;
//!
//!     async fn handle(&mut self, _: &mut Context<'_, Self>, add: u64) -> Result<u64, HandlerError> {
//!         self.0 += add;
//!         Ok(self.0)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut arguments = ManagerArguments::new(Config::new("shop"))?;
//! let counters = arguments.entities::<Counter>(EntityOptions::default().copies(2))?;
//! # let cloister = arguments.handle();
//! # Actor::spawn(None, ManagerActor, arguments).await?;
//!
//! assert_eq!(counters.call("visits", 2).await?, 2);
//! assert_eq!(counters.call("visits", 3).await?, 5);
//! # cloister.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! Programs use it by the crate `cloister`, which re-exports it.
//!
//! # Layout
//!
//! - `entity.rs`, `context.rs`: what a program writes, and what its handler sees.
//! - `entities.rs`: the handle that messages are sent by.
//! - `objects.rs`, `objects/clock.rs`: which entities of this node have work; which are idle, and whose timers are due.
//! - `objects/serving.rs`: what the table tells them: messages, slots that are served, rounds.
//! - `objects/timed.rs`: finds the timers in the rows of slots that are served.
//! - `objects/running.rs`: what the task of an entity works with, and what becomes of it if its runtime ends.
//! - `objects/one_way.rs`: messages that were accepted and whose senders do not wait; a node that leaves waits for them.
//! - `objects/write_through.rs`: when states that are written lazily are written at once.
//! - `object.rs`, `object/handler.rs`, `object/writing.rs`: one entity: load; a message in its handler; write.
//! - `later.rs`, `later/named.rs`: replies that are given after their handler has returned, and their names in a state.
//! - `recent.rs`: the answers of messages that were applied to a state which is written lazily.
//! - `store.rs`: where states are kept, if not on the nodes.
//! - `views.rs`: which views this node was up in, without a gap.
//! - `saved.rs`: the state as it is kept in a store.
//! - `row.rs`, `timers.rs`, `answer.rs`: the state as a row of a table, with its timers; what a message is answered.

mod answer;
mod context;
mod entities;
mod entity;
mod error;
mod later;
mod object;
mod objects;
mod options;
mod recent;
mod row;
mod saved;
mod store;
#[cfg(test)]
mod testing;
mod timers;
mod views;

pub use context::{Context, TimerId};
pub use entities::{DefineEntities, Entities};
pub use entity::{Entity, HandlerError};
pub use error::{EntityError, Failure, TrySendError};
pub use later::ReplyLater;
pub use options::{Durability, EntityOptions};
pub use store::{EntityId, Store, StoreError, StoreFuture};
