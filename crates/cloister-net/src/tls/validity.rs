//! How old a certificate is.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use thiserror::Error;

/// What part of its life a certificate may have left before it is told: those who renew in time do so at a third.
const LAST_PART: u32 = 5;

/// What is doubtful about a certificate that can be used otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsDoubt {
    /// Nobody accepts it any more.
    #[error(
        "expired at {0}: no new link can be made with it; write a new one to the same file, and it is taken into use"
    )]
    Expired(Timestamp),
    /// Nobody accepts it soon.
    #[error("expires at {0}: write a new one to the same file, and it is taken into use")]
    ExpiresSoon(Timestamp),
    /// Nobody accepts it yet.
    #[error("is not valid before {0}: compare the clock of this machine with that of the authority")]
    NotYet(Timestamp),
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Since 1970.
    pub not_before: Duration,
    /// Since 1970.
    pub not_after: Duration,
}

impl Age {
    /// What is doubtful now.
    #[must_use]
    pub fn doubt(self) -> Option<TlsDoubt> {
        self.doubt_at(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
    }

    fn doubt_at(self, now: Duration) -> Option<TlsDoubt> {
        let life = self.not_after.saturating_sub(self.not_before);
        if now < self.not_before {
            Some(TlsDoubt::NotYet(moment(self.not_before)))
        } else if now > self.not_after {
            Some(TlsDoubt::Expired(moment(self.not_after)))
        } else if self.not_after - now < life / LAST_PART {
            Some(TlsDoubt::ExpiresSoon(moment(self.not_after)))
        } else {
            None
        }
    }
}

/// The time so long after 1970, for a person; the end of all times if it is beyond that.
pub(crate) fn moment(since_epoch: Duration) -> Timestamp {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_doubtful_before_its_life_in_its_last_fifth_and_after() {
        let seconds = Duration::from_secs;
        let age = Age { not_before: seconds(1000), not_after: seconds(2000) };
        assert_eq!(age.doubt_at(seconds(999)), Some(TlsDoubt::NotYet(moment(seconds(1000)))));
        assert_eq!(age.doubt_at(seconds(1000)), None);
        assert_eq!(age.doubt_at(seconds(1800)), None);
        assert_eq!(age.doubt_at(seconds(1801)), Some(TlsDoubt::ExpiresSoon(moment(seconds(2000)))));
        assert_eq!(age.doubt_at(seconds(2001)), Some(TlsDoubt::Expired(moment(seconds(2000)))));
        assert!(
            age.doubt_at(seconds(2001)).unwrap().to_string().starts_with("expired at 1970-01-01T00:33:20Z: ")
        );
    }
}
