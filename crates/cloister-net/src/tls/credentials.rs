//! The contents of the files, once they are known to be usable.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::client::{
    Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore, ServerConfig, version};

use super::failure::rustls_errors;
use super::fault::TlsFileError;
use super::files::{Files, TlsError};
use super::validity::Age;
use super::verifier::NamedClient;
use crate::files;

/// The longest file that is read, in bytes: a hundred authorities.
const MAX_LEN: usize = 1 << 18;

/// What the three files hold, in their order.
pub(super) struct Contents([Vec<u8>; 3]);

impl Contents {
    /// Reads all of them; fails with each that cannot be read.
    pub(super) fn read(files: &Files) -> Result<Self, Vec<TlsError>> {
        let mut errors = Vec::new();
        let contents =
            [("tls.cert", &files.cert), ("tls.key", &files.key), ("tls.ca", &files.ca)].map(|(key, path)| {
                match files::read(path, MAX_LEN).map_err(TlsFileError::Unreadable) {
                    Ok(bytes) => bytes,
                    Err(fault) => {
                        errors.push(TlsError { key, shown: path.display().to_string(), fault });
                        Vec::new()
                    }
                }
            });
        if errors.is_empty() { Ok(Self(contents)) } else { Err(errors) }
    }

    /// Identifies these contents, and reveals nothing of the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for content in &self.0 {
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(content);
        }
        hash.finalize().into()
    }
}

/// What handshakes take.
pub(super) struct Credentials {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) age: Age,
    /// Of the contents that these were made of.
    pub(super) digest: [u8; 32],
}

impl Credentials {
    /// Makes sure that others with the same authority can accept this certificate, its age aside. Else it fails with all that is wrong, as
    /// far as it can be seen at once.
    pub(super) fn new(files: &Files, contents: &Contents) -> Result<Self, Vec<TlsError>> {
        let tls_error = |key, fault: TlsFileError| {
            let shown = match key {
                "tls.cert" => files.cert.display().to_string(),
                "tls.key" => files.key.display().to_string(),
                "tls.ca" => files.ca.display().to_string(),
                _ => files.server_name.clone(),
            };
            TlsError { key, shown, fault }
        };
        let [cert, key, ca] = &contents.0;
        let chain = certificates(cert).map_err(|fault| tls_error("tls.cert", fault));
        let key = private_key(key).map_err(|fault| tls_error("tls.key", fault));
        let roots = roots(ca).map_err(|fault| tls_error("tls.ca", fault));
        let name = ServerName::try_from(files.server_name.clone())
            .map_err(|_| tls_error("tls.server_name", TlsFileError::NotAServerName));
        let (chain, key, roots, name) = match (chain, key, roots, name) {
            (Ok(chain), Ok(key), Ok(roots), Ok(name)) => (chain, key, Arc::new(roots), name),
            (chain, key, roots, name) => {
                let all = [chain.err(), key.err(), roots.err(), name.err()];
                return Err(all.into_iter().flatten().collect());
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        // The first random number of a process may take 100 ms, since its source is stirred first. Now, or the first handshake
        // takes so long that both nodes dial.
        let _ = provider.secure_random.fill(&mut [0]);
        let own = CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|error| {
            vec![match error {
                rustls::Error::InconsistentKeys(_) => {
                    tls_error("tls.key", TlsFileError::KeyUnfit { cert: files.cert.display().to_string() })
                }
                rustls::Error::InvalidCertificate(error) => tls_error("tls.cert", unusable(&error, files)),
                other => tls_error("tls.key", TlsFileError::BadKey(other.to_string())),
            }]
        })?;
        let check = Check { chain: &chain, roots: &roots, name: &name, provider: &provider };
        let age = check.all().map_err(|error| vec![tls_error("tls.cert", unusable(&error, files))])?;
        let broken =
            |error: &dyn ToString| vec![tls_error("tls.ca", TlsFileError::BadCertificate(error.to_string()))];

        let verifier = check.clients().map_err(|error| broken(&error))?;
        let verifier = Arc::new(NamedClient { inner: verifier, name });
        let own = Arc::new(SingleCertAndKey::from(own));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| broken(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&own) as _);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| broken(&error))?
            .with_root_certificates(roots)
            .with_client_cert_resolver(own);
        client.resumption = Resumption::disabled();
        Ok(Self { client: Arc::new(client), server: Arc::new(server), age, digest: contents.digest() })
    }
}

/// A certificate as the others will see it.
struct Check<'a> {
    chain: &'a [CertificateDer<'static>],
    roots: &'a Arc<RootCertStore>,
    name: &'a ServerName<'static>,
    provider: &'a Arc<CryptoProvider>,
}

impl Check<'_> {
    fn clients(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
        WebPkiClientVerifier::builder_with_provider(Arc::clone(self.roots), Arc::clone(self.provider)).build()
    }

    /// Whether it is fit for its name, for servers and for clients, at some time of its life; and when that is.
    fn all(&self) -> Result<Age, CertificateError> {
        let Some((own, between)) = self.chain.split_first() else {
            return Err(CertificateError::BadEncoding);
        };
        let parsed = ParsedCertificate::try_from(own).map_err(reason)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let at = |time| {
            let time = UnixTime::since_unix_epoch(time);
            verify_server_cert_signed_by_trust_anchor(&parsed, self.roots, between, time, algorithms)
                .map_err(reason)
        };
        // Only the verifier can read a certificate here: far outside of the certificate's validity, its error names the bounds.
        let mut not_before = Duration::ZERO;
        // What stands between it and the authority may be younger.
        for _ in self.chain {
            match at(not_before) {
                Err(CertificateError::NotValidYetContext { not_before: later, .. }) => {
                    not_before = Duration::from_secs(later.as_secs());
                }
                Ok(()) => break,
                Err(other) => return Err(other),
            }
        }
        let not_after = match at(Duration::from_secs(u64::MAX)) {
            Err(CertificateError::ExpiredContext { not_after, .. }) => {
                Duration::from_secs(not_after.as_secs())
            }
            Ok(()) => Duration::MAX,
            Err(other) => return Err(other),
        };
        at(not_before)?;
        verify_server_name(&parsed, self.name).map_err(reason)?;
        let time = UnixTime::since_unix_epoch(not_before);
        if let Ok(clients) = self.clients() {
            clients.verify_client_cert(own, between, time).map_err(reason)?;
        }
        Ok(Age { not_before, not_after })
    }
}

fn reason(error: rustls::Error) -> CertificateError {
    match error {
        rustls::Error::InvalidCertificate(error) => error,
        _ => CertificateError::BadEncoding,
    }
}

/// Why others would not accept a certificate.
fn unusable(error: &CertificateError, files: &Files) -> TlsFileError {
    let name = files.server_name.clone();
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsFileError::NotOfCa { ca: files.ca.display().to_string() }
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsFileError::NotForName { name, names: rustls_errors::names(presented) }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsFileError::NotForNodes
        }
        CertificateError::Other(other) => match other.0.to_string().as_str() {
            "CaUsedAsEndEntity" => TlsFileError::Authority,
            "UnsupportedCertVersion" => TlsFileError::Version1 { name },
            other => TlsFileError::BadCertificate(other.to_owned()),
        },
        other => TlsFileError::BadCertificate(other.to_string()),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(broken)?;
    if !all.is_empty() {
        return Ok(all);
    }
    Err(if says(pem, "PRIVATE KEY-----") {
        TlsFileError::KeyForCertificate
    } else {
        TlsFileError::NoCertificate
    })
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    if says(pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || says(pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(TlsFileError::LockedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if says(pem, "-----BEGIN CERTIFICATE-----") => {
            TlsFileError::CertificateForKey
        }
        pem::Error::NoItemsFound => TlsFileError::NoKey,
        // Without a word of what stands there.
        _ => TlsFileError::BrokenPem("what stands between BEGIN and END is no key".to_owned()),
    })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem)? {
        roots.add(authority).map_err(|error| TlsFileError::BadCertificate(error.to_string()))?;
    }
    Ok(roots)
}

fn broken(error: pem::Error) -> TlsFileError {
    TlsFileError::BrokenPem(match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end".to_owned(),
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not Base64".to_owned(),
        other => other.to_string(),
    })
}

fn says(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}
