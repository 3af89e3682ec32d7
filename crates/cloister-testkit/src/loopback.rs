//! Addresses and ports that no other test uses.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

/// A run of addresses of 127.0.0.0/8 that no other test of this or another run uses, in rising order.
///
/// The second and third number come from the id of the process, the fourth counts.
#[derive(Clone, Debug)]
pub struct Block {
    first: u8,
    len: u8,
}

impl Block {
    /// Takes `len` addresses. Panics when this process has used up its 254.
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
        static NEXT: Mutex<u8> = Mutex::new(1);
        let mut next = NEXT.lock().expect("invariant: no thread panics with this lock");
        let first = min.max(*next);
        *next = first
            .checked_add(len)
            .filter(|next| *next < u8::MAX)
            .expect("254 addresses for a program of tests");
        Self { first, len }
    }

    /// The address with this number, counted from 0.
    #[must_use]
    pub fn ip(&self, number: usize) -> Ipv4Addr {
        let number = u8::try_from(number).ok().filter(|number| *number < self.len);
        let number = number.unwrap_or_else(|| panic!("a block of {} addresses", self.len));
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 1 + high % 250, low, self.first + number)
    }

    /// All addresses.
    #[must_use]
    pub fn ips(&self) -> Vec<Ipv4Addr> {
        (0..self.len.into()).map(|number| self.ip(number)).collect()
    }
}

/// A port that is free on 127.0.0.1 to 127.0.0.`hosts`, and that this process never gets twice.
pub fn free_port(hosts: u8) -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let is_free = |port: &u16| {
        (1..=hosts).all(|last| TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), *port)).is_ok())
    };
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let mut given = GIVEN.lock().expect("invariant: no thread panics with this lock");
    let ports = (0..1_000).map(|_| any().expect("a free port").port());
    ports.into_iter().find(|port| is_free(port) && given.insert(*port)).expect("a free port")
}
