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

/// A namespace with a bridge and a name server, at 10.77.0.1 and fd00:77::1. Packets do not leave it.
#[derive(Debug)]
pub struct Bridge {
    pub(crate) machine: Machine,
    name_server: Child,
    log: Output,
    files: PathBuf,
    machines: AtomicU32,
}

impl Bridge {
    /// A bridge with a name server that has these names and no others.
    pub fn new(records: &[(String, IpAddr)]) -> Self {
        static BRIDGES: AtomicU32 = AtomicU32::new(0);
        let number = BRIDGES.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("cloister-bridge-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&files).expect("there is a directory for files that are not kept");
        write_names(&files, records);
        std::fs::write(files.join("v4"), "nameserver 10.77.0.1\n").expect("it was made");
        std::fs::write(files.join("v6"), "nameserver fd00:77::1\n").expect("it was made");

        let machine = Machine::new("bridge", files.join("v4"));
        // With a fixed address: else it takes that of one of its ports, and changes it when that port goes. Packets to the
        // old address would be lost until the next ARP request.
        machine.ip("link add br0 address 02:00:00:00:00:01 type bridge");
        machine.ip("address add 10.77.0.1/24 dev br0");
        machine.ip("address add fd00:77::1/64 dev br0 nodad");
        machine.ip("link set br0 up");

        let mut name_server = machine
            .inside()
            .args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"])
            .args(["--no-hosts", "--no-resolv", "--local=/#/", "--local-ttl=0", "--log-facility=-"])
            .arg(format!("--addn-hosts={}", files.join("hosts").display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("no name server: {error}"));
        let log = Output::of(name_server.stderr.take().expect("invariant: it is piped"));
        machine.nft(packet_loss::TABLE);
        let bridge = Self { machine, name_server, log, files, machines: AtomicU32::new(0) };
        bridge.has_read(1);
        bridge
    }

    /// Replaces the names of the name server. Returns the moment from which they are valid.
    pub fn names(&self, records: &[(String, IpAddr)]) -> u64 {
        let read = self.log.count(READ);
        write_names(&self.files, records);
        self.signal_name_server("HUP");
        self.has_read(read + 1);
        now()
    }

    /// Stops the name server, or lets it go on.
    pub fn name_server_answers(&self, answers: bool) {
        self.signal_name_server(if answers { "CONT" } else { "STOP" });
    }

    fn signal_name_server(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.name_server.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the name server takes no {signal}");
    }

    fn has_read(&self, times: usize) {
        let count = |lines: &[String]| lines.iter().filter(|line| line.contains(READ)).count();
        let read = self.log.find(|lines| (count(lines) >= times).then_some(()));
        assert!(read.is_some(), "dnsmasq does not read its names: {:#?}", self.log.lines());
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
        end(&mut self.name_server);
        self.log.finish();
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
