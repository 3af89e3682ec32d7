//! A service name that has an A or AAAA record for each node.

use crate::{Discovery, LookupFuture, Resolver};

/// Every A and AAAA record of a service name: the strategy for Docker, Compose and headless services of Kubernetes.
///
/// ```no_run
/// # async fn example() -> Result<(), cloister_discovery::DiscoveryError> {
/// use cloister_discovery::{Discovery, Dns};
///
/// let found = Dns::new("app", 4370).lookup().await?;
/// println!("{:?}", found.sockets());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dns {
    name: String,
    port: u16,
    resolver: Resolver,
}

impl Dns {
    /// The nodes behind `name`, each at `port`; looked up with the settings of the system.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, resolver: Resolver::system() }
    }

    /// Uses this resolver instead of that of the system.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }
}

impl Discovery for Dns {
    fn describe(&self) -> String {
        format!("service {}:{}", self.name, self.port)
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(self.resolver.addresses(&self.name, self.port))
    }

    fn is_by_name(&self) -> bool {
        true
    }
}
