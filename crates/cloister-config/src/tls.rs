//! The settings of mutual TLS.

use std::path::{Path, PathBuf};

use super::keys;
use super::problem::{Problem, ProblemKind, quoted};
use super::settings::Config;
use cloister_net::tls::{Files, TlsError};

/// The files for mutual TLS between the nodes, all three or none, and the name that certificates must carry.
///
/// A relative path starts at the current directory. The files are read again when they change: new connections use
/// the new files, open ones stay. A set of files that cannot be used is logged once, and the previous set stays in use.
///
/// It takes the feature `tls`, which is on unless it is switched off; a program that was built without it refuses the files.
///
/// ```no_run
/// # mod cloister { pub use ::cloister_config as config; }
/// use cloister::config::Config;
///
/// let config = Config::new("shop").tls("node.pem", "node.key", "ca.pem").tls_server_name("shop.internal");
/// config.check()?;
/// # Ok::<(), cloister::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// This node's certificate, PEM. Those between it and the authority follow it, if there are any.
    ///
    /// A node presents it as a client and as a server. So an `extendedKeyUsage`, if the certificate has one, needs both
    /// `serverAuth` and `clientAuth`.
    pub cert: Option<PathBuf>,
    /// The private key of that certificate, PEM, without a password.
    pub key: Option<PathBuf>,
    /// The certificates of the authorities that are trusted, PEM: one as a rule, two while one takes over from another.
    pub ca: Option<PathBuf>,
    /// The name that the certificate of every node must carry as a `subjectAltName`, a DNS name or an IP address.
    ///
    /// Default: [`Config::name`]. Both sides check it, the one that is dialled too. An authority may have signed much else, and which of
    /// two nodes dials is a matter of their addresses.
    pub server_name: Option<String>,
}

impl Tls {
    /// The files with their keys, in the order of the table.
    pub(super) fn files(&self) -> [(&'static str, Option<&Path>); 3] {
        let [cert, key, ca] = keys::TLS_FILES;
        [(cert, self.cert.as_deref()), (key, self.key.as_deref()), (ca, self.ca.as_deref())]
    }
}

impl Config {
    /// The files of mutual TLS; `None` if one of them is not configured.
    pub(crate) fn tls_files(&self) -> Option<Files> {
        let Tls { cert: Some(cert), key: Some(key), ca: Some(ca), server_name } = &self.tls else {
            return None;
        };
        Some(Files {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
            server_name: server_name.clone().unwrap_or_else(|| self.name.clone()),
        })
    }

    /// The problems of the files, each with its origin.
    pub(crate) fn tls_problems(&self, troubles: Vec<TlsError>) -> impl Iterator<Item = Problem> {
        let problem = |TlsError { key, shown, fault, .. }| {
            self.problem(key, Some(quoted(&shown)), ProblemKind::Tls(fault))
        };
        troubles.into_iter().map(problem)
    }
}
