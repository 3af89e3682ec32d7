//! The identity of a node: its address, its name, and the incarnation of its process.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use prost::bytes::Bytes;
use thiserror::Error;

use crate::text::sanitize;

/// The longest name of an application, in bytes.
pub const MAX_APP_LEN: usize = 63;

/// The longest host, in bytes: the limit of a DNS name.
pub const MAX_HOST_LEN: usize = 253;

/// What stands for the host of a node without a network.
const NO_HOST: &str = "nohost";

/// A text that is not a name or an address.
///
/// [`Address`] and [`NodeName`] have examples of what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// An application name with a letter that is not allowed, or too long or short.
    #[error("`{}` is not an application name: use 1 to {MAX_APP_LEN} letters, digits, `-` or `_`", sanitize(.0))]
    App(String),
    /// A host that is neither an IP address nor a DNS name.
    #[error("`{}` is not a host: use an IPv4 or IPv6 address or a DNS name", sanitize(.0))]
    Host(String),
    /// A port that is missing or outside 1–65535.
    #[error("`{}` has no port between 1 and 65535: write `host:port`, or `[address]:port` for IPv6", sanitize(.0))]
    Port(String),
    /// A node name that is not of the form `app@host:port`.
    #[error("`{}` is not a node name: write `app@host:port`", sanitize(.0))]
    Form(String),
}

/// Where a node is reached: `host:port`, `[v6]:port` for an IPv6 address.
///
/// Addresses are ordered by their text: the node with the greater address dials the other.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::Address;
///
/// let address: Address = "[fd00::7]:4370".parse()?;
/// assert_eq!((address.host(), address.port()), ("fd00::7", 4370));
/// assert_eq!(Address::new("10.0.0.7", 4370)?.to_string(), "10.0.0.7:4370");
/// # Ok::<(), cloister::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

impl Address {
    /// Joins host and port.
    ///
    /// # Errors
    ///
    /// [`NameError`] when `host` is neither an IP address nor a DNS name, or `port` is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, NameError> {
        if port == 0 {
            return Err(NameError::Port(format!("{host}:{port}")));
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string().into(), port });
        }
        if !is_dns_name(bare) {
            return Err(NameError::Host(host.to_owned()));
        }
        Ok(Self { host: bare.to_ascii_lowercase().into(), port })
    }

    /// The host without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The IP address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl From<SocketAddr> for Address {
    /// Port 0 is kept: it can be printed, though no peer can connect to it.
    fn from(socket: SocketAddr) -> Self {
        Self { host: socket.ip().to_canonical().to_string().into(), port: socket.port() }
    }
}

impl FromStr for Address {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| NameError::Port(text.to_owned()))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(NameError::Port(text.to_owned()));
        }
        let port = port.parse().map_err(|_| NameError::Port(text.to_owned()))?;
        Self::new(host, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.host.cmp(&other.host).then(self.port.cmp(&other.port))
    }
}

fn is_dns_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= MAX_HOST_LEN
        && host.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// The name of a node: `app@host:port`, or `app@nohost` for a node without a network.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::NodeName;
///
/// let name: NodeName = "shop@10.0.0.7:4370".parse()?;
/// assert_eq!(name.app(), "shop");
/// assert_eq!(name.address().map(|address| address.host()), Some("10.0.0.7"));
/// assert!(NodeName::without_network("shop")?.address().is_none());
/// # Ok::<(), cloister::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    app: Arc<str>,
    address: Option<Address>,
}

impl NodeName {
    /// The name of the application `app` at `address`.
    ///
    /// # Errors
    ///
    /// [`NameError::App`] when `app` is not a valid application name.
    pub fn new(app: &str, address: Address) -> Result<Self, NameError> {
        Ok(Self { app: checked_app(app)?, address: Some(address) })
    }

    /// The name of an application that runs as a single node without a network.
    ///
    /// # Errors
    ///
    /// [`NameError::App`] when `app` is not a valid application name.
    pub fn without_network(app: &str) -> Result<Self, NameError> {
        Ok(Self { app: checked_app(app)?, address: None })
    }

    /// The application's part of the name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Where the node is reached; `None` for a node without a network.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }
}

fn checked_app(app: &str) -> Result<Arc<str>, NameError> {
    let fits = !app.is_empty()
        && app.len() <= MAX_APP_LEN
        && app.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(app.into()) } else { Err(NameError::App(app.to_owned())) }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (app, place) = text.split_once('@').ok_or_else(|| NameError::Form(text.to_owned()))?;
        if place == NO_HOST { Self::without_network(app) } else { Self::new(app, place.parse()?) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{}@{address}", self.app),
            None => write!(f, "{}@{NO_HOST}", self.app),
        }
    }
}

/// The incarnation of a process: a random number drawn at its start.
///
/// [`NodeId`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One incarnation of one node: its name, its incarnation number, and when it started.
///
/// Ordered by age, the oldest first: start time, then name, then incarnation. Cheap to clone.
///
/// ```
/// # extern crate cloister_proto as cloister;
/// use cloister::{Incarnation, NodeId, NodeName};
///
/// let name: NodeName = "shop@10.0.0.7:4370".parse()?;
/// let first = NodeId::new(name.clone(), Incarnation(0xa1), 1_790_000_000_000);
/// let second = NodeId::new(name, Incarnation(0xb2), 1_790_000_060_000);
/// assert!(first < second, "the older one comes first");
/// assert!(second.same_name_other_incarnation(&first));
/// # Ok::<(), cloister::NameError>(())
/// ```
#[derive(Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "crate::serialize::NodeIdFields", into = "crate::serialize::NodeIdFields")
)]
pub struct NodeId(Arc<NodeIdInner>);

struct NodeIdInner {
    started_at: u64,
    name: NodeName,
    incarnation: Incarnation,
    /// The name as it is sent: ids are sent far more often than they are made.
    text: Bytes,
}

impl NodeIdInner {
    /// What equality and order depend on.
    fn key(&self) -> (u64, &NodeName, Incarnation) {
        (self.started_at, &self.name, self.incarnation)
    }
}

impl NodeId {
    /// The incarnation `incarnation` of the node `name`, started `started_at` milliseconds after the Unix epoch.
    #[must_use]
    pub fn new(name: NodeName, incarnation: Incarnation, started_at: u64) -> Self {
        let text = name.to_string().into();
        Self(Arc::new(NodeIdInner { started_at, name, incarnation, text }))
    }

    /// The same id with a reference count of its own. Threads that clone one id all the time contend for the cache line of its
    /// count.
    #[must_use]
    pub fn detached(&self) -> Self {
        let NodeIdInner { started_at, name, incarnation, text } = &*self.0;
        let (name, text) = (name.clone(), text.clone());
        Self(Arc::new(NodeIdInner { started_at: *started_at, name, incarnation: *incarnation, text }))
    }

    /// `app@host:port`.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.0.name
    }

    /// The name, as it is sent.
    pub(crate) fn text(&self) -> &Bytes {
        &self.0.text
    }

    /// The random number of this incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// The wall clock at the start of the process, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn started_at(&self) -> u64 {
        self.0.started_at
    }

    /// Whether the other has the same name and is another incarnation.
    #[must_use]
    pub fn same_name_other_incarnation(&self, other: &NodeId) -> bool {
        self.0.incarnation != other.0.incarnation && self.0.name == other.0.name
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key() == other.0.key()
    }
}

impl Eq for NodeId {}

impl Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.key().cmp(&other.0.key()) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0.name, self.0.incarnation)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_id_is_the_same_one_counted_apart() {
        let id = NodeId::new("shop@10.0.0.7:4370".parse().unwrap(), Incarnation(7), 42);
        let detached = id.detached();
        let _clones = [detached.clone(), detached.clone()];
        assert_eq!((&detached, detached.cmp(&id), detached.text()), (&id, Ordering::Equal, id.text()));
        assert_eq!((Arc::strong_count(&id.0), Arc::strong_count(&detached.0)), (1, 3));
    }

    #[test]
    fn an_address_is_a_host_and_a_port_in_one_form() {
        let read = |text: &str| text.parse::<Address>().expect("an address");
        for (text, host, port, ip) in [
            ("Shop.Example:80", "shop.example", 80, None),
            ("10.0.0.7:4370", "10.0.0.7", 4370, Some("10.0.0.7")),
            ("[2001:DB8:0::1]:1", "2001:db8::1", 1, Some("2001:db8::1")),
        ] {
            let address = read(text);
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.ip(), ip.map(|ip| ip.parse().expect("an IP address")));
            assert_eq!(read(&address.to_string()), address);
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.7]:0".parse().expect("a socket's address");
        assert_eq!(Address::from(mapped).to_string(), "10.0.0.7:0");
        assert!(read("a:2") > read("a:1") && read("b:1") > read("a:2"), "by host, then by port");
    }

    #[test]
    fn what_is_no_address_says_what_is_wrong_with_it() {
        let wrong = |text: &str| text.parse::<Address>().expect_err("no address");
        for text in ["a", "a:0", "a:65536", "a:x", "a:", "::1:80"] {
            assert_eq!(wrong(text), NameError::Port(text.to_owned()));
        }
        for host in ["", "a b", "a..b", ".a", "a/b", "ä"] {
            assert_eq!(wrong(&format!("{host}:1")), NameError::Host(host.to_owned()));
        }
        for host in ["a-b", "a_b", "a.b.", "9"] {
            assert!(Address::new(host, 1).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_host_and_an_application_may_be_as_long_as_their_limits_and_no_longer() {
        let label = "x".repeat(63);
        let longest = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), MAX_HOST_LEN);
        assert!(Address::new(&longest, 1).is_ok());
        assert!(Address::new(&format!("{longest}x"), 1).is_err());
        assert!(Address::new(&format!("{label}x"), 1).is_err(), "a label of 64 bytes");

        let address = Address::new("h", 1).expect("an address");
        let fits = |app: &str| NodeName::new(app, address.clone()).is_ok();
        let app = "x".repeat(MAX_APP_LEN);
        assert!(fits(&app) && fits("shop-2_a") && !fits(&format!("{app}x")) && !fits("") && !fits("a.b"));
    }

    #[test]
    fn a_node_without_a_network_has_a_name_and_no_address() {
        let name = NodeName::without_network("shop").expect("a name");
        assert_eq!((name.app(), name.address(), name.to_string()), ("shop", None, "shop@nohost".to_owned()));
        assert_eq!("shop@nohost".parse(), Ok(name));
        assert_eq!("shop".parse::<NodeName>(), Err(NameError::Form("shop".to_owned())));
    }

    #[test]
    fn incarnations_are_ordered_by_age_and_distinguished_by_their_number() {
        let incarnation = |name: &str, number: u64, started: u64| {
            NodeId::new(name.parse().expect("a name"), Incarnation(number), started)
        };
        let in_order = [
            incarnation("b@h:1", 9, 1),
            incarnation("a@h:1", 7, 2),
            incarnation("a@h:1", 8, 2),
            incarnation("b@h:1", 1, 2),
        ];
        assert!(in_order.is_sorted_by(|a, b| a < b));
        assert!(in_order[1].same_name_other_incarnation(&in_order[2]));
        assert!(
            !in_order[1].same_name_other_incarnation(&in_order[1])
                && !in_order[0].same_name_other_incarnation(&in_order[1])
        );
        assert_eq!((in_order[0].to_string(), in_order[0].started_at()), ("b@h:1#9".to_owned(), 1));
        assert_eq!(format!("{:?}", in_order[0]), in_order[0].to_string());
        // The model checker distinguishes states by their hashes.
        let hash = |id: &NodeId| {
            let mut hasher = std::hash::DefaultHasher::new();
            id.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&in_order[1]), hash(&incarnation("a@h:1", 7, 2)));
        assert_ne!(hash(&in_order[1]), hash(&in_order[2]));
    }
}
