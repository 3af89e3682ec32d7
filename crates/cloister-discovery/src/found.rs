//! What a lookup saw.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::DiscoveryError;

/// What a source says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The name does not exist.
    Absent,
    /// The name exists and has no address.
    Empty,
    /// At least one address, sorted, each once.
    Addresses(Vec<SocketAddr>),
}

impl Answer {
    /// The addresses; none if absent or empty.
    pub fn sockets(&self) -> &[SocketAddr] {
        match self {
            Self::Addresses(sockets) => sockets,
            Self::Absent | Self::Empty => &[],
        }
    }
}

impl FromIterator<SocketAddr> for Answer {
    /// IPv4 addresses written as IPv6 ones become IPv4; scopes and flow labels are dropped.
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(sockets: I) -> Self {
        let sockets: BTreeSet<_> =
            sockets.into_iter().map(|s| SocketAddr::new(s.ip().to_canonical(), s.port())).collect();
        if sockets.is_empty() { Self::Empty } else { Self::Addresses(sockets.into_iter().collect()) }
    }
}

/// One part of a lookup that had several, such as one entry of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Part {
    /// What was asked for.
    pub what: String,
    /// How it ended.
    pub outcome: Result<Answer, DiscoveryError>,
}

/// The result of a lookup that was answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The answer as a whole: every address that any part gave.
    pub answer: Answer,
    /// How long the source promises the answer to hold: the shortest TTL. A hint only; Docker says 600 s for records
    /// that change within milliseconds.
    pub valid_for: Option<Duration>,
    /// How each part ended, if there were several or one of them broke; else empty.
    pub parts: Vec<Part>,
}

impl Found {
    /// These addresses; [`Answer::Empty`] if there are none.
    pub fn addresses(sockets: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::from(sockets.into_iter().collect::<Answer>())
    }

    /// The name exists and has no address.
    pub fn empty() -> Self {
        Self::from(Answer::Empty)
    }

    /// The name does not exist.
    pub fn absent() -> Self {
        Self::from(Answer::Absent)
    }

    /// The same, with the time for which the source promises it to hold.
    #[must_use]
    pub fn lasting(mut self, valid_for: Duration) -> Self {
        self.valid_for = Some(valid_for);
        self
    }

    /// Every address, sorted, each once.
    pub fn sockets(&self) -> &[SocketAddr] {
        self.answer.sockets()
    }

    /// The parts that broke, while others were answered.
    pub fn problems(&self) -> impl Iterator<Item = &DiscoveryError> {
        self.parts.iter().filter_map(|part| part.outcome.as_ref().err())
    }

    /// Puts the outcomes of several lookups together: the union of all addresses, and how each part ended.
    ///
    /// A single outcome stays as it is. If no part gave an address, *broken* wins over *empty*, and *empty* over
    /// *absent*: "there is none" must not be said where one part could not tell.
    pub fn union(
        outcomes: impl IntoIterator<Item = (String, Result<Found, DiscoveryError>)>,
    ) -> Result<Found, DiscoveryError> {
        let mut outcomes: Vec<_> = outcomes.into_iter().collect();
        if outcomes.len() == 1
            && let Some((_, outcome)) = outcomes.pop()
        {
            return outcome;
        }
        let (mut sockets, mut parts, mut valid_for) = (Vec::new(), Vec::new(), None::<Duration>);
        for (what, outcome) in outcomes {
            match outcome {
                Ok(found) => {
                    sockets.extend_from_slice(found.sockets());
                    valid_for = [valid_for, found.valid_for].into_iter().flatten().min();
                    if found.parts.is_empty() {
                        parts.push(Part { what, outcome: Ok(found.answer) });
                    } else {
                        parts.extend(found.parts);
                    }
                }
                Err(DiscoveryError::Parts(broken)) => parts.extend(broken),
                Err(error) => parts.push(Part { what, outcome: Err(error) }),
            }
        }
        let is_broken = parts.iter().any(|part| part.outcome.is_err());
        let is_absent =
            !parts.is_empty() && parts.iter().all(|part| matches!(part.outcome, Ok(Answer::Absent)));
        let answer = match sockets.into_iter().collect() {
            Answer::Empty if is_broken => return Err(DiscoveryError::Parts(parts)),
            Answer::Empty if is_absent => Answer::Absent,
            answer => answer,
        };
        Ok(Self { answer, valid_for, parts })
    }
}

impl From<Answer> for Found {
    fn from(answer: Answer) -> Self {
        Self { answer, valid_for: None, parts: Vec::new() }
    }
}

impl PartialEq for Found {
    /// Two results are equal if they give the same answer, whatever its TTL and the way it came about.
    fn eq(&self, other: &Self) -> bool {
        self.answer == other.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Result<Found, DiscoveryError> {
        Err(DiscoveryError::custom("test", std::io::Error::other("no luck")))
    }

    fn one(socket: &str) -> Result<Found, DiscoveryError> {
        Ok(Found::addresses([socket.parse().unwrap()]))
    }

    fn union(
        outcomes: impl IntoIterator<Item = Result<Found, DiscoveryError>>,
    ) -> Result<Found, DiscoveryError> {
        Found::union(outcomes.into_iter().enumerate().map(|(i, outcome)| (i.to_string(), outcome)))
    }

    #[test]
    fn addresses_are_sorted_and_each_is_there_once() {
        let found = union([one("10.0.0.2:1"), one("10.0.0.1:1"), one("[::ffff:10.0.0.2]:1")]).unwrap();
        assert_eq!(found.sockets(), ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()]);
    }

    #[test]
    fn a_broken_part_hides_no_address_and_stays_visible() {
        let found = union([broken(), one("10.0.0.1:1")]).unwrap();
        assert_eq!(found.sockets().len(), 1);
        assert_eq!(found.problems().count(), 1);
        assert_eq!(found.parts.len(), 2);
    }

    #[test]
    fn nobody_says_there_is_none_while_a_part_could_not_tell() {
        let error = union([Ok(Found::absent()), broken(), Ok(Found::empty())]).unwrap_err();
        assert!(matches!(&error, DiscoveryError::Parts(parts) if parts.len() == 3), "{error}");
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_single_outcome_stays_as_it_is() {
        assert!(matches!(union([broken()]), Err(DiscoveryError::Custom { .. })));
        assert!(union([one("10.0.0.1:1")]).unwrap().parts.is_empty());
    }

    #[test]
    fn empty_wins_over_absent() {
        assert_eq!(union([Ok(Found::absent()), Ok(Found::empty())]).unwrap(), Found::empty());
        assert_eq!(union([Ok(Found::absent()), Ok(Found::absent())]).unwrap(), Found::absent());
        assert_eq!(union([]).unwrap(), Found::empty());
    }

    #[test]
    fn the_shortest_promise_counts() {
        let long = one("10.0.0.1:1").map(|found| found.lasting(Duration::from_secs(600)));
        let short = one("10.0.0.2:1").map(|found| found.lasting(Duration::from_secs(5)));
        let found = union([long, short, one("10.0.0.3:1")]).unwrap();
        assert_eq!(found.valid_for, Some(Duration::from_secs(5)));
    }
}
