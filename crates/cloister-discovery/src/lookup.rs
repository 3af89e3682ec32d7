//! The result of a lookup.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::DiscoveryError;

/// The records that a source has for a name.
///
/// [`LookupResult`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Records {
    /// The name does not exist.
    Absent,
    /// The name exists and has no address.
    Empty,
    /// At least one address, sorted, each once.
    Addresses(Vec<SocketAddr>),
}

impl Records {
    /// The addresses; none if absent or empty.
    #[must_use]
    pub fn sockets(&self) -> &[SocketAddr] {
        match self {
            Self::Addresses(sockets) => sockets,
            Self::Absent | Self::Empty => &[],
        }
    }
}

impl FromIterator<SocketAddr> for Records {
    /// IPv4 addresses written as IPv6 ones become IPv4; scopes and flow labels are dropped.
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(sockets: I) -> Self {
        let sockets: BTreeSet<_> =
            sockets.into_iter().map(|s| SocketAddr::new(s.ip().to_canonical(), s.port())).collect();
        if sockets.is_empty() { Self::Empty } else { Self::Addresses(sockets.into_iter().collect()) }
    }
}

/// The result of one source of a lookup with several, such as one entry of a list.
///
/// [`LookupResult`] has an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceResult {
    /// The name that was looked up, or the strategy.
    pub source: String,
    /// Its records, or why it has none.
    pub outcome: Result<Records, DiscoveryError>,
}

/// The result of a lookup that did not fail.
///
/// ```
/// use std::time::Duration;
///
/// use cloister_discovery::{LookupResult, Records};
///
/// let node = "10.0.0.7:4370".parse().unwrap();
/// let found = LookupResult::addresses([node]).lasting(Duration::from_secs(5));
/// assert_eq!(found.sockets(), [node]);
/// assert_eq!(found.problems().count(), 0);
/// assert_eq!(LookupResult::addresses([]).records, Records::Empty);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LookupResult {
    /// The records of all sources together.
    pub records: Records,
    /// The shortest TTL. A hint only: Docker gives 600 s for records that change within milliseconds.
    pub valid_for: Option<Duration>,
    /// The result of each source, if there were several or one of them failed; else empty.
    pub sources: Vec<SourceResult>,
}

impl LookupResult {
    /// A result with these addresses; [`Records::Empty`] if there are none.
    pub fn addresses(sockets: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::from(sockets.into_iter().collect::<Records>())
    }

    /// The name exists and has no address.
    #[must_use]
    pub fn empty() -> Self {
        Self::from(Records::Empty)
    }

    /// The name does not exist.
    #[must_use]
    pub fn absent() -> Self {
        Self::from(Records::Absent)
    }

    /// Sets the TTL.
    #[must_use]
    pub fn lasting(mut self, valid_for: Duration) -> Self {
        self.valid_for = Some(valid_for);
        self
    }

    /// Every address, sorted, each once.
    #[must_use]
    pub fn sockets(&self) -> &[SocketAddr] {
        self.records.sockets()
    }

    /// The errors of the sources that failed.
    pub fn problems(&self) -> impl Iterator<Item = &DiscoveryError> {
        self.sources.iter().filter_map(|source| source.outcome.as_ref().err())
    }

    /// Joins the outcomes of several lookups: the union of all addresses, and the result of each source.
    ///
    /// A single outcome is returned unchanged. If no source gave an address, *empty* takes precedence over *absent*.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError::Sources`] if no source gave an address and at least one failed: it is unknown whether there are any.
    pub fn union(
        outcomes: impl IntoIterator<Item = (String, Result<LookupResult, DiscoveryError>)>,
    ) -> Result<LookupResult, DiscoveryError> {
        let mut outcomes: Vec<_> = outcomes.into_iter().collect();
        if outcomes.len() == 1
            && let Some((_, outcome)) = outcomes.pop()
        {
            return outcome;
        }
        let (mut sockets, mut sources, mut valid_for) = (Vec::new(), Vec::new(), None::<Duration>);
        for (source, outcome) in outcomes {
            match outcome {
                Ok(found) => {
                    sockets.extend_from_slice(found.sockets());
                    valid_for = [valid_for, found.valid_for].into_iter().flatten().min();
                    if found.sources.is_empty() {
                        sources.push(SourceResult { source, outcome: Ok(found.records) });
                    } else {
                        sources.extend(found.sources);
                    }
                }
                Err(DiscoveryError::Sources(broken)) => sources.extend(broken),
                Err(error) => sources.push(SourceResult { source, outcome: Err(error) }),
            }
        }
        let is_failed = sources.iter().any(|source| source.outcome.is_err());
        let is_absent =
            !sources.is_empty() && sources.iter().all(|source| matches!(source.outcome, Ok(Records::Absent)));
        let records = match sockets.into_iter().collect() {
            Records::Empty if is_failed => return Err(DiscoveryError::Sources(sources)),
            Records::Empty if is_absent => Records::Absent,
            records => records,
        };
        Ok(Self { records, valid_for, sources })
    }
}

impl From<Records> for LookupResult {
    fn from(records: Records) -> Self {
        Self { records, valid_for: None, sources: Vec::new() }
    }
}

impl PartialEq for LookupResult {
    /// Two results are equal if they give the same answer, whatever its TTL and the way it came about.
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Result<LookupResult, DiscoveryError> {
        Err(DiscoveryError::custom("test", std::io::Error::other("no luck")))
    }

    fn one(socket: &str) -> Result<LookupResult, DiscoveryError> {
        Ok(LookupResult::addresses([socket.parse().unwrap()]))
    }

    fn union(
        outcomes: impl IntoIterator<Item = Result<LookupResult, DiscoveryError>>,
    ) -> Result<LookupResult, DiscoveryError> {
        LookupResult::union(outcomes.into_iter().enumerate().map(|(i, outcome)| (i.to_string(), outcome)))
    }

    #[test]
    fn addresses_are_sorted_and_each_is_there_once() {
        let found = union([one("10.0.0.2:1"), one("10.0.0.1:1"), one("[::ffff:10.0.0.2]:1")]).unwrap();
        assert_eq!(found.sockets(), ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()]);
    }

    #[test]
    fn a_failed_source_hides_no_address_and_is_reported() {
        let found = union([broken(), one("10.0.0.1:1")]).unwrap();
        assert_eq!(found.sockets().len(), 1);
        assert_eq!(found.problems().count(), 1);
        assert_eq!(found.sources.len(), 2);
    }

    #[test]
    fn no_address_and_a_failed_source_are_an_error() {
        let error = union([Ok(LookupResult::absent()), broken(), Ok(LookupResult::empty())]).unwrap_err();
        assert!(matches!(&error, DiscoveryError::Sources(sources) if sources.len() == 3), "{error}");
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_single_outcome_is_returned_unchanged() {
        assert!(matches!(union([broken()]), Err(DiscoveryError::Custom { .. })));
        assert!(union([one("10.0.0.1:1")]).unwrap().sources.is_empty());
    }

    #[test]
    fn empty_takes_precedence_over_absent() {
        assert_eq!(
            union([Ok(LookupResult::absent()), Ok(LookupResult::empty())]).unwrap(),
            LookupResult::empty()
        );
        assert_eq!(
            union([Ok(LookupResult::absent()), Ok(LookupResult::absent())]).unwrap(),
            LookupResult::absent()
        );
        assert_eq!(union([]).unwrap(), LookupResult::empty());
    }

    #[test]
    fn the_shortest_ttl_counts() {
        let long = one("10.0.0.1:1").map(|found| found.lasting(Duration::from_secs(600)));
        let short = one("10.0.0.2:1").map(|found| found.lasting(Duration::from_secs(5)));
        let found = union([long, short, one("10.0.0.3:1")]).unwrap();
        assert_eq!(found.valid_for, Some(Duration::from_secs(5)));
    }
}
