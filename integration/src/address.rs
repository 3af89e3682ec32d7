//! Addresses that no other test uses.

use std::net::Ipv4Addr;
use std::sync::Mutex;

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
    pub fn new(len: u8) -> Self {
        static NEXT: Mutex<u8> = Mutex::new(1);
        let mut next = NEXT.lock().expect("invariant: no thread panics with this lock");
        let first = *next;
        *next = first
            .checked_add(len)
            .filter(|next| *next < u8::MAX)
            .expect("254 addresses for a program of tests");
        Self { first, len }
    }

    /// The address with this number, counted from 0.
    pub fn ip(&self, number: usize) -> Ipv4Addr {
        let number = u8::try_from(number).ok().filter(|number| *number < self.len);
        let number = number.unwrap_or_else(|| panic!("a block of {} addresses", self.len));
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 1 + high % 250, low, self.first + number)
    }

    /// All addresses.
    pub fn ips(&self) -> Vec<Ipv4Addr> {
        (0..self.len.into()).map(|number| self.ip(number)).collect()
    }
}
