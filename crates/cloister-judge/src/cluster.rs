//! The nodes: processes of this same program, each in a network namespace or on an address of the loopback device.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloister_integration::{Block, Bridge, Machine, Namespace, PacketLoss, bridge_ip};
use cloister_testkit::process::{Process, without_configuration};

use crate::arguments::Run;
use crate::node::variable;
use crate::sabotage::Sabotage;
use crate::schedule::Fault;

/// Where nodes listen for each other, and for clients; where the store listens.
const PORT: u16 = 4370;
const CLIENTS: u16 = 4390;
const STORE: u16 = 4391;

/// How long a node that leaves may take until it is killed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The machines that the nodes run on.
#[derive(Debug)]
enum Hosts {
    /// A namespace each. The bridge is dropped last.
    Namespaces {
        machines: Vec<Machine>,
        bridge: Bridge,
    },
    Loopback,
}

/// The nodes. All of them are killed when this is dropped, and their network is removed.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    place: Hosts,
    /// How many copies the table of the nodes has, if they have one.
    copies: Option<u8>,
    sabotage: Option<Sabotage>,
    program: PathBuf,
    host: IpAddr,
    /// What processes did that no fault explains.
    unexplained: Vec<String>,
}

#[derive(Debug)]
struct Node {
    ip: IpAddr,
    process: Option<Process<(Instant, String)>>,
    /// What earlier processes printed, and when.
    printed: Vec<(Instant, String)>,
    frozen: bool,
    /// Whether its process was told to leave.
    leaving: bool,
    /// What earlier processes logged.
    log: Vec<String>,
}

impl Cluster {
    /// So many machines, on which nothing runs yet. Plain ones are addresses of the loopback device.
    pub(crate) fn new(run: &Run) -> std::io::Result<Self> {
        let Run { copies, sabotage, plain, .. } = *run;
        let nodes = usize::from(run.nodes);
        let program = std::env::current_exe()?;
        let (place, ips, host) = if plain || !can_make_namespaces() {
            let ips = Block::new(run.nodes).ips();
            (Hosts::Loopback, ips.into_iter().map(IpAddr::V4).collect(), Ipv4Addr::LOCALHOST.into())
        } else {
            let bridge = Bridge::without_name_server();
            let ips: Vec<_> = (0..nodes).map(bridge_ip).collect();
            let machine = |(at, ip): (usize, &IpAddr)| bridge.machine(&format!("node-{at}"), *ip);
            let machines = ips.iter().enumerate().map(machine).collect();
            (Hosts::Namespaces { machines, bridge }, ips, Ipv4Addr::new(10, 77, 0, 1).into())
        };
        let node = |ip: IpAddr| Node {
            ip,
            process: None,
            printed: Vec::new(),
            frozen: false,
            leaving: false,
            log: Vec::new(),
        };
        let nodes = ips.into_iter().map(node).collect();
        Ok(Self { nodes, place, copies, sabotage, program, host, unexplained: Vec::new() })
    }

    /// The network that clients and the store are in; `None` if it is that of this process.
    pub(crate) fn namespace(&self) -> Option<Namespace> {
        match &self.place {
            Hosts::Namespaces { bridge, .. } => Some(bridge.host().namespace()),
            Hosts::Loopback => None,
        }
    }

    /// Whether its network can be cut.
    pub(crate) fn can_be_cut(&self) -> bool {
        matches!(self.place, Hosts::Namespaces { .. })
    }

    /// Where the store is to listen.
    pub(crate) fn store(&self) -> SocketAddr {
        // On the loopback device other runs may be at work.
        let port = if self.can_be_cut() { STORE } else { 20_000 + (std::process::id() % 20_000) as u16 };
        SocketAddr::new(self.host, port)
    }

    /// Where the nodes serve clients.
    pub(crate) fn services(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| SocketAddr::new(node.ip, CLIENTS)).collect()
    }

    /// The names of the nodes, as the cluster knows them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("judge@{}", SocketAddr::new(node.ip, PORT))).collect()
    }

    /// Starts the process of a node that does not run.
    pub(crate) fn start(&mut self, number: usize) {
        let seeds: Vec<_> =
            self.nodes.iter().map(|node| SocketAddr::new(node.ip, PORT).to_string()).collect();
        let store = self.store();
        let node = &mut self.nodes[number];
        let mut command = match &self.place {
            Hosts::Namespaces { machines, .. } => {
                let mut command = machines[number].program();
                command.arg(&self.program);
                command
            }
            Hosts::Loopback => Command::new(&self.program),
        };
        without_configuration(&mut command)
            .arg("node")
            .current_dir(std::env::temp_dir())
            .env("CLOISTER__NAME", "judge")
            .env("CLOISTER__HOST", node.ip.to_string())
            .env("CLOISTER__PORT", PORT.to_string())
            .env("CLOISTER__SEEDS", seeds.join(","))
            .env("CLOISTER__CONSENSUS", (seeds.len() / 2 + 1).to_string())
            .env(variable::NODE, number.to_string())
            .env(variable::LISTEN, SocketAddr::new(node.ip, CLIENTS).to_string())
            .env(variable::STORE, store.to_string())
            .stdin(Stdio::piped());
        if let Some(sabotage) = self.sabotage {
            command.env(variable::SABOTAGE, sabotage.name());
        }
        if let Some(copies) = self.copies {
            command.env(variable::COPIES, copies.to_string());
        }
        node.leaving = false;
        node.log.push(format!("--- process of node {number}"));
        node.process = Some(Process::start(&mut command, |line| (Instant::now(), line)));
    }

    /// Kills the process of a node.
    pub(crate) fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.frozen = false;
        if let Some(mut process) = node.process.take() {
            if !process.is_running() && !node.leaving {
                self.unexplained.push(format!("node {number} ended by itself"));
            }
            process.end();
            process.finish();
            node.log.extend(process.errors().lines());
            node.printed.extend(process.output().look(<[_]>::to_vec));
        }
    }

    /// Tells the process of a node to leave.
    pub(crate) fn leave(&mut self, number: usize) {
        if self.nodes[number].process.as_mut().is_some_and(Process::is_running) {
            self.nodes[number].leaving = true;
        }
        self.signal(number, "TERM");
    }

    /// Waits until a process that leaves has ended, and returns whether it did so by itself and without an error.
    pub(crate) fn wait_left(&mut self, number: usize) -> bool {
        let process = self.nodes[number].process.as_mut();
        let ended = process.and_then(|process| process.ended_within(LEAVE_TIMEOUT));
        self.kill(number);
        ended.is_some_and(|status| status.success())
    }

    /// Notes what no fault explains.
    pub(crate) fn note_unexplained(&mut self, what: String) {
        self.unexplained.push(what);
    }

    /// What processes did that no fault explains, up to now.
    pub(crate) fn unexplained(&mut self) -> Vec<String> {
        let ended = self.nodes.iter_mut().enumerate().filter_map(|(number, node)| {
            let has_ended = !node.process.as_mut()?.is_running() && !node.leaving;
            has_ended.then(|| format!("node {number} has ended by itself"))
        });
        let ended: Vec<String> = ended.collect();
        self.unexplained.iter().cloned().chain(ended).collect()
    }

    /// Stops the process of a node, or lets it go on.
    pub(crate) fn freeze(&mut self, number: usize, frozen: bool) {
        self.nodes[number].frozen = frozen;
        self.signal(number, if frozen { "STOP" } else { "CONT" });
    }

    fn signal(&mut self, number: usize, signal: &str) {
        // One that has ended by itself takes none.
        if let Some(process) = self.nodes[number].process.as_mut()
            && process.is_running()
        {
            process.signal(signal);
        }
    }

    /// Loses the packets that these cuts lose, and no others.
    pub(crate) fn cut(&self, faults: &[&Fault]) {
        let Hosts::Namespaces { bridge, .. } = &self.place else { return };
        let ip = |number: usize| self.nodes[number].ip;
        let losses = faults.iter().flat_map(|fault| match fault {
            Fault::OneWay(from, to) => {
                to.iter().map(|to| PacketLoss::OneWay(ip(*from), ip(*to))).collect::<Vec<_>>()
            }
            Fault::BothWays(one, others) => {
                others.iter().map(|other| PacketLoss::Pair(ip(*one), ip(*other))).collect()
            }
            Fault::Split(part) => {
                let rest = (0..self.nodes.len()).filter(|number| !part.contains(number)).map(ip).collect();
                vec![PacketLoss::Groups(vec![part.iter().map(|number| ip(*number)).collect(), rest])]
            }
            Fault::Kill(_) | Fault::Restart(_) | Fault::Leave(_) | Fault::Freeze(_) | Fault::Late(_) => {
                vec![]
            }
        });
        bridge.lose(&losses.collect::<Vec<_>>());
    }

    /// What a node has printed on its standard output, and when.
    pub(crate) fn printed(&self, number: usize) -> Vec<(Instant, String)> {
        let node = &self.nodes[number];
        let present = node.process.as_ref().map(|process| process.output().look(<[_]>::to_vec));
        node.printed.iter().cloned().chain(present.into_iter().flatten()).collect()
    }

    /// What a node has logged.
    pub(crate) fn log(&self, number: usize) -> Vec<String> {
        let node = &self.nodes[number];
        let present = node.process.as_ref().map(|process| process.errors().lines());
        node.log.iter().cloned().chain(present.into_iter().flatten()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
    }
}

/// Whether this process may make network namespaces.
fn can_make_namespaces() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--net", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
