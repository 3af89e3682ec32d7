//! What the errors of rustls mean between nodes.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use cloister_proto::text::sanitize;

use super::Failure;
use crate::tls::validity::moment;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return Self::from(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Other(sanitize(&error.to_string())),
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Failure::Plaintext,
            Error::NoCertificatesPresented => Failure::None,
            Error::InvalidCertificate(error) => Failure::Theirs(theirs(error)),
            Error::AlertReceived(alert) => mine(*alert),
            other => Failure::Other(sanitize(&other.to_string())),
        }
    }
}

fn theirs(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = moment(std::time::Duration::from_secs(not_after.as_secs()));
            format!("expired at {at}: renew it there, and compare the clocks")
        }
        CertificateError::Expired => "has expired: renew it there, and compare the clocks".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = moment(std::time::Duration::from_secs(not_before.as_secs()));
            format!("is not valid before {from}: compare the clocks")
        }
        CertificateError::NotValidYet => "is not valid yet: compare the clocks".to_owned(),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by an authority that is not in this node's `tls.ca`: sign it by one that is, or add its \
             authority here"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is for {}, and not for {}: `tls.server_name` and the certificates must be the same on all nodes",
            names(presented),
            expected.to_str()
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "may not be used by servers and clients, and a node is both: sign one without `extendedKeyUsage`".to_owned()
        }
        other => format!("cannot be used: {}", sanitize(&other.to_string())),
    }
}

fn mine(alert: AlertDescription) -> Failure {
    Failure::Mine(match alert {
        AlertDescription::CertificateExpired => {
            "which has expired or is not valid yet: renew `tls.cert`, and compare the clocks"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "whose authority is not in its `tls.ca`: add it there, or have this one signed by the same"
        }
        AlertDescription::BadCertificate => {
            "which is for another name: `tls.server_name` and the certificates must be the same on all nodes"
        }
        AlertDescription::UnsupportedCertificate => {
            "which may not be used by servers and clients: sign one without `extendedKeyUsage`"
        }
        AlertDescription::CertificateRequired => "because there is none: set `tls.cert` and `tls.key`",
        AlertDescription::CertificateUnknown => "which cannot be used: its own log says why",
        AlertDescription::ProtocolVersion => return Failure::NoTls,
        other => return Failure::Other(format!("it answers {other:?}")),
    })
}

/// The names of a certificate as rustls shows them, `DnsName("a")`, for a person.
pub(in crate::tls) fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let quoted = name.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
        quoted.map_or(name.as_str(), |(name, _)| name).to_owned()
    };
    match presented {
        [] => "no name at all".to_owned(),
        some => sanitize(&some.iter().map(plain).collect::<Vec<_>>().join(", ")),
    }
}
