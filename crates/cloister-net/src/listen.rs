//! Why a node cannot listen.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// An address on which this node cannot listen for others.
///
/// ```
/// # use cloister_net::ListenError;
/// let in_use = std::io::Error::from(std::io::ErrorKind::AddrInUse);
/// let error = ListenError::new("0.0.0.0:4370".parse().unwrap(), &in_use);
/// println!("{error}"); // names the address, what is wrong and what to do
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{bind} {}", self.explanation())]
#[non_exhaustive]
pub struct ListenError {
    /// The address.
    pub bind: SocketAddr,
    /// What kind of error it is.
    pub kind: io::ErrorKind,
    /// The error of the system.
    pub cause: String,
}

impl ListenError {
    /// What became of an attempt to listen at `bind`.
    #[must_use]
    pub fn new(bind: SocketAddr, error: &io::Error) -> Self {
        Self { bind, kind: error.kind(), cause: error.to_string() }
    }

    /// Whether another attempt would end the same way, as long as the configuration or the machine is not changed.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
        matches!(self.kind, AddrInUse | AddrNotAvailable | PermissionDenied)
    }

    fn explanation(&self) -> String {
        let Self { bind, kind, cause } = self;
        match kind {
            io::ErrorKind::AddrInUse => format!(
                "is taken by another program, perhaps an older run of this one: stop it, or set another `port` \
                 (`ss -ltnp 'sport = :{}'` shows it)",
                bind.port()
            ),
            io::ErrorKind::AddrNotAvailable => {
                "cannot be listened on, this machine has no such address: correct `host` \
                 (`ip addr` lists what there is)"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => format!(
                "cannot be listened on, the system forbids it ({cause}): set a `port` from 1024 on, or give the program the \
                 capability CAP_NET_BIND_SERVICE"
            ),
            _ => format!("cannot be listened on: {cause}"),
        }
    }
}
