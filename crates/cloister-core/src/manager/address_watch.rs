//! Whether this machine still has the address that this node is known by.
//!
//! A container that is taken off its network and put back may get another address while the program runs. So may a machine with a new lease
//! of its address. The node cannot be reached by the old one then, and another machine may have it. A node that found out its address by
//! itself finds it out anew. Without any address it waits: the old one may come back, and then nothing has happened but a cut.

use std::net::IpAddr;
use std::time::Duration;

use cloister_discovery::interfaces;

/// How often the addresses are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Waits until this machine has lost `address` and has another, twice in a row: it may be in the middle of a change.
pub(super) async fn lost(address: IpAddr) {
    let mut missing = 0;
    while missing < 2 {
        tokio::time::sleep(EVERY).await;
        // An unknown address has not changed.
        let gone = interfaces::addresses().is_ok_and(|present| is_replaced(address, &present));
        missing = if gone { missing + 1 } else { 0 };
    }
}

/// Whether `address` is not among those that are present, and one of its kind that others can reach is.
fn is_replaced(address: IpAddr, present: &[IpAddr]) -> bool {
    let reachable = |other: &IpAddr| match other {
        IpAddr::V4(other) => address.is_ipv4() && !other.is_loopback() && !other.is_link_local(),
        IpAddr::V6(other) => address.is_ipv6() && !other.is_loopback() && !other.is_unicast_link_local(),
    };
    !present.contains(&address) && present.iter().any(reachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_replaced_only_when_another_of_its_kind_is_there() {
        let address = "10.0.0.4".parse().unwrap();
        assert!(!is_replaced(address, &ips(&["127.0.0.1", "10.0.0.4", "10.0.0.5"])));
        assert!(!is_replaced(address, &ips(&["127.0.0.1", "169.254.0.9", "fd00::5"])));
        assert!(!is_replaced(address, &[]));
        assert!(is_replaced(address, &ips(&["127.0.0.1", "10.0.0.5"])));
        let address = "fd00::4".parse().unwrap();
        assert!(!is_replaced(address, &ips(&["::1", "fe80::1", "10.0.0.5"])));
        assert!(is_replaced(address, &ips(&["::1", "fd00::5"])));
    }
}
