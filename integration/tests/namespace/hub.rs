//! What connects the machines: a bridge, and a name server.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::machine::{Machine, end};

/// A namespace with a bridge and a name server, at 10.77.0.1 and fd00:77::1. Packets do not leave it.
#[derive(Debug)]
pub(crate) struct Hub {
    machine: Machine,
    name_server: Child,
    files: PathBuf,
    machines: AtomicU32,
}

impl Hub {
    /// A hub whose name server knows these names and no others.
    pub(crate) fn new(records: &[(String, IpAddr)]) -> Self {
        static HUBS: AtomicU32 = AtomicU32::new(0);
        let number = HUBS.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("cloister-hub-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&files).expect("there is a directory for files that are not kept");
        let hosts = records.iter().fold(String::new(), |mut text, (name, address)| {
            writeln!(text, "{address} {name}").expect("invariant: a string takes all");
            text
        });
        std::fs::write(files.join("hosts"), hosts).expect("it was made");
        std::fs::write(files.join("v4"), "nameserver 10.77.0.1\n").expect("it was made");
        std::fs::write(files.join("v6"), "nameserver fd00:77::1\n").expect("it was made");

        let machine = Machine::new("hub", files.join("v4"));
        // With an address of its own: it would take that of one of its ports, and another's when that one goes, and
        // the machines would write to nobody until they ask again.
        machine.ip("link add hub address 02:00:00:00:00:01 type bridge");
        machine.ip("address add 10.77.0.1/24 dev hub");
        machine.ip("address add fd00:77::1/64 dev hub nodad");
        machine.ip("link set hub up");

        let name_server = machine
            .inside()
            .args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"])
            .args(["--no-hosts", "--no-resolv", "--local=/#/", "--local-ttl=0", "--log-facility=-"])
            .arg(format!("--addn-hosts={}", files.join("hosts").display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("no name server: {error}"));
        let mut hub = Self { machine, name_server, files, machines: AtomicU32::new(0) };
        let stderr = hub.name_server.stderr.take().expect("invariant: it is piped");
        let mut said = BufReader::new(stderr).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("read ")), "dnsmasq does not start");
        // It goes on to say what it does: somebody must read it, or it waits for that.
        std::thread::spawn(move || said.for_each(drop));
        hub
    }

    /// One more machine, with this address and no other.
    pub(crate) fn machine(&self, host_name: &str, address: IpAddr) -> Machine {
        let (resolver, length, no_check) = match address {
            IpAddr::V4(_) => ("v4", 24, ""),
            // That nobody else has the address need not be found out, for seconds.
            IpAddr::V6(_) => ("v6", 64, " nodad"),
        };
        let machine = Machine::new(host_name, self.files.join(resolver));
        let port = format!("port{}", self.machines.fetch_add(1, Ordering::Relaxed));
        self.machine.ip(&format!("link add {port} type veth peer name eth0 netns {}", machine.pid()));
        self.machine.ip(&format!("link set {port} master hub up"));
        machine.ip(&format!("address add {address}/{length} dev eth0{no_check}"));
        machine.ip("link set eth0 up");
        machine
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        end(&mut self.name_server);
        if let Err(error) = std::fs::remove_dir_all(&self.files) {
            eprintln!("{} is left: {error}", self.files.display());
        }
    }
}
