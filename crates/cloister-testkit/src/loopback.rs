//! Addresses and ports that no other test uses.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

use crate::random::Rng;

/// How many networks of 254 addresses a process has.
const NETWORKS: u8 = 8;

/// A run of addresses of 127.0.0.0/8 that no other test of this or another run uses, in rising order.
///
/// The second and third number come from the id of the process and the network, the fourth counts.
#[derive(Clone, Debug)]
pub struct Block {
    network: u8,
    first: u8,
    len: u8,
}

impl Block {
    /// Takes `len` addresses of one network. Panics when this process has used up its eight networks.
    #[must_use]
    pub fn new(len: u8) -> Self {
        Self::starting_at(1, len)
    }

    /// Takes `len` addresses whose last number has three digits, so that the order of the texts is that of the numbers.
    #[must_use]
    pub fn in_order_of_text(len: u8) -> Self {
        Self::starting_at(100, len)
    }

    fn starting_at(min: u8, len: u8) -> Self {
        static NEXT: Mutex<(u8, u8)> = Mutex::new((0, 1));
        let mut next = NEXT.lock().expect("invariant: no thread panics with this lock");
        let (mut network, mut first) = (next.0, next.1.max(min));
        if first.checked_add(len).is_none_or(|end| end == u8::MAX) {
            (network, first) = (network + 1, min);
        }
        let end = first.checked_add(len).filter(|end| *end < u8::MAX).expect("at most 254 addresses");
        assert!(network < NETWORKS, "{NETWORKS} networks for a program of tests");
        *next = (network, end);
        Self { network, first, len }
    }

    /// The address with this number, counted from 0.
    #[must_use]
    pub fn ip(&self, number: usize) -> Ipv4Addr {
        let number = u8::try_from(number).ok().filter(|number| *number < self.len);
        let number = number.unwrap_or_else(|| panic!("a block of {} addresses", self.len));
        let [.., high, low] = std::process::id().to_be_bytes();
        let processes = (u8::MAX - 1) / NETWORKS;
        Ipv4Addr::new(127, 1 + high % processes * NETWORKS + self.network, low, self.first + number)
    }

    /// All addresses.
    #[must_use]
    pub fn ips(&self) -> Vec<Ipv4Addr> {
        (0..self.len.into()).map(|number| self.ip(number)).collect()
    }
}

/// The ports that [`free_port`] chooses from. They lie below those that the kernel gives to outgoing connections: none of these takes a port
/// before the node that it was chosen for listens.
const PORTS: std::ops::Range<u16> = 10_000..32_768;

/// A port that is free on 127.0.0.1 to 127.0.0.`hosts`, and that this process never gets twice. Two processes choose the same one at the same
/// time about once in twenty thousand times.
pub fn free_port(hosts: u8) -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let is_free = |port: &u16| {
        (1..=hosts).all(|last| TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), *port)).is_ok())
    };
    let mut given = GIVEN.lock().expect("invariant: no thread panics with this lock");
    let mut ports = Rng::new(u64::from(std::process::id()) << 32 | given.len() as u64);
    let mut any = || PORTS.start + u16::try_from(ports.index(PORTS.len())).expect("a port");
    (0..1_000).map(|_| any()).find(|port| is_free(port) && given.insert(*port)).expect("a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_outgoing_connection_takes_a_port_that_was_chosen() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux");
        let lowest: u16 =
            range.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a range");
        assert!(PORTS.end <= lowest, "the kernel chooses ports from {lowest} on");
        let ports: HashSet<u16> = (0..100).map(|_| free_port(1)).collect();
        assert!(ports.len() == 100 && ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }
}
