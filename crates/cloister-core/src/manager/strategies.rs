//! Where the links look for peers: the seeds of the configuration, and strategies of the program's own.

use std::sync::Arc;

use cloister_discovery::{Any, Discovery, LookUp, Resolver, Seeds};

/// The seeds of the configuration and strategies of the program's own, as one.
pub(super) fn all(seeds: &Seeds, resolver: &Resolver, own: &[Arc<dyn Discovery>]) -> Arc<dyn Discovery> {
    let seeds = seeds.iter().map(|seed| seed.strategy(resolver));
    let own = own.iter().map(|strategy| -> Box<dyn Discovery> { Box::new(Own(Arc::clone(strategy))) });
    Arc::new(Any::new(seeds.chain(own)))
}

/// A strategy that every life of the node uses again.
struct Own(Arc<dyn Discovery>);

impl Discovery for Own {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn look_up(&self) -> LookUp<'_> {
        self.0.look_up()
    }
}
