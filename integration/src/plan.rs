//! How a node is configured.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// The port of the nodes.
const PORT: u16 = 4370;

/// The port of their admin servers.
const ADMIN_PORT: u16 = 4380;

/// How a node is configured: its environment, and nothing else.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) name: String,
    pub(crate) admin: SocketAddr,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) descriptors: Option<u32>,
}

impl Plan {
    /// A node of the application `it` at an address of this host, alone.
    pub fn at(ip: impl Into<IpAddr>) -> Self {
        let ip = ip.into();
        let admin = SocketAddr::new(ip, ADMIN_PORT);
        let name = format!("it@{}", SocketAddr::new(ip, PORT));
        let plan = Self { name, admin, environment: BTreeMap::new(), descriptors: None };
        plan.set("NAME", "it").set("HOST", ip).set("PORT", PORT).set("ADMIN__LISTEN", admin)
    }

    /// Nodes at these addresses, each with all of them as its seeds.
    pub fn list(ips: &[impl Into<IpAddr> + Copy]) -> Vec<Self> {
        ips.iter().map(|ip| Self::at(*ip).seeds(ips)).collect()
    }

    /// The addresses to look for peers at.
    pub fn seeds(self, ips: &[impl Into<IpAddr> + Copy]) -> Self {
        let seeds: Vec<_> = ips.iter().map(|ip| SocketAddr::new((*ip).into(), PORT).to_string()).collect();
        self.set("SEEDS", seeds.join(","))
    }

    /// Sets a key of the configuration, in the form of its variable without `CLOISTER__`.
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.variable(&format!("CLOISTER__{key}"), value)
    }

    /// Removes a key of the configuration.
    pub fn unset(mut self, key: &str) -> Self {
        self.environment.remove(&format!("CLOISTER__{key}"));
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: impl Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Has the node serve calls as `worker`: `echo`, `slow`, `panics`.
    pub fn worker(self, role: &str) -> Self {
        self.variable("NODE_WORKER", role)
    }

    /// Has the runtime of the program run on so many worker threads; 0 is the main thread alone.
    pub fn threads(self, threads: usize) -> Self {
        self.variable("NODE_THREADS", threads)
    }

    /// Lets the process have no more than so many file descriptors.
    pub fn descriptors(mut self, max: u32) -> Self {
        self.descriptors = Some(max);
        self
    }

    /// What stands behind the `@` of its name.
    pub fn address(&self) -> String {
        self.name.rsplit('@').next().unwrap_or_default().to_owned()
    }

    /// What the others will call it.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}
