//! The addresses and the environment of each node.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use thiserror::Error;

use crate::console::NodeNumber;

/// The cluster port, if none is asked for.
pub(crate) const DEFAULT_PORT: u16 = 4370;

/// The port of the admin HTTP, if none is asked for.
pub(crate) const DEFAULT_ADMIN_PORT: u16 = 8400;

/// How many nodes there may be.
const MAX_NODES: usize = 200;

/// How many blocks of ports are tried before giving up.
const BLOCKS: u16 = 100;

/// One node: its number and its two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) number: NodeNumber,
    /// Where the other nodes reach it.
    pub(crate) address: SocketAddr,
    /// Where its admin HTTP listens.
    pub(crate) admin: SocketAddr,
}

impl Node {
    /// The URL of its admin HTTP.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

/// The nodes of one cluster on this machine.
///
/// Where the whole of 127.0.0.0/8 is this machine (Linux), node *i* is 127.0.0.*i* and all have the same port, as on real hosts. Elsewhere
/// (macOS) all are 127.0.0.1 and the ports count up.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
    layout: Layout,
    /// The state file that is configured for all of them.
    state_file: Option<PathBuf>,
    /// What the user should know about it: ports that were taken, and where state files are.
    pub(crate) notes: Vec<String>,
}

/// No place for the nodes.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    #[error(
        "{address} is taken by another program; stop it, or leave out {option} to have a free port chosen"
    )]
    Taken { address: SocketAddr, option: &'static str },
    #[error(
        "no free block of ports for {count} nodes in {BLOCKS} tries from {port} on; choose one with {option}"
    )]
    NoBlock { count: usize, port: u16, option: &'static str },
    #[error("{count} ports from {port} on go beyond 65535; choose a smaller {option}")]
    TooHigh { count: usize, port: u16, option: &'static str },
    #[error("{address} is taken by another program")]
    Occupied { address: SocketAddr },
    #[error("there are {MAX_NODES} nodes at most")]
    TooMany,
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
}

/// What a port is for.
#[derive(Clone, Copy)]
enum Role {
    Cluster,
    Admin,
}

impl Role {
    fn option(self) -> &'static str {
        match self {
            Role::Cluster => "--port",
            Role::Admin => "--admin-port",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Role::Cluster => DEFAULT_PORT,
            Role::Admin => DEFAULT_ADMIN_PORT,
        }
    }
}

/// How nodes are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// By address: 127.0.0.1, 127.0.0.2, …
    ByAddress,
    /// By port: 4370, 4371, …
    ByPort,
}

impl Layout {
    /// By address if this machine answers to all of them.
    fn of_this_machine(count: usize) -> Self {
        Self::of(count, |index| TcpListener::bind(SocketAddr::new(loopback(index), 0)).is_ok())
    }

    /// By address if there is one for each node, and, since nodes may be added, for a second one. `has` says which addresses there are.
    fn of(count: usize, has: impl FnMut(usize) -> bool) -> Self {
        if (0..count.max(2)).all(has) { Layout::ByAddress } else { Layout::ByPort }
    }

    /// The addresses of `count` nodes from `port` on; `None` where they go beyond 65535.
    fn block(self, count: usize, port: u16) -> Option<Vec<SocketAddr>> {
        (0..count)
            .map(|index| match self {
                Layout::ByAddress => Some(SocketAddr::new(loopback(index), port)),
                Layout::ByPort => {
                    let port = port.checked_add(u16::try_from(index).ok()?)?;
                    Some(SocketAddr::new(loopback(0), port))
                }
            })
            .collect()
    }

    /// Where the block after the one at `port` begins.
    fn next(self, count: usize, port: u16) -> Option<u16> {
        match self {
            Layout::ByAddress => port.checked_add(1),
            Layout::ByPort => port.checked_add(u16::try_from(count).ok()?),
        }
    }
}

/// 127.0.0.1 for the first node, and so on; there are never more than 200.
fn loopback(index: usize) -> IpAddr {
    let last = u8::try_from(index + 1).expect("invariant: at most 200 nodes");
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

impl Plan {
    /// Finds a place for `count` nodes, 1 to 200. A port that is asked for is taken or refused; without
    /// one, the next free block is found and noted.
    ///
    /// The ports are free when this returns; nothing keeps another program from taking them after that.
    pub(crate) fn new(count: usize, port: Option<u16>, admin_port: Option<u16>) -> Result<Self, PlanError> {
        Self::in_layout(Layout::of_this_machine(count), count, port, admin_port)
    }

    fn in_layout(
        layout: Layout,
        count: usize,
        port: Option<u16>,
        admin_port: Option<u16>,
    ) -> Result<Self, PlanError> {
        let mut notes = Vec::new();
        // Held until both blocks are found, so that they do not overlap.
        let cluster = claim(layout, Role::Cluster, count, port, &mut notes)?;
        let admin = claim(layout, Role::Admin, count, admin_port, &mut notes)?;
        let nodes = cluster
            .addresses
            .iter()
            .zip(&admin.addresses)
            .enumerate()
            .map(|(index, (&address, &admin))| Node { number: NodeNumber(index + 1), address, admin })
            .collect();
        Ok(Self { nodes, layout, state_file: None, notes })
    }

    /// Gives each node a state file of its own, beside the one that is configured for all: one process at a time uses a file.
    pub(crate) fn with_state_file(mut self, configured: Option<PathBuf>) -> Self {
        if let Some(path) = &configured {
            let (path, count) = (path.display(), self.nodes.len());
            self.notes.push(format!(
                "state files: {path}.1 to {path}.{count}, one for each node; remove them to begin without what the nodes remember"
            ));
        }
        self.state_file = configured;
        self
    }

    /// A place for one more node, after those that there are. The seeds of all nodes stay the same: the new one makes itself known.
    pub(crate) fn another(&self, number: NodeNumber) -> Result<Node, PlanError> {
        if number.0 > MAX_NODES {
            return Err(PlanError::TooMany);
        }
        let first = self.nodes.first().expect("invariant: at least one node");
        let place = |first: SocketAddr, option| {
            let (count, port) = (number.0, first.port());
            let block = self.layout.block(count, port).ok_or(PlanError::TooHigh { count, port, option })?;
            let address = *block.last().expect("invariant: at least one node");
            match TcpListener::bind(address) {
                Ok(_) => Ok(address),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(PlanError::Occupied { address })
                }
                Err(source) => Err(PlanError::Listen { address, source }),
            }
        };
        let address = place(first.address, Role::Cluster.option())?;
        Ok(Node { number, address, admin: place(first.admin, Role::Admin.option())? })
    }

    /// What `node` gets by its environment: its configuration, and its number.
    pub(crate) fn environment(&self, node: &Node) -> Vec<(&'static str, String)> {
        let seeds: Vec<_> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        let number = node.number.0;
        let state_file = self.state_file.as_ref().map(|path| format!("{}.{number}", path.display()));
        let mut environment = vec![
            ("CLOISTER__SEEDS", seeds.join(",")),
            ("CLOISTER__HOST", node.address.ip().to_string()),
            ("CLOISTER__PORT", node.address.port().to_string()),
            ("CLOISTER__ADMIN__LISTEN", node.admin.to_string()),
            ("CLOISTER_NODE", number.to_string()),
        ];
        environment.extend(state_file.map(|path| ("CLOISTER__STATE_FILE", path)));
        environment
    }
}

/// Ports that no other program can take while this exists.
struct Claim {
    addresses: Vec<SocketAddr>,
    _listeners: Vec<TcpListener>,
}

fn claim(
    layout: Layout,
    role: Role,
    count: usize,
    asked: Option<u16>,
    notes: &mut Vec<String>,
) -> Result<Claim, PlanError> {
    let first = asked.unwrap_or(role.default_port());
    let option = role.option();
    let mut port = first;
    for _ in 0..BLOCKS {
        let too_high = PlanError::TooHigh { count, port, option };
        let addresses = layout.block(count, port).ok_or(too_high)?;
        match listen(&addresses) {
            Ok(listeners) => return Ok(Claim { addresses, _listeners: listeners }),
            Err((address, error)) if error.kind() == io::ErrorKind::AddrInUse => {
                if asked.is_some() {
                    return Err(PlanError::Taken { address, option });
                }
                let Some(next) = layout.next(count, port) else { break };
                notes.push(format!("{address} is taken by another program: trying port {next}"));
                port = next;
            }
            Err((address, source)) => return Err(PlanError::Listen { address, source }),
        }
    }
    Err(PlanError::NoBlock { count, port: first, option })
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    addresses.iter().map(|&address| TcpListener::bind(address).map_err(|error| (address, error))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serialises the tests that look for free ports: between two of them, a port is free or not.
    static PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// A port with at least `count` free ports from it on, on the first loopback address.
    fn free_port(count: usize) -> u16 {
        (0..100)
            .find_map(|_| {
                let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
                listen(&Layout::ByPort.block(count, port)?).ok()?;
                Some(port)
            })
            .expect("a free block of ports")
    }

    #[test]
    fn nodes_differ_by_address_where_the_machine_has_them_all() {
        let block = Layout::ByAddress.block(3, 4370).unwrap();
        assert_eq!(block, ["127.0.0.1:4370", "127.0.0.2:4370", "127.0.0.3:4370"].map(|a| a.parse().unwrap()));
        assert_eq!(Layout::ByAddress.block(200, 1).unwrap()[199], "127.0.0.200:1".parse().unwrap());
    }

    #[test]
    fn nodes_differ_by_port_elsewhere() {
        let block = Layout::ByPort.block(3, 4370).unwrap();
        assert_eq!(block, ["127.0.0.1:4370", "127.0.0.1:4371", "127.0.0.1:4372"].map(|a| a.parse().unwrap()));
        assert!(Layout::ByPort.block(3, 65534).is_none());
        assert_eq!(Layout::ByPort.next(3, 4370), Some(4373));
    }

    #[test]
    fn a_node_alone_differs_by_port_from_those_that_are_added_where_there_is_one_address() {
        let only_the_first = |index| index == 0;
        assert_eq!(Layout::of(1, only_the_first), Layout::ByPort);
        assert_eq!(Layout::of(3, only_the_first), Layout::ByPort);
        assert_eq!(Layout::of(1, |index| index < 2), Layout::ByAddress);
    }

    #[test]
    fn each_node_hears_of_all_seeds_and_of_its_own_place() {
        let node = |n: usize| Node {
            number: NodeNumber(n),
            address: SocketAddr::new(loopback(n - 1), 4370),
            admin: SocketAddr::new(loopback(n - 1), 8400),
        };
        let layout = Layout::ByAddress;
        let plan = Plan { nodes: vec![node(1), node(2)], layout, state_file: None, notes: Vec::new() };
        let expected = [
            ("CLOISTER__SEEDS", "127.0.0.1:4370,127.0.0.2:4370"),
            ("CLOISTER__HOST", "127.0.0.2"),
            ("CLOISTER__PORT", "4370"),
            ("CLOISTER__ADMIN__LISTEN", "127.0.0.2:8400"),
            ("CLOISTER_NODE", "2"),
        ];
        assert_eq!(plan.environment(&plan.nodes[1]), expected.map(|(key, value)| (key, value.to_owned())));
        let plan = plan.with_state_file(Some("/var/lib/shop/state".into()));
        let files = plan.nodes.iter().map(|node| plan.environment(node).pop());
        let expected = |n| Some(("CLOISTER__STATE_FILE", format!("/var/lib/shop/state.{n}")));
        assert!(files.eq([expected(1), expected(2)]), "one process at a time uses a file");
        assert!(plan.notes[0].contains("/var/lib/shop/state.1 to /var/lib/shop/state.2"), "{:?}", plan.notes);
    }

    #[test]
    fn a_port_that_was_asked_for_is_never_replaced() {
        let _alone = PORTS.lock().unwrap();
        let port = free_port(2);
        let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let error = Plan::in_layout(Layout::ByPort, 2, Some(port), None).unwrap_err();
        assert!(matches!(error, PlanError::Taken { address, option: "--port" } if address.port() == port));
    }

    #[test]
    fn a_cluster_and_its_admin_ports_do_not_overlap() {
        let _alone = PORTS.lock().unwrap();
        let port = free_port(4);
        let error = Plan::in_layout(Layout::ByPort, 3, Some(port), Some(port + 2)).unwrap_err();
        assert!(matches!(error, PlanError::Taken { option: "--admin-port", .. }), "{error}");
    }

    #[test]
    fn without_a_wish_the_next_free_block_is_taken_and_printed() {
        let _alone = PORTS.lock().unwrap();
        // Port 4370 is taken now, by this test or by another program.
        let _other = TcpListener::bind(("127.0.0.1", DEFAULT_PORT));
        let plan = Plan::new(2, None, None).unwrap();
        assert!(plan.nodes.iter().all(|node| node.address.port() != DEFAULT_PORT), "{plan:?}");
        assert!(plan.notes[0].contains("127.0.0.1:4370 is taken"), "{:?}", plan.notes);
    }

    #[test]
    fn one_node_more_is_no_seed_of_the_others() {
        let _alone = PORTS.lock().unwrap();
        let (port, admin) = (free_port(3), free_port(3));
        let plan = Plan::in_layout(Layout::ByPort, 2, Some(port), Some(admin)).unwrap();
        let third = plan.another(NodeNumber(3)).unwrap();
        assert_eq!((third.address.port(), third.admin.port()), (port + 2, admin + 2));
        assert_eq!(plan.environment(&third)[0], plan.environment(&plan.nodes[0])[0]);
        let _other = TcpListener::bind(third.address).unwrap();
        let error = plan.another(NodeNumber(3)).unwrap_err();
        assert!(matches!(error, PlanError::Occupied { address } if address == third.address), "{error}");
        assert!(matches!(plan.another(NodeNumber(201)), Err(PlanError::TooMany)));
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        let error = Plan::in_layout(Layout::ByPort, 3, Some(65534), None).unwrap_err();
        assert!(matches!(error, PlanError::TooHigh { count: 3, port: 65534, .. }), "{error}");
    }
}
