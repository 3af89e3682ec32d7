//! What can go wrong for the user of the shell.

use std::time::Duration;

use cloister_discovery::SeedError;
use cloister_proto::{Fatal, NameError, Status};
use thiserror::Error;

use crate::config::ConfigError;

/// A node that cannot be started as it is configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Wrong values, all of them.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A seed that cannot be used.
    #[error("seeds: {0}")]
    Seeds(#[from] SeedError),
    /// A name that is none.
    #[error("name: {0}")]
    Name(#[from] NameError),
}

/// Why a node is no longer part of anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Ended {
    /// It was asked to leave, and has left.
    #[error("this node has left its cluster")]
    Left,
    /// It must not go on; another attempt would end the same way.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// It cannot find out how others reach it.
    #[error("this node cannot tell its own address: {0}")]
    Unnamed(String),
    /// A part of it failed again and again.
    #[error("this node failed: {0}")]
    Failed(String),
}

/// The cluster was not up in time.
#[derive(Clone, Debug, Error)]
#[error("not up within {limit:?}: {status}{}", list(.missing))]
#[non_exhaustive]
pub struct NotUp {
    /// How long was waited at most.
    pub limit: Duration,
    /// How far the node had come.
    pub status: Status,
    /// Who or what is missing, and why; the same words that `/readyz` says.
    pub missing: Vec<String>,
    /// Why this node will not come up at all, if that is so.
    pub ended: Option<Ended>,
}

fn list(missing: &[String]) -> String {
    missing.iter().map(|missing| format!("; {missing}")).collect()
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

/// Why one node did not take a message or give an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallFailure {
    /// Nobody owns the key, because there is no view yet.
    #[error("no node owns the key yet: the cluster is not up")]
    NoOwner,
    /// No actor has this name there.
    #[error("no actor is registered under this name")]
    NotRegistered,
    /// No answer came within the limit.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
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
    /// The node answered with what this version does not understand.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}
