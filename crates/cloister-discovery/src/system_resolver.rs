//! The resolver of the operating system.

use std::time::Duration;

use tokio::time::timeout;

use crate::{Discovery, DiscoveryError, LookupFuture, LookupResult, Resolver};

/// Every address that the system's resolver (`getaddrinfo`) gives for a name.
///
/// For machines with names from other sources than DNS: NIS, mDNS, LDAP, a caching daemon. A lookup blocks a thread, and the
/// system may cache its result. *Absent* and *empty* are distinguished from *broken* by the words of the C library,
/// so an unknown C library makes an absent name look broken.
///
/// ```no_run
/// use std::time::Duration;
///
/// use cloister_discovery::{Discovery, SystemResolver};
///
/// # async fn example() -> Result<(), cloister_discovery::DiscoveryError> {
/// let nodes = SystemResolver::new("shop.local", 4370).with_deadline(Duration::from_secs(2));
/// println!("{:?}", nodes.lookup().await?.sockets());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SystemResolver {
    name: String,
    port: u16,
    deadline: Duration,
}

impl SystemResolver {
    /// The nodes behind `name`, each at `port`.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, deadline: Resolver::DEADLINE }
    }

    /// Sets the deadline of a lookup.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Discovery for SystemResolver {
    fn describe(&self) -> String {
        format!("system resolver for {}:{}", self.name, self.port)
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(async move {
            let asked = timeout(self.deadline, tokio::net::lookup_host((self.name.as_str(), self.port)));
            match asked.await {
                Ok(Ok(sockets)) => Ok(LookupResult::addresses(sockets)),
                Ok(Err(error)) => classify(&self.name, &error.to_string()),
                Err(_) => {
                    let cause = format!("no answer within {:?}", self.deadline);
                    Err(DiscoveryError::System { name: self.name.clone(), cause })
                }
            }
        })
    }

    fn is_by_name(&self) -> bool {
        true
    }
}

/// `getaddrinfo` gives its error as text only: the texts of glibc, musl and the BSDs are known here.
fn classify(name: &str, cause: &str) -> Result<LookupResult, DiscoveryError> {
    const ABSENT: [&str; 3] =
        ["Name or service not known", "Name does not resolve", "nodename nor servname provided"];
    const EMPTY: [&str; 2] = ["No address associated with", "Name has no usable address"];
    let says = |texts: &[&str]| texts.iter().any(|text| cause.contains(text));
    if says(&ABSENT) {
        Ok(LookupResult::absent())
    } else if says(&EMPTY) {
        Ok(LookupResult::empty())
    } else {
        Err(DiscoveryError::System { name: name.to_owned(), cause: cause.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_known_to_every_system() {
        let found = SystemResolver::new("localhost", 4370).lookup().await.unwrap();
        assert!(found.sockets().iter().all(|s| s.ip().is_loopback() && s.port() == 4370), "{found:?}");
        assert!(!found.sockets().is_empty());
    }

    #[test]
    fn the_errors_of_the_c_library_are_classified() {
        let glibc = |text: &str| classify("app", &format!("failed to lookup address information: {text}"));
        assert_eq!(glibc("Name or service not known").unwrap(), LookupResult::absent());
        assert_eq!(glibc("No address associated with hostname").unwrap(), LookupResult::empty());
        assert!(glibc("Temporary failure in name resolution").is_err());
    }
}
