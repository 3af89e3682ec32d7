//! How old a certificate is.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use thiserror::Error;

/// The remaining part of its validity at which a certificate gets a warning. Timely renewal happens at a third.
const LAST_PART: u32 = 5;

/// Why a certificate that can be used now needs attention.
///
/// It comes as `Warning::Certificate` of the configuration. `cargo cloister doctor` shows it, and the log.
///
/// ```
/// use cloister_net::tls::CertificateWarning;
///
/// fn is_over(warning: &CertificateWarning) -> bool {
///     matches!(warning, CertificateWarning::Expired(_))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// It has expired: peers reject it.
    #[error(
        "expired at {0}: no new link can be made with it; write a new one to the same file, and it is taken into use"
    )]
    Expired(Timestamp),
    /// It expires soon: peers will then reject it.
    #[error("expires at {0}: write a new one to the same file, and it is taken into use")]
    ExpiresSoon(Timestamp),
    /// It is not valid yet: peers reject it.
    #[error("is not valid before {0}: compare the clock of this machine with that of the authority")]
    NotYet(Timestamp),
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Age {
    /// Since 1970.
    pub not_before: Duration,
    /// Since 1970.
    pub not_after: Duration,
}

impl Age {
    /// The warning that applies now.
    #[must_use]
    pub fn warning(self) -> Option<CertificateWarning> {
        self.warning_at(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
    }

    /// Whether peers accept it now.
    #[cfg(feature = "tls")]
    pub(crate) fn is_valid(self) -> bool {
        matches!(self.warning(), None | Some(CertificateWarning::ExpiresSoon(_)))
    }

    fn warning_at(self, now: Duration) -> Option<CertificateWarning> {
        let life = self.not_after.saturating_sub(self.not_before);
        if now < self.not_before {
            Some(CertificateWarning::NotYet(moment(self.not_before)))
        } else if now > self.not_after {
            Some(CertificateWarning::Expired(moment(self.not_after)))
        } else if self.not_after - now < life / LAST_PART {
            Some(CertificateWarning::ExpiresSoon(moment(self.not_after)))
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
    fn a_certificate_has_a_warning_before_its_life_in_its_last_fifth_and_after() {
        let seconds = Duration::from_secs;
        let age = Age { not_before: seconds(1000), not_after: seconds(2000) };
        assert_eq!(age.warning_at(seconds(999)), Some(CertificateWarning::NotYet(moment(seconds(1000)))));
        assert_eq!(age.warning_at(seconds(1000)), None);
        assert_eq!(age.warning_at(seconds(1800)), None);
        assert_eq!(
            age.warning_at(seconds(1801)),
            Some(CertificateWarning::ExpiresSoon(moment(seconds(2000))))
        );
        assert_eq!(age.warning_at(seconds(2001)), Some(CertificateWarning::Expired(moment(seconds(2000)))));
        assert!(
            age.warning_at(seconds(2001))
                .unwrap()
                .to_string()
                .starts_with("expired at 1970-01-01T00:33:20Z: ")
        );
    }
}
