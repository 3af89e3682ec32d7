//! Mutual TLS between the nodes: a peer without a certificate of the cluster's authority for the cluster's name is
//! rejected, whichever side dials.
//!
//! ```text
//!  files ──watch──▶ credentials ──▶ dial, accept ──▶ channel │ failure
//! ```
//!
//! TLS 1.3 only, since both ends are ours. No session is resumed: a resumed one would not look at certificates again, and those may have
//! been replaced. The provider of cryptography is chosen here and never by the default of the process. That default is a panic as soon as a
//! program has two of them in its build.

mod failure;
mod fault;
mod files;
mod validity;

#[cfg(feature = "tls")]
mod channel;
#[cfg(feature = "tls")]
mod credentials;
#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod verifier;
#[cfg(feature = "tls")]
mod watch;

#[cfg(feature = "tls")]
pub(crate) use self::channel::Channel;
#[cfg(feature = "tls")]
pub use self::channel::Tls;
#[cfg(not(feature = "tls"))]
pub(crate) use self::disabled::Channel;
#[cfg(not(feature = "tls"))]
pub use self::disabled::Tls;
pub(crate) use self::failure::Failure;
// Its `Timestamp` is what `CertificateWarning` has.
pub use self::fault::TlsFileError;
pub use self::files::{Files, TlsError};
pub use self::validity::{Age, CertificateWarning};
pub use jiff;
