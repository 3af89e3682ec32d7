//! Hosts and ports as users write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// The longest DNS name, in bytes.
const MAX_NAME_LEN: usize = 253;
/// The longest part of a DNS name between two dots, in bytes.
const MAX_LABEL_LEN: usize = 63;

/// Why a text is not a host that other machines can dial. Each variant has the text.
///
/// ```
/// use cloister_discovery::{Host, HostError};
///
/// let error = Host::parse("0.0.0.0").unwrap_err();
/// assert!(matches!(error, HostError::Unspecified(_)));
/// assert_eq!(error.text(), "0.0.0.0");
/// println!("{}", error.advice());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` {}", self.text(), self.advice())]
#[non_exhaustive]
pub enum HostError {
    /// Neither an IP address nor a DNS name.
    Form(String),
    /// A port that is missing, 0, too big or no number.
    Port(String),
    /// An address that means "any", such as `0.0.0.0`.
    Unspecified(String),
    /// A multicast or broadcast address.
    Group(String),
    /// An IPv6 link-local address: it means something else on each link.
    LinkLocal(String),
}

impl HostError {
    /// What was written.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Self::Form(text)
        | Self::Port(text)
        | Self::Unspecified(text)
        | Self::Group(text)
        | Self::LinkLocal(text)) = self;
        text
    }

    /// What is wrong with it, and what to write instead.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Form(_) => {
                "is not a host: use an IPv4 or IPv6 address, or a DNS name of letters, digits, `-`, `_` and `.`"
            }
            Self::Port(_) => {
                "has no port between 1 and 65535 after the colon: write `host:port`, or `[address]:port` for IPv6"
            }
            Self::Unspecified(_) => {
                "stands for every address and cannot be dialled: write the address of one host"
            }
            Self::Group(_) => "is the address of a group: write the address of one host",
            Self::LinkLocal(_) => {
                "is a link-local address, which means another host on every link: write a routable address"
            }
        }
    }
}

/// An IP address or a DNS name.
///
/// ```
/// use cloister_discovery::Host;
///
/// let host = Host::parse("Node-A.example.com")?;
/// assert_eq!((host.to_string().as_str(), host.ip()), ("node-a.example.com", None));
/// assert!(Host::parse("127.0.0.7")?.is_loopback());
/// # Ok::<(), cloister_discovery::HostError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address, never unspecified, multicast or IPv6 link-local.
    Ip(IpAddr),
    /// A name in lower case, without a trailing dot unless it was written with one.
    Name(String),
}

impl Host {
    /// Reads `10.0.0.1`, `fd00::1`, `[fd00::1]`, `node-a` or `node-a.example.com`.
    ///
    /// # Errors
    ///
    /// [`HostError`] if other machines cannot dial it.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some((address, _)) = bare.unwrap_or(text).split_once('%')
            && address.parse::<Ipv6Addr>().is_ok()
        {
            return Err(HostError::LinkLocal(text.to_owned()));
        }
        match (bare.unwrap_or(text).parse::<IpAddr>(), bare) {
            (Ok(ip), _) => checked(ip.to_canonical(), text).map(Self::Ip),
            (Err(_), None) if is_name(text) => Ok(Self::Name(text.to_ascii_lowercase())),
            (Err(_), _) => Err(HostError::Form(text.to_owned())),
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }

    /// Whether it means this machine on every machine: `127.x.x.x`, `::1`, `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

impl fmt::Display for Host {
    /// IPv6 addresses stand without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A port, and whether it was written or is the default.
///
/// [`Entry`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Written beside the host.
    Given(u16),
    /// The default, because none was written.
    Default(u16),
}

impl Port {
    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Given(port) | Self::Default(port) => port,
        }
    }

    /// The number, if it was written beside the host.
    #[must_use]
    pub fn given(self) -> Option<u16> {
        match self {
            Self::Given(port) => Some(port),
            Self::Default(_) => None,
        }
    }
}

/// A host and the port to dial there.
///
/// ```
/// use cloister_discovery::{Entry, Port};
///
/// let entry = Entry::parse("[fd00::7]:4371", 4370)?;
/// assert_eq!(entry.port, Port::Given(4371));
/// assert_eq!(entry.socket(), "[fd00::7]:4371".parse().ok());
/// assert_eq!(Entry::parse("node-a", 4370)?.port.number(), 4370);
/// # Ok::<(), cloister_discovery::HostError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which host.
    pub host: Host,
    /// Which port.
    pub port: Port,
}

impl Entry {
    /// Reads `host`, `host:port` or `[v6]:port`; a bare IPv6 address has the default port.
    ///
    /// # Errors
    ///
    /// [`HostError`] if other machines cannot dial the host, or if the port is no number from 1 to 65535.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, HostError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, Port::Given(port.ok_or_else(|| HostError::Port(text.to_owned()))?))
            }
            _ => (text, Port::Default(default_port)),
        };
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The socket address, if the host is an IP address.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port.number()))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket() {
            Some(socket) => socket.fmt(f),
            None => write!(f, "{}:{}", self.host, self.port.number()),
        }
    }
}

/// Whether an IPv6 address is valid on one link only.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn checked(ip: IpAddr, text: &str) -> Result<IpAddr, HostError> {
    let text = || text.to_owned();
    if ip.is_unspecified() {
        Err(HostError::Unspecified(text()))
    } else if ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
        Err(HostError::Group(text()))
    } else if is_link_local(ip) {
        Err(HostError::LinkLocal(text()))
    } else {
        Ok(ip)
    }
}

/// A name with only digits in its last label is a mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= MAX_NAME_LEN
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_is_read() {
        for (text, shown, given) in [
            ("node-a", "node-a:4370", None),
            ("Node-A.Example.com:80", "node-a.example.com:80", Some(80)),
            ("10.0.0.1", "10.0.0.1:4370", None),
            ("10.0.0.1:5000", "10.0.0.1:5000", Some(5000)),
            ("fd00::1", "[fd00::1]:4370", None),
            ("[fd00::1]", "[fd00::1]:4370", None),
            ("[fd00::1]:5000", "[fd00::1]:5000", Some(5000)),
            ("[::ffff:10.0.0.1]:5000", "10.0.0.1:5000", Some(5000)),
            ("my_app.tasks.", "my_app.tasks.:4370", None),
        ] {
            let entry = Entry::parse(text, 4370).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((entry.to_string().as_str(), entry.port.given()), (shown, given), "{text}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_dialled_is_rejected_by_its_kind() {
        let parse = |text: &str| Entry::parse(text, 4370).unwrap_err();
        for text in
            ["", "a b", "ünï", "10.0.0.256", "10.0.0", "a..b", "[node]", "[fd00::1", "1:2:3", "-:/", "a@b"]
        {
            assert!(matches!(parse(text), HostError::Form(_) | HostError::Port(_)), "{text}");
        }
        for text in ["a:", "a:0", "a:65536", "a:x", "[fd00::1]:", "10.0.0.1:-1"] {
            assert!(matches!(parse(text), HostError::Port(_)), "{text}");
        }
        assert!(matches!(parse("0.0.0.0:4370"), HostError::Unspecified(_)));
        assert!(matches!(parse("[::]:4370"), HostError::Unspecified(_)));
        assert!(matches!(parse("239.0.0.1"), HostError::Group(_)));
        assert!(matches!(parse("255.255.255.255"), HostError::Group(_)));
        assert!(matches!(parse("fe80::1"), HostError::LinkLocal(_)));
        assert!(matches!(parse("[fe80::1%eth0]:4370"), HostError::LinkLocal(_)));
        assert!(matches!(parse(&"a".repeat(64)), HostError::Form(_)));
    }

    #[test]
    fn loopback_is_seen_in_names_and_numbers() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("localhost", true),
            ("a.localhost", true),
            ("mylocalhost", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }
}
