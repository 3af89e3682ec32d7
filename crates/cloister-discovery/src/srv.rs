//! A service with SRV records, which name hosts and ports.

use crate::{Discovery, LookupFuture, LookupResult, Records, Resolver, join};

/// The prefix of a name that has none.
const PREFIX: &str = "_cloister._tcp.";

/// The hosts and ports of a service's SRV records, each host with every address it has.
///
/// `app` means `_cloister._tcp.app`; a name that begins with an underscore is taken as it is. Priority and weight are
/// ignored, because every node must be found.
///
/// ```no_run
/// use cloister_discovery::{Discovery, Resolver, Srv};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let consul = Resolver::servers(["10.0.0.53:8600".parse()?]);
/// let nodes = Srv::new("shop.service.consul").with_resolver(consul).lookup().await?;
/// println!("{:?}", nodes.sockets());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Srv {
    name: String,
    resolver: Resolver,
}

impl Srv {
    /// The nodes that the SRV records of `name` list; looked up with the settings of the system.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let name = if name.starts_with('_') { name } else { format!("{PREFIX}{name}") };
        Self { name, resolver: Resolver::system() }
    }

    /// Uses this resolver instead of that of the system.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }
}

impl Discovery for Srv {
    fn describe(&self) -> String {
        format!("SRV records of {}", self.name)
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(async move {
            let session = self.resolver.session()?;
            let (targets, valid_for) = match session.targets(&self.name).await {
                Ok(records) => records,
                Err(none) => return none,
            };
            let hosts = targets.iter().map(|target| async {
                let found = session.addresses(&target.host, target.port).await;
                (format!("{}:{}", target.host, target.port), found)
            });
            let mut found = LookupResult::union(join::all(hosts).await)?;
            found.valid_for = found.valid_for.map(|shortest| shortest.min(valid_for));
            // The service exists, even if none of its hosts does.
            if found.sockets().is_empty() {
                found.records = Records::Empty;
            }
            Ok(found)
        })
    }

    fn is_by_name(&self) -> bool {
        true
    }
}
