//! Entities, on a node that is alone and on a few nodes. One program holds all tests: it is linked once, and while one test waits another one
//! runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

mod alone;
mod cluster;
mod fenced;
mod hung;
mod later;
mod lazy;
mod longer;
mod repeats;
mod runtimes;
mod timers;

use cloister::{Cloister, Config, ManagerArguments};
use cloister_entity::{Context, DefineEntities, Entities, Entity, EntityOptions, HandlerError};
use serde::{Deserialize, Serialize};

/// A node with entities of one kind.
async fn start<E: Entity>(config: Config, options: EntityOptions) -> (Cloister, Entities<E>) {
    let mut arguments = ManagerArguments::new(config).unwrap();
    let entities = arguments.entities::<E>(options).unwrap();
    (cloister::start_with_arguments(arguments).await.unwrap(), entities)
}

/// Adds up what it is sent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sum(u64);

impl Entity for Sum {
    const NAME: &'static str = "sum";
    type Message = u64;
    type Reply = u64;

    async fn handle(&mut self, _: &mut Context<'_, Self>, add: u64) -> Result<u64, HandlerError> {
        self.0 += add;
        Ok(self.0)
    }
}
