//! A cluster with each node on a machine of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::random::generator;
use crate::{Agreement, Bridge, Claimed, Machine, Node, Plan, Record, Relay, agree, now};

/// The port of the relay for the machine whose address ends in 7 is 20007.
const RELAY_PORTS: u16 = 20_000;

/// The port of the nodes.
const NODE_PORT: u16 = 4370;

/// A bridge, machines on it, and a node on each.
#[derive(Debug)]
pub struct Topology {
    /// The nodes, as long as a test does not take one out: one for each place, in the same order.
    pub nodes: Vec<Node>,
    places: Vec<Host>,
    /// The claims of processes that have exited.
    past: Vec<(String, Vec<Claimed>)>,
    /// The network. Declared last, so that it is dropped after the machines.
    bridge: Bridge,
}

#[derive(Debug)]
struct Host {
    ip: IpAddr,
    plan: Plan,
    machine: Machine,
}

/// The address of the machine with this number on any bridge. The bridge itself is number 1 there.
pub fn bridge_ip(number: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(number + 2).expect("there are few machines")).into()
}

fn relay_port(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V4(ip) => RELAY_PORTS + u16::from(ip.octets()[3]),
        IpAddr::V6(_) => panic!("a relay is for IPv4"),
    }
}

impl Topology {
    /// So many machines, each with a plan for a node that has all of them as its seeds. Nothing runs yet.
    pub fn new(size: usize, configure: impl Fn(Plan) -> Plan) -> Self {
        let ips: Vec<_> = (0..size).map(bridge_ip).collect();
        let plans = Plan::list(&ips).into_iter().map(configure).collect();
        Self::with(Bridge::new(&[]), &ips, plans)
    }

    /// A machine for each of these addresses, and a plan for its node. Nothing runs yet.
    pub fn with(bridge: Bridge, ips: &[IpAddr], plans: Vec<Plan>) -> Self {
        let machine = |at: usize, ip: IpAddr| bridge.machine(&format!("node-{at}"), ip);
        let places = ips.iter().zip(plans).enumerate();
        let places = places.map(|(at, (ip, plan))| Host { ip: *ip, plan, machine: machine(at, *ip) });
        Self { nodes: Vec::new(), places: places.collect(), past: Vec::new(), bridge }
    }

    /// Starts a node in each place, and waits until all agree. Places and nodes are sorted by age from then on: number 0
    /// is the sentry.
    #[track_caller]
    pub fn assemble(&mut self) -> Agreement {
        self.nodes = (0..self.places.len()).map(|at| self.start(at)).collect();
        let (view, _) = agree(&self.nodes);
        let mut all: Vec<_> = self.nodes.drain(..).zip(self.places.drain(..)).collect();
        all.sort_by_key(|(node, _)| view.age_of(node.name()));
        (self.nodes, self.places) = all.into_iter().unzip();
        view
    }

    /// Starts a node in the place with this number, as it is planned.
    pub fn start(&self, at: usize) -> Node {
        let place = &self.places[at];
        Node::start_on(&place.machine, &place.plan)
    }

    /// Has all nodes watch what they claim.
    pub fn watch(&mut self) {
        for node in &mut self.nodes {
            node.watch();
        }
    }

    /// Starts a new incarnation of the node with this number, which has ended, and has it watch what it claims.
    pub fn renew(&mut self, at: usize) {
        let node = self.start(at);
        let mut old = std::mem::replace(&mut self.nodes[at], node);
        let claimed = old.claimed();
        self.past.push((old.name().to_owned(), claimed));
        self.nodes[at].watch();
    }

    /// Has all connections that nodes make from now on go through a relay, for as long as that is kept.
    ///
    /// The kernel here cannot delay packets. So each machine sends its connections to the ports of the others to the bridge instead,
    /// where this process listens and connects on.
    pub fn relay(&self) -> Relay {
        let relay = Relay::new(generator("a relay"));
        for place in &self.places {
            let bridge = self.bridge.machine.namespace();
            let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), relay_port(place.ip));
            relay.listen(at, SocketAddr::new(place.ip, NODE_PORT), move || bridge.enter());
        }
        for place in &self.places {
            let others = self.places.iter().filter(|other| other.ip != place.ip);
            let rules = others.fold(String::new(), |rules, Host { ip, .. }| {
                format!("{rules}ip daddr {ip} tcp dport {NODE_PORT} dnat to 10.77.0.1:{}\n", relay_port(*ip))
            });
            place.machine.nft(&format!(
                "table ip relay {{\nchain out {{\ntype nat hook output priority -100\n{rules}}}\n}}\n"
            ));
        }
        relay
    }

    /// The network between the machines.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Gives the place with this number another machine, with another address. The old one stays,
    /// unreachable, until the new one is there.
    pub fn move_to(&mut self, at: usize, ip: IpAddr) {
        let place = &mut self.places[at];
        place.machine = self.bridge.machine(&format!("node-{at}"), ip);
        place.ip = ip;
    }

    /// Gives the machine of the place with this number another address, while its node runs; the old one is unused then.
    pub fn readdress(&mut self, at: usize, ip: IpAddr) {
        let place = &mut self.places[at];
        place.machine.ip(&format!("address del {}/24 dev eth0", place.ip));
        place.machine.ip(&format!("address add {ip}/24 dev eth0"));
        place.ip = ip;
    }

    /// Has a firewall reject packets from the others to the place with this number. Their connections are reset, new ones are
    /// refused, and the node there receives nothing. Returns the moment before.
    pub fn reject(&self, at: usize) -> u64 {
        let rule = format!("ip daddr {} meta l4proto tcp reject with tcp reset", self.places[at].ip);
        let hook = "type filter hook output priority 0";
        let table = format!("table inet cloister {{\nchain output {{\n{hook}\n{rule}\n}}\n}}\n");
        let since = now();
        for (_, other) in self.places.iter().enumerate().filter(|(other, _)| *other != at) {
            other.machine.nft(&table);
        }
        since
    }

    /// Removes the rules of all firewalls.
    pub fn accept(&self) {
        for place in &self.places {
            // Declared first, since there may be none to delete.
            place.machine.nft("table inet cloister\ndelete table inet cloister\n");
        }
    }

    /// The address of the place with this number.
    pub fn ip(&self, at: usize) -> IpAddr {
        self.places[at].ip
    }

    /// The addresses of the places with these numbers.
    pub fn ips(&self, numbers: &[usize]) -> Vec<IpAddr> {
        numbers.iter().map(|at| self.ip(*at)).collect()
    }

    /// What all incarnations have claimed since they were asked to watch themselves.
    #[track_caller]
    pub fn record(&mut self) -> Record {
        let mut record = Record::default();
        for (name, claimed) in &self.past {
            record.add(name, claimed.clone());
        }
        record.add_all(&mut self.nodes);
        record
    }
}
