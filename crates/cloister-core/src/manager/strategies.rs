//! Where the links look for peers: the seeds of the configuration, and strategies of the program's own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_discovery::{Discovery, DiscoveryError, Found, Resolver, Seeds};

use crate::links::{Answer, Finding, Strategies};

/// The seeds of the configuration, and strategies of the program's own.
pub(super) struct SeedStrategies {
    all: Vec<(String, Arc<dyn Discovery>)>,
}

impl SeedStrategies {
    pub(super) fn new(seeds: &Seeds, resolver: &Resolver, own: &[Arc<dyn Discovery>]) -> Self {
        let seeds = seeds.iter().map(|seed| (seed.to_string(), Arc::from(seed.strategy(resolver))));
        let own = own.iter().map(|strategy| (strategy.describe(), Arc::clone(strategy)));
        Self { all: seeds.chain(own).collect() }
    }
}

impl Strategies for SeedStrategies {
    /// All at once, each in a task of its own: one that is slow, or panics, keeps no other from answering.
    fn find(&self) -> Finding<'_> {
        Box::pin(async move {
            let asked: Vec<_> = self
                .all
                .iter()
                .map(|(seed, strategy)| {
                    let strategy = Arc::clone(strategy);
                    (seed, tokio::spawn(async move { strategy.look_up().await }))
                })
                .collect();
            let mut answers = Vec::with_capacity(asked.len());
            for (seed, look_up) in asked {
                let found = match look_up.await {
                    Ok(found) => read(found),
                    Err(error) => Err(format!("the strategy ended: {error}")),
                };
                answers.push(Answer { seed: seed.clone(), found });
            }
            answers
        })
    }
}

/// A name that does not exist, or has no records yet, is an answer: there is nobody.
fn read(found: Result<Found, DiscoveryError>) -> Result<BTreeSet<SocketAddr>, String> {
    found.map(|found| found.sockets().iter().copied().collect()).map_err(|error| error.to_string())
}
