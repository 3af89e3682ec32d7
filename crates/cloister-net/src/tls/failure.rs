//! Why a handshake came to nothing, for the person on call. Each text speaks of the peer as "it".

use std::time::Duration;

use thiserror::Error;

#[cfg(feature = "tls")]
pub(super) mod rustls_errors;

/// Why a handshake came to nothing.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without TLS there is but one failure"))]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// What came was no TLS.
    #[error("it speaks without TLS: give it the same section `[tls]`, or remove that here")]
    Plaintext,
    /// TLS came where none was wanted.
    #[error(
        "it speaks TLS, and this node does not: give this node the same section `[tls]`, or remove that there"
    )]
    Tls,
    /// It reports that it does not speak TLS, or not the version we do.
    #[error(
        "it answers that it does not speak TLS 1.3: give it the same section `[tls]`, or remove that here"
    )]
    NoTls,
    /// It went away without a reason.
    #[error(
        "it ended the TLS handshake without a word: it may run without the section `[tls]`, or be overloaded"
    )]
    Closed,
    /// It took too long.
    #[error("it did not finish the TLS handshake within {0:?}")]
    TooLate(Duration),
    /// Its certificate will not do.
    #[error("its certificate {0}")]
    Theirs(String),
    /// It showed none.
    #[error("it showed no certificate: give it `tls.cert` and `tls.key`")]
    None,
    /// It rejects our certificate.
    #[error("it refuses this node's certificate, {0}")]
    Mine(&'static str),
    /// Anything else.
    #[error("the TLS handshake with it failed: {0}")]
    Other(String),
}
