//! A certificate authority that signs whatever it is asked to, also what no authority should.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What an authority is asked to sign: a certificate for nodes called `it`, a month old, with two to go.
pub struct Order {
    /// The DNS name that the certificate carries.
    pub name: &'static str,
    /// Whether it ended yesterday.
    pub expired: bool,
    /// Whether it ends in a few days, which is less than a fifth of its life.
    pub ends_soon: bool,
    /// How long it takes until it is valid; without this it has been for a month.
    pub starts_in: Option<Duration>,
    /// Whether it may be used by servers only.
    pub servers_only: bool,
    /// Whether it may sign others itself.
    pub authority: bool,
}

/// A certificate and its private key.
pub struct Pair {
    /// The certificate, PEM.
    pub cert: String,
    /// The private key, PEM.
    pub key: String,
}

/// Where the files of a node are.
#[derive(Clone)]
pub struct Paths {
    /// The file of its certificate.
    pub cert: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// The file of the authorities that it trusts.
    pub ca: PathBuf,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            name: "it",
            expired: false,
            ends_soon: false,
            starts_in: None,
            servers_only: false,
            authority: false,
        }
    }
}

impl Authority {
    /// An authority with a new key and a certificate of its own.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for a new key.
    pub fn sign(&self, order: &Order) -> Pair {
        let mut params = CertificateParams::new(vec![order.name.to_owned()]).expect("a name");
        let now = date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().expect("it is later");
        params.not_before = order.starts_in.map_or(now - 30 * DAY, |pause| now + pause);
        params.not_after = match order {
            Order { expired: true, .. } => now - DAY,
            Order { ends_soon: true, .. } => now + 3 * DAY,
            _ => now + 60 * DAY,
        };
        if order.servers_only {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        if order.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("it signs").pem();
        Pair { cert, key: key.serialize_pem() }
    }

    /// Signs, and writes what a node of this authority has.
    pub fn equip(&self, directory: &Path, order: &Order) -> Paths {
        write(directory, &self.sign(order), &[self])
    }
}

/// Writes the files of a node into a directory of its own, each in one step.
pub fn write(directory: &Path, pair: &Pair, trusted: &[&Authority]) -> Paths {
    fs::create_dir_all(directory).expect("a directory");
    let ca: String = trusted.iter().map(|authority| authority.pem()).collect();
    let put = |name: &str, text: &str| {
        let (path, draft) = (directory.join(name), directory.join(format!("{name}.new")));
        fs::write(&draft, text).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).expect("its owner may");
        }
        fs::rename(&draft, &path).expect("it takes the place of the old one");
        path
    };
    Paths { cert: put("cert.pem", &pair.cert), key: put("key.pem", &pair.key), ca: put("ca.pem", &ca) }
}
