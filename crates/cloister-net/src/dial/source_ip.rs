//! The address that a connection would come from.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The address that this machine would send from towards `target`. Sends nothing.
pub(crate) fn source_ip_for(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}
