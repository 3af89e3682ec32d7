//! A list of hosts from the configuration.

use std::net::SocketAddr;

use crate::{Discovery, DiscoveryError, Entry, Host, LookupFuture, LookupResult, Resolver, join};

/// Every address of every host of a list.
///
/// IP addresses need no lookup. Names are resolved at each lookup, all at the same time. A name that is absent or fails hides no
/// other name: the result of each entry is in [`LookupResult::sources`].
///
/// ```no_run
/// use cloister_discovery::{Discovery, Entry, List};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let list = List::new([Entry::parse("10.0.0.1", 4370)?, Entry::parse("node-b:4371", 4370)?]);
/// println!("{:?}", list.lookup().await?.sockets());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct List {
    entries: Vec<Entry>,
    resolver: Resolver,
}

impl List {
    /// These hosts; names are looked up with the settings of the system.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().collect(), resolver: Resolver::system() }
    }

    /// Uses this resolver instead of that of the system.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// The outcome of each entry, in the order of the list.
    ///
    /// # Errors
    ///
    /// The future itself does not fail: each outcome is a [`DiscoveryError`] if it is unknown whether the host has addresses.
    pub async fn lookup_each(&self) -> Vec<Result<LookupResult, DiscoveryError>> {
        join::all(self.entries.iter().map(|entry| self.lookup_entry(entry))).await
    }

    async fn lookup_entry(&self, entry: &Entry) -> Result<LookupResult, DiscoveryError> {
        match &entry.host {
            Host::Ip(ip) => Ok(LookupResult::addresses([SocketAddr::new(*ip, entry.port.number())])),
            Host::Name(name) => self.resolver.addresses(name, entry.port.number()).await,
        }
    }
}

impl Discovery for List {
    fn describe(&self) -> String {
        let entries: Vec<_> = self.entries.iter().map(ToString::to_string).collect();
        format!("list {}", entries.join(", "))
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(async move {
            let names = self.entries.iter().map(ToString::to_string);
            LookupResult::union(names.zip(self.lookup_each().await))
        })
    }

    fn is_by_name(&self) -> bool {
        true
    }
}
