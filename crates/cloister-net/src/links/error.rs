//! What can make the link layer fail as a whole.

use thiserror::Error;

use crate::ListenError;

/// Why a node cannot be linked to others. Nothing runs any more when one of these is returned or reported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The node has no address: it was configured to run without a network.
    #[error(
        "{0} has no address, so no other node can reach it: set `host`, or leave out `seeds` to run a single node"
    )]
    NoAddress(String),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// ractor's node server did not start.
    #[error("the node server did not start: {0}")]
    Start(String),
    /// The system gave no random numbers, without which links cannot be distinguished safely.
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
