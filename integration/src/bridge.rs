//! The network between the machines: a bridge and a name server. Rules that drop packets are in `packet_loss.rs`.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::machine::{Machine, end};
use crate::{Output, now, packet_loss};

/// The log line of the name server after it has read its names.
const READ: &str = "read ";

/// A namespace with a bridge, at 10.77.0.1 and fd00:77::1, and there a name server if it is wanted. Packets do not leave it.
#[derive(Debug)]
pub struct Bridge {
    pub(crate) machine: Machine,
    name_server: Option<NameServer>,
    files: PathBuf,
    machines: AtomicU32,
}

#[derive(Debug)]
struct NameServer {
    process: Child,
    log: Output,
}

impl Bridge {
    /// A bridge with a name server that has these names and no others.
    pub fn new(records: &[(String, IpAddr)]) -> Self {
        let mut bridge = Self::without_name_server();
        write_names(&bridge.files, records);
        let mut process = bridge
            .machine
            .inside()
            .args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"])
            .args(["--no-hosts", "--no-resolv", "--local=/#/", "--local-ttl=0", "--log-facility=-"])
            .arg(format!("--addn-hosts={}", bridge.files.join("hosts").display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("no name server: {error}"));
        let log = Output::of(process.stderr.take().expect("invariant: it is piped"));
        bridge.name_server = Some(NameServer { process, log });
        bridge.has_read(1);
        bridge
    }

    /// A bridge on which no name resolves, for nodes that know each other by address.
    pub fn without_name_server() -> Self {
        static BRIDGES: AtomicU32 = AtomicU32::new(0);
        let number = BRIDGES.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("cloister-bridge-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&files).expect("there is a directory for files that are not kept");
        std::fs::write(files.join("v4"), "nameserver 10.77.0.1\n").expect("it was made");
        std::fs::write(files.join("v6"), "nameserver fd00:77::1\n").expect("it was made");

        let machine = Machine::new("bridge", files.join("v4"));
        // With a fixed address: else it takes that of one of its ports, and changes it when that port goes. Packets to the
        // old address would be lost until the next ARP request.
        machine.ip("link add br0 address 02:00:00:00:00:01 type bridge");
        machine.ip("address add 10.77.0.1/24 dev br0");
        machine.ip("address add fd00:77::1/64 dev br0 nodad");
        machine.ip("link set br0 up");

        machine.nft(packet_loss::TABLE);
        Self { machine, name_server: None, files, machines: AtomicU32::new(0) }
    }

    /// Replaces the names of the name server. Returns the moment from which they are valid.
    pub fn names(&self, records: &[(String, IpAddr)]) -> u64 {
        let read = self.name_server().log.count(READ);
        write_names(&self.files, records);
        self.signal_name_server("HUP");
        self.has_read(read + 1);
        now()
    }

    /// Stops the name server, or lets it go on.
    pub fn name_server_answers(&self, answers: bool) {
        self.signal_name_server(if answers { "CONT" } else { "STOP" });
    }

    fn name_server(&self) -> &NameServer {
        self.name_server.as_ref().expect("a bridge with a name server")
    }

    /// The machine of the bridge itself, at 10.77.0.1: it reaches all others, whatever is cut between them.
    pub fn host(&self) -> &Machine {
        &self.machine
    }

    fn signal_name_server(&self, signal: &str) {
        let id = self.name_server().process.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the name server takes no {signal}");
    }

    fn has_read(&self, times: usize) {
        let count = |lines: &[String]| lines.iter().filter(|line| line.contains(READ)).count();
        let log = &self.name_server().log;
        let read = log.find(|lines| (count(lines) >= times).then_some(()));
        assert!(read.is_some(), "dnsmasq does not read its names: {:#?}", log.lines());
    }

    /// One more machine, with this address and no other.
    pub fn machine(&self, host_name: &str, address: IpAddr) -> Machine {
        let (resolver, length, no_check) = match address {
            IpAddr::V4(_) => ("v4", 24, ""),
            // Without duplicate address detection, which takes seconds.
            IpAddr::V6(_) => ("v6", 64, " nodad"),
        };
        let machine = Machine::new(host_name, self.files.join(resolver));
        let port = format!("port{}", self.machines.fetch_add(1, Ordering::Relaxed));
        self.machine.ip(&format!("link add {port} type veth peer name eth0 netns {}", machine.pid()));
        self.machine.ip(&format!("link set {port} master br0 up"));
        machine.ip(&format!("address add {address}/{length} dev eth0{no_check}"));
        machine.ip("link set eth0 up");
        machine
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(name_server) = &mut self.name_server {
            end(&mut name_server.process);
            name_server.log.finish();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.files) {
            eprintln!("{} is left: {error}", self.files.display());
        }
    }
}

fn write_names(files: &Path, records: &[(String, IpAddr)]) {
    let hosts = records.iter().fold(String::new(), |mut text, (name, address)| {
        writeln!(text, "{address} {name}").expect("invariant: a string takes all");
        text
    });
    std::fs::write(files.join("hosts"), hosts).expect("it was made");
}
