//! The errors of a lookup.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::{Records, SourceResult};

/// Why a lookup failed, so that it is unknown whether there are addresses.
///
/// It is no evidence about nodes that are known already.
///
/// The [page of the crate](crate) has a strategy that fails with one.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The name server answered that it cannot answer, for example `SERVFAIL`.
    #[error("name server {servers} answered `{code}` for `{name}`: look at the server's own log")]
    Refused {
        /// The name that was asked for.
        name: String,
        /// The name servers that were asked.
        servers: String,
        /// The answer.
        code: String,
    },
    /// No answer came in time.
    #[error(
        "name server {servers} gave no answer for `{name}` within {timeout:?}: is it running, and does a firewall drop port 53?"
    )]
    Timeout {
        /// The name that was asked for.
        name: String,
        /// The name servers that were asked.
        servers: String,
        /// The deadline of the lookup.
        timeout: Duration,
    },
    /// The name server cannot be reached at all.
    #[error(
        "cannot reach name server {servers} for `{name}`: {cause}; check the name server's address and the network"
    )]
    Unreachable {
        /// The name that was asked for.
        name: String,
        /// The name servers that were asked.
        servers: String,
        /// The error of the network.
        cause: String,
    },
    /// The response does not answer the question.
    #[error("name server {servers} gave a bad answer for `{name}`: {cause}; is it a DNS server?")]
    BadAnswer {
        /// The name that was asked for.
        name: String,
        /// The name servers that were asked.
        servers: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The DNS settings of the system cannot be used.
    #[error("cannot use {place}: {cause}; repair it or name a DNS server, as in `dns:app@10.0.0.53`")]
    Settings {
        /// The file, or what takes its place.
        place: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The system's resolver failed.
    #[error("the system's resolver failed for `{name}`: {cause}; try `getent hosts {name}`")]
    System {
        /// The name that was asked for.
        name: String,
        /// The error of the system.
        cause: String,
    },
    /// No source gave an address, and at least one failed. The list has every source, also those that did not fail.
    #[error("{}", list(.0))]
    Sources(Vec<SourceResult>),
    /// A custom strategy failed.
    #[error("{strategy} failed: {cause}")]
    Custom {
        /// Which strategy.
        strategy: String,
        /// Why.
        #[source]
        cause: Arc<dyn StdError + Send + Sync>,
    },
}

impl DiscoveryError {
    /// The error of a custom strategy.
    pub fn custom(strategy: impl Into<String>, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::Custom { strategy: strategy.into(), cause: Arc::new(cause) }
    }
}

fn list(sources: &[SourceResult]) -> String {
    let outcomes = sources.iter().map(|SourceResult { source, outcome }| match outcome {
        Ok(Records::Absent) => format!("`{source}` does not exist"),
        Ok(Records::Empty | Records::Addresses(_)) => format!("`{source}` has no address"),
        Err(error) => error.to_string(),
    });
    format!("no seed gave an address: {}", outcomes.collect::<Vec<_>>().join("; "))
}
