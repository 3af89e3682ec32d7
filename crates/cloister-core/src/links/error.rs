//! What can make the link layer fail as a whole.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// Why a node cannot be linked to others. Nothing runs any more when one of these is returned or reported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The node has no address: it was configured to run without a network.
    #[error(
        "{0} has no address, so nobody could reach it: set `host`, or leave out `seeds` to run a single node"
    )]
    NoAddress(String),
    /// Another program listens on the port.
    #[error(
        "{bind} is taken by another program, perhaps an older run of this one: stop it, or set another `port` \
         (`ss -ltnp 'sport = :{port}'` tells who it is)", port = bind.port()
    )]
    Taken {
        /// Where this node wanted to listen.
        bind: SocketAddr,
    },
    /// The address to listen on is not one of this machine's.
    #[error(
        "{bind} cannot be listened on, this machine has no such address: correct `host` (`ip addr` lists what there is)"
    )]
    NotMine {
        /// Where this node wanted to listen.
        bind: SocketAddr,
    },
    /// The system forbids listening there, or cannot.
    #[error("{bind} cannot be listened on: {cause}")]
    Bind {
        /// Where this node wanted to listen.
        bind: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// ractor's node server did not start.
    #[error("the node server did not start: {0}")]
    Start(String),
    /// The system gave no random numbers, without which links cannot be told apart safely.
    #[error("the system has no random numbers to give: {0}")]
    Randomness(String),
    /// A part of the link layer ended by itself. All links are gone.
    #[error("the {part} of the link layer ended: {cause}; all links are closed")]
    Broken {
        /// Which part.
        part: &'static str,
        /// As far as it is known.
        cause: String,
    },
}

impl LinkError {
    /// What the system's refusal to listen at `bind` means.
    pub(super) fn from_bind(bind: SocketAddr, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => LinkError::Taken { bind },
            io::ErrorKind::AddrNotAvailable => LinkError::NotMine { bind },
            _ => LinkError::Bind { bind, cause },
        }
    }
}
