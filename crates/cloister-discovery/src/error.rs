//! A lookup that nobody could answer.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::{Records, SourceResult};

/// Why a lookup broke: nobody knows whether there are addresses.
///
/// It says nothing about nodes that are known already.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The name server answered that it cannot answer, for example `SERVFAIL`.
    #[error("name server {servers} answered `{code}` for `{name}`: look at the server's own log")]
    Refused {
        /// The name that was asked for.
        name: String,
        /// Who was asked.
        servers: String,
        /// The answer.
        code: String,
    },
    /// No answer came in time.
    #[error(
        "name server {servers} gave no answer for `{name}` within {limit:?}: is it running, and does a firewall drop port 53?"
    )]
    Timeout {
        /// The name that was asked for.
        name: String,
        /// Who was asked.
        servers: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The name server cannot be reached at all.
    #[error(
        "cannot reach name server {servers} for `{name}`: {cause}; check the name server's address and the network"
    )]
    Unreachable {
        /// The name that was asked for.
        name: String,
        /// Who was asked.
        servers: String,
        /// What the network said.
        cause: String,
    },
    /// What came back is not an answer to the question.
    #[error("name server {servers} gave a bad answer for `{name}`: {cause}; is it a DNS server?")]
    BadAnswer {
        /// The name that was asked for.
        name: String,
        /// Who was asked.
        servers: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The system's own settings for DNS cannot be used.
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
        /// What the system said.
        cause: String,
    },
    /// No part gave an address, and at least one broke. Every part is here, also those that did not break.
    #[error("{}", list(.0))]
    Sources(Vec<SourceResult>),
    /// A strategy of a user's own failed.
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
    /// The failure of a strategy of your own.
    pub fn custom(strategy: impl Into<String>, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::Custom { strategy: strategy.into(), cause: Arc::new(cause) }
    }
}

fn list(sources: &[SourceResult]) -> String {
    let said = sources.iter().map(|SourceResult { source, outcome }| match outcome {
        Ok(Records::Absent) => format!("`{source}` does not exist"),
        Ok(Records::Empty | Records::Addresses(_)) => format!("`{source}` has no address"),
        Err(error) => error.to_string(),
    });
    format!("no seed gave an address: {}", said.collect::<Vec<_>>().join("; "))
}
