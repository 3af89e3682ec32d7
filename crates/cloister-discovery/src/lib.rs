//! Where the other nodes of a cluster may be, and which of those addresses is this node's own.
//!
//! *Seeds* are what a user writes: the name of a service, a list of hosts, or both. A [`Discovery`] turns them into
//! socket addresses at each lookup. It caches nothing, so a changed record, a changed
//! `/etc/resolv.conf` and a name server that came back are seen by the very next one.
//!
//! # Discovery only adds
//!
//! A lookup never removes an address. A name server may lose records, return some of them, or be down. None of this is
//! evidence about a connected peer. So a caller adds the addresses of each [`LookupResult`] to those that it knows, and removes one
//! only on evidence of its own.
//!
//! # Outcomes of a lookup
//!
//! | outcome | meaning |
//! |---|---|
//! | [`Records::Addresses`] | the name has these addresses |
//! | [`Records::Empty`] | the name exists and has no records yet |
//! | [`Records::Absent`] | the name does not exist (`NXDOMAIN`) |
//! | [`DiscoveryError`] | unknown: the resolver failed, timed out, was unreachable, or sent an invalid response |
//!
//! # Layout
//!
//! - [`Seeds`]: the text of the configuration, parsed and checked.
//! - [`List`], [`Dns`], [`Srv`], [`SystemResolver`], [`Union`]: the strategies, each a [`Discovery`].
//! - [`Resolver`]: the DNS client of `List`, `Dns` and `Srv`.
//! - [`self_address`]: the address under which other nodes reach this one.
//! - [`interfaces`]: the addresses and the name of this machine.
//!
//! # Custom strategies
//!
//! Anything that knows addresses can be a strategy: a file, a cloud's API, a registry.
//!
//! ```
//! use std::path::PathBuf;
//!
//! use cloister_discovery::{Discovery, DiscoveryError, LookupResult, LookupFuture};
//!
//! /// Reads one address per line from a file that an operator keeps up to date.
//! struct HostsFile(PathBuf);
//!
//! impl Discovery for HostsFile {
//!     fn describe(&self) -> String {
//!         format!("file {}", self.0.display())
//!     }
//!
//!     fn lookup(&self) -> LookupFuture<'_> {
//!         Box::pin(async move {
//!             let text = match std::fs::read_to_string(&self.0) {
//!                 Ok(text) => text,
//!                 Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LookupResult::absent()),
//!                 Err(e) => return Err(DiscoveryError::custom(self.describe(), e)),
//!             };
//!             Ok(LookupResult::addresses(text.lines().filter_map(|line| line.trim().parse().ok())))
//!         })
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! let path = std::env::temp_dir().join(format!("hosts-{}", std::process::id()));
//! std::fs::write(&path, "10.0.0.1:4370\n10.0.0.2:4370\n").unwrap();
//! let seeds: Box<dyn Discovery> = Box::new(HostsFile(path.clone()));
//! let found = runtime.block_on(seeds.lookup()).unwrap();
//! assert_eq!(found.sockets().len(), 2);
//!
//! std::fs::remove_file(path).unwrap();
//! assert_eq!(runtime.block_on(seeds.lookup()).unwrap(), LookupResult::absent());
//! ```

mod dns;
mod error;
mod host;
pub mod interfaces;
mod join;
mod list;
mod lookup;
mod resolver;
mod seeds;
pub mod self_address;
mod srv;
mod system_resolver;
mod union;

use std::pin::Pin;

pub use dns::Dns;
pub use error::DiscoveryError;
pub use host::{Entry, Host, HostError, Port};
pub use list::List;
pub use lookup::{LookupResult, Records, SourceResult};
pub use resolver::Resolver;
pub use seeds::{Seed, SeedError, SeedErrorKind, SeedErrors, SeedKind, Seeds};
pub use self_address::{Addressing, Identity, PendingReason, SelfAddressError};
pub use srv::Srv;
pub use system_resolver::SystemResolver;
pub use union::Union;

/// A lookup in progress.
///
/// The [page of the crate](crate) has a strategy that returns one.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<LookupResult, DiscoveryError>> + Send + 'a>>;

/// A strategy that finds the addresses of nodes.
///
/// Object-safe, so that strategies can be put into one `Vec<Box<dyn Discovery>>`; see the [crate's page](crate) for an
/// example.
pub trait Discovery: Send + Sync + 'static {
    /// What it looks up, in a few words for a log line: `service app:4370`.
    fn describe(&self) -> String;

    /// Looks up once, without a cache.
    ///
    /// Must end within a bounded time (the strategies here: 4 s) and may be dropped at any point.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`] if it is unknown whether there are addresses. A result without addresses is `Ok`.
    fn lookup(&self) -> LookupFuture<'_>;

    /// Whether it looks names up, so that an IPv4 and an IPv6 address in one answer may be of one node. Such a node listens at one of the
    /// two, and the other counts as no node that may be elsewhere. `false` unless a strategy says otherwise: each address is a node.
    fn is_by_name(&self) -> bool {
        false
    }
}
