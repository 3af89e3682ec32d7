//! What can go wrong for the user of the shell.

use std::time::Duration;

pub use cloister_net::ListenError;
use cloister_proto::{Fatal, NameError};
use thiserror::Error;

use crate::state_file::StateFileError;
use cloister_config::ConfigError;

/// A node that cannot be started as it is configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Wrong values, all of them.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name that is none.
    #[error("name: {0}")]
    Name(#[from] NameError),
}

/// A second node in one process, which is refused.
///
/// The manager's `pre_start` fails with it, so it is the cause of the [`SpawnErr`](ractor::SpawnErr).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{node} runs in this process, and a process can be one node only, since ractor's registries belong to the whole process: \
     wait until that node has left (`Cloister::leave`), or start this one in a process of its own"
)]
#[non_exhaustive]
pub struct AlreadyRunning {
    /// The name of the node that runs.
    pub node: String,
}

/// Why a node is no longer part of anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to leave, and has left.
    #[error("this node has left its cluster")]
    Left,
    /// It must not go on; another attempt would end the same way.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// It cannot listen for others where it is configured to.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It cannot use the file in which it keeps what it remembers.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// It cannot find out how others reach it.
    #[error("this node cannot tell its own address: {0}")]
    AddressUnknown(String),
    /// A part of it failed again and again.
    #[error("this node failed: {0}")]
    Failed(String),
}

/// An actor that cannot be reached under a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another actor of this node has the name.
    #[error("`{name}` is already registered on this node by actor {by}: unregister it first")]
    Taken {
        /// The name.
        name: String,
        /// The actor that has it.
        by: String,
    },
    /// The messages of the actor cannot travel.
    #[error(
        "`{name}` cannot be registered: messages of type {message} do not travel between nodes; \
         derive RactorClusterMessage for them instead of RactorMessage"
    )]
    NotRemotable {
        /// The name.
        name: String,
        /// The type of its messages.
        message: &'static str,
    },
}

impl RegisterError {
    /// Fails if messages of this type do not travel.
    pub(crate) fn unless_remotable<M: ractor::Message>(name: &str) -> Result<(), Self> {
        if M::serializable() {
            return Ok(());
        }
        Err(Self::NotRemotable { name: name.to_owned(), message: std::any::type_name::<M>() })
    }
}

/// Why one node did not take a message or give an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No node owns the key, because there is no view yet.
    #[error("no node owns the key yet: the cluster is not up")]
    NoOwner,
    /// No actor has this name there.
    #[error("no actor is registered under this name")]
    NotRegistered,
    /// No answer came within the timeout.
    #[error("no answer within {timeout:?}")]
    TimedOut {
        /// The timeout.
        timeout: Duration,
    },
    /// The actor ended, or dropped the call, without an answer.
    #[error("the actor ended without an answer")]
    Died,
    /// This node has no link to that one.
    #[error("not linked")]
    Unreachable,
    /// The actor of this node takes messages of another type.
    #[error("the actor takes other messages than {message}")]
    WrongMessage {
        /// The type that was sent.
        message: &'static str,
    },
    /// The message would end the connection, so it was not sent.
    #[error("the message has {len} bytes, over the limit of {most}: send it in parts")]
    TooLarge {
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        most: usize,
    },
    /// So much waits to be sent to the node that the message was not added.
    #[error(
        "{waiting} bytes wait to be sent to this node, over the limit of {most} with this message: it or the network is \
         slower than this node sends; send it later, or raise `limits.link_bytes`"
    )]
    Overloaded {
        /// How many bytes wait.
        waiting: u64,
        /// How many may wait.
        most: u64,
    },
    /// The node answered with what this version does not understand.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}
