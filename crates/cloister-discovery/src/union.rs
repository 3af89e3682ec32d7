//! Several strategies at once.

use crate::{Discovery, DiscoveryError, LookupFuture, LookupResult, join};

/// The union of the addresses of several strategies, which look up at the same time.
///
/// A strategy that fails hides no other: the result of each is in [`LookupResult::sources`]. A lookup takes as long as the slowest.
///
/// ```no_run
/// use cloister_discovery::{Discovery, Resolver, Seeds, Srv, Union};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let seeds = Seeds::parse("node-a, node-b", 4370)?.strategy(&Resolver::system());
/// let all: Union = seeds.and(Srv::new("shop.service.consul"));
/// println!("{:?}", all.lookup().await?.sockets());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Union {
    strategies: Vec<Box<dyn Discovery>>,
}

impl Union {
    /// The union of these strategies.
    pub fn new(strategies: impl IntoIterator<Item = Box<dyn Discovery>>) -> Self {
        Self { strategies: strategies.into_iter().collect() }
    }

    /// Adds a strategy.
    #[must_use]
    pub fn and(mut self, strategy: impl Discovery) -> Self {
        self.strategies.push(Box::new(strategy));
        self
    }

    /// The outcome of each strategy, in their order.
    ///
    /// # Errors
    ///
    /// The future itself does not fail: each outcome is a [`DiscoveryError`] if it is unknown whether the strategy has addresses.
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

    fn is_by_name(&self) -> bool {
        self.strategies.iter().all(|strategy| strategy.is_by_name())
    }
}
