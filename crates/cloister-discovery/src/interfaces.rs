//! The addresses of the interfaces of this machine, and its host name.
//!
//! ```
//! use cloister_discovery::interfaces;
//!
//! println!("{} has {:?}", interfaces::host_name(), interfaces::addresses()?);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses of all interfaces, sorted, each once; loopback and link-local ones too.
///
/// # Errors
///
/// The operating system cannot list the interfaces.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut ips: Vec<_> = if_addrs::get_if_addrs()?.iter().map(|interface| interface.ip()).collect();
    ips.sort_unstable();
    ips.dedup();
    Ok(ips)
}

/// The address that the kernel would send from to reach `peer`; `None` if there is no route.
///
/// It connects a UDP socket, which asks the routing table and sends no packet.
#[must_use]
pub fn source_ip_for(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|local| local.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
}

/// The name of this machine, as the kernel knows it: short, or with a domain.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there() {
        assert!(addresses().unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        let from = source_ip_for(SocketAddr::from(([127, 0, 0, 9], 4370))).unwrap();
        assert!(from.is_loopback(), "{from}");
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
