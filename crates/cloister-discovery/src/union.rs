//! Several strategies at once.

use crate::{Discovery, DiscoveryError, LookupFuture, LookupResult, join};

/// The union of what several strategies find, all asked at the same time.
///
/// One that breaks hides no other: how each fared is in [`LookupResult::sources`]. The slowest sets the pace.
#[derive(Default)]
pub struct Union {
    strategies: Vec<Box<dyn Discovery>>,
}

impl Union {
    /// All of these.
    pub fn new(strategies: impl IntoIterator<Item = Box<dyn Discovery>>) -> Self {
        Self { strategies: strategies.into_iter().collect() }
    }

    /// The same and one more.
    #[must_use]
    pub fn and(mut self, strategy: impl Discovery) -> Self {
        self.strategies.push(Box::new(strategy));
        self
    }

    /// The outcome of each strategy, in their order.
    pub async fn lookup_each(&self) -> Vec<Result<LookupResult, DiscoveryError>> {
        join::all(self.strategies.iter().map(|strategy| strategy.lookup())).await
    }
}

impl Discovery for Union {
    fn describe(&self) -> String {
        self.strategies.iter().map(|strategy| strategy.describe()).collect::<Vec<_>>().join(" and ")
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(async move {
            let names = self.strategies.iter().map(|strategy| strategy.describe());
            LookupResult::union(names.zip(self.lookup_each().await))
        })
    }
}
