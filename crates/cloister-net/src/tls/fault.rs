//! What can be wrong with the files of TLS.

use thiserror::Error;

/// Why a file of TLS cannot be used, and what to do about it. Never shows what is in a key.
///
/// ```
/// use cloister_net::tls::TlsFileError;
///
/// println!("{}", TlsFileError::NoKey); // says what to write instead
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The code that could use it is not there.
    #[error(
        "this program was built without the feature `tls`: build it with that feature of `cloister`, or remove it"
    )]
    NotBuilt,
    /// No certificate.
    #[error("holds no certificate: it must have a block that begins with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A key where certificates must be.
    #[error("holds a private key where a certificate must be: was it mistaken for `tls.key`?")]
    KeyForCertificate,
    /// No key.
    #[error("holds no private key: it must have a block that begins with `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// Certificates where a key must be.
    #[error("holds a certificate where a private key must be: was it mistaken for `tls.cert`?")]
    CertificateForKey,
    /// A key that only a person can open.
    #[error(
        "is locked by a password, and a node cannot ask for one: `openssl pkey -in FILE -out NEW` writes it without"
    )]
    LockedKey,
    /// Bytes that are not PEM, though they begin like it.
    #[error("is broken PEM: {0}; write the file anew")]
    BrokenPem(String),
    /// A key of a kind that is not known.
    #[error(
        "is not a key that can be used: {0}; RSA of 2048 bits or more, ECDSA P-256, P-384 and Ed25519 can"
    )]
    BadKey(String),
    /// The key of something else.
    #[error("is not the key of the certificate in {cert}: give the pair that belongs together")]
    KeyUnfit {
        /// The file with the certificate.
        cert: String,
    },
    /// What is no certificate, or not one that can be used.
    #[error("is not a certificate that can be used: {0}")]
    BadCertificate(String),
    /// A certificate of an authority where that of a node must be.
    #[error("is the certificate of an authority: give one that was signed for the nodes by it")]
    Authority,
    /// Without the extensions.
    #[error(
        "is a certificate of X.509 version 1, which has no subject alternative name: sign it with `subjectAltName = DNS:{name}`"
    )]
    Version1 {
        /// The name it must carry.
        name: String,
    },
    /// Signed by another authority.
    #[error("is not signed by an authority in {ca}: sign it by one of those, or add its authority there")]
    NotOfCa {
        /// The file with the authorities.
        ca: String,
    },
    /// For another name.
    #[error(
        "is for {names}, and not for {name}: sign one with `subjectAltName = DNS:{name}`, or set `tls.server_name`"
    )]
    NotForName {
        /// The name it must carry.
        name: String,
        /// Those it does.
        names: String,
    },
    /// For one half of what a node does.
    #[error(
        "may not be used by servers and clients, and a node is both: sign one without `extendedKeyUsage`, or with both"
    )]
    NotForNodes,
    /// No name.
    #[error("is not a DNS name nor an IP address: set `tls.server_name` to what the certificates carry")]
    NotAServerName,
}
