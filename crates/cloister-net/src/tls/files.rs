//! Which files TLS takes.

use std::path::PathBuf;

use super::fault::TlsFileError;

/// Everything that mutual TLS takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// This node's certificate, and those between it and the authority.
    pub cert: PathBuf,
    /// The key of it.
    pub key: PathBuf,
    /// The authorities that are authenticated.
    pub ca: PathBuf,
    /// The name that each certificate must carry.
    pub server_name: String,
}

/// What is wrong with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsError {
    /// The key of the configuration.
    pub key: &'static str,
    /// Its value.
    pub shown: String,
    /// Why that cannot be, and what can.
    pub fault: TlsFileError,
}
