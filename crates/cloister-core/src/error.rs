//! What can go wrong for the user of the shell.

use std::fmt;
use std::time::Duration;

pub use cloister_net::ListenError;
use cloister_proto::{Epoch, Fatal, NameError, NodeId};
use thiserror::Error;

use crate::handle::WaitingLimit;
use crate::state_file::StateFileError;
use cloister_config::ConfigError;

/// A node that cannot be started as it is configured.
///
/// [`ManagerArguments`](crate::ManagerArguments) has an example.
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

/// Something that the program of a node cannot define. See [`ManagerArguments::define`](crate::ManagerArguments::define).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// The manager was started before: it would not have the definition.
    #[error(
        "the node {node} has been started: define it before the start, on the `ManagerArguments` that the node is started with"
    )]
    Started {
        /// The name of the node.
        node: String,
    },
    /// There are as many definitions as nodes tell each other.
    #[error(
        "this node has {max} definitions of tables and entities, which is the limit: use fewer, with keys that tell them apart"
    )]
    TooMany {
        /// How many there may be.
        max: usize,
    },
}

/// A second node in one process, which is refused.
///
/// The manager's `pre_start` fails with it, so it is the cause of the [`SpawnErr`](ractor::SpawnErr).
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// if let Some(running) = cloister::AlreadyRunning::now() {
///     println!("{running}"); // also says what to do
/// }
/// ```
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
///
/// [`Cloister::wait_stopped`](crate::Cloister::wait_stopped) has an example.
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
///
/// [`Cloister::register`](crate::Cloister::register) has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is empty.
    #[error("an actor cannot be registered under the empty name: other nodes look it up by its name")]
    Unnamed,
    /// Another actor of this node has the name.
    #[error(
        "`{name}` is already registered on this node by another actor{by}: unregister it first, or choose another name"
    )]
    Taken {
        /// The name.
        name: String,
        /// The name that ractor knows the other actor by, in brackets after a space; empty if it has none.
        by: String,
    },
    /// The messages of the actor cannot travel.
    #[error(
        "`{name}` cannot be registered: messages of type {message} do not travel between nodes; \
         derive cloister::Message for them, without `#[message(local)]`"
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
        if name.is_empty() {
            return Err(Self::Unnamed);
        }
        if M::serializable() {
            return Ok(());
        }
        Err(Self::NotRemotable { name: name.to_owned(), message: std::any::type_name::<M>() })
    }
}

/// Where a message was to go, and for how long that was tried.
///
/// [`CallError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The name that the actor is registered under.
    pub name: Box<str>,
    /// The key by whose owner the node was chosen, printable and at most 64 characters of it; `None` if the node was chosen.
    pub key: Option<Box<str>>,
    /// The node.
    pub node: NodeId,
    /// The epoch of the view in which it owns the key; `None` if the node was chosen, or no view is known.
    pub epoch: Option<Epoch>,
    /// For how long the call had been under way when it ended; zero for one that ended at once, and for a message that is not a call.
    pub waited: Duration,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(&self.name, self.key.as_deref(), &self.node, self.epoch).fmt(f)?;
        match self.waited {
            Duration::ZERO => f.write_str(" (at once)"),
            waited => write!(f, " (after {waited:.1?})"),
        }
    }
}

/// A target in words.
struct CallTarget<'a> {
    name: &'a str,
    key: Option<&'a str>,
    node: &'a NodeId,
    epoch: Option<Epoch>,
}

fn place<'a>(name: &'a str, key: Option<&'a str>, node: &'a NodeId, epoch: Option<Epoch>) -> CallTarget<'a> {
    CallTarget { name, key, node, epoch }
}

impl fmt::Display for CallTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {}", self.name, self.node.name())?;
        if let Some(key) = self.key {
            write!(f, ", the owner of \"{key}\"")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, " in the view {epoch}")?;
        }
        Ok(())
    }
}

/// Why a message that an actor may have handled has no answer, in [`CallError::Uncertain`].
///
/// [`CallError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// No answer came within the timeout.
    TimedOut,
    /// The link was lost before the answer came.
    LinkLost,
    /// The actor ended, or dropped the call.
    Died,
    /// The actor answered, but with more bytes than a message may have.
    TooLarge {
        /// How many bytes the answer has.
        len: u64,
        /// How many it may have.
        max: usize,
    },
    /// The actor answered with what could not be encoded there, or is not understood here; and what is wrong with it.
    Malformed(Box<str>),
}

impl NoAnswer {
    /// An answer has come, and is no value of the type that the caller expects.
    pub(crate) fn not_decodable() -> Self {
        Self::Malformed("it is no value of the type that is expected here, see the log of this node; run the same release on both nodes".into())
    }
}

/// A call without an answer in words.
fn uncertain(place: &CallTarget<'_>, waited: Duration, cause: &NoAnswer) -> String {
    let what = match cause {
        NoAnswer::TimedOut => format!("no answer from {place} within {waited:?}"),
        NoAnswer::LinkLost => format!("the link was lost before {place} answered, after {waited:.1?}"),
        NoAnswer::Died => {
            format!(
                "{place} ended or dropped the call without an answer after {waited:.1?}, and its log says why"
            )
        }
        NoAnswer::TooLarge { len, max } => {
            return format!(
                "the answer of {place} has {len} bytes, over the limit of {max}, after {waited:.1?}; the message was handled: ask for \
                 the answer in parts"
            );
        }
        NoAnswer::Malformed(what) => {
            format!("the answer of {place} is malformed, after {waited:.1?}: {what}")
        }
    };
    format!("{what}; the message may have been handled: send it again only if it may be handled twice")
}

/// Where a message that was not handled was last, in words.
fn sent_last(node: Option<&NodeId>, epoch: Option<Epoch>) -> String {
    match (node, epoch) {
        (Some(node), Some(epoch)) => format!(" (last sent to {} in the view {epoch})", node.name()),
        (Some(node), None) => format!(" (last sent to {})", node.name()),
        (None, Some(epoch)) => format!(" (the last view here is {epoch})"),
        (None, None) => String::new(),
    }
}

/// Why one node did not take a message or give an answer.
///
/// A message without an answer is one of two things. It is [`CallError::Uncertain`]: a handler may have seen it, and whether to send it
/// again is the caller's decision. Or it is any other error, of this version or a later one: no handler has seen the message, and it is safe to send
/// it again.
///
/// ```
/// # use std::time::Duration;
/// # use cloister_core::{CallError, Cloister};
/// # use cloister_core::ractor::RpcReplyPort;
/// # #[derive(cloister_core::Message)]
/// # #[message(crate = "cloister_core")]
/// # enum CartMessage {
/// #     Count(RpcReplyPort<u64>),
/// # }
/// # async fn example(cloister: &Cloister) {
/// match cloister.call("cart", "user:42", CartMessage::Count, Duration::from_secs(1)).await {
///     Ok(count) => println!("{count} in the cart"),
///     Err(CallError::Uncertain { node, epoch, cause, .. }) => eprintln!("{node} in {epoch:?} may have counted: {cause:?}"),
///     Err(error) => eprintln!("not started: {error}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// An actor may have handled the message, in whole or in part, and there is no answer.
    #[error("{}", uncertain(&place(name, key.as_deref(), node, *epoch), *waited, cause))]
    Uncertain {
        /// The node that the message went to.
        node: NodeId,
        /// The epoch of the view in which the node owned the key when the message was sent; `None` if the node was chosen.
        epoch: Option<Epoch>,
        /// The name that the actor is registered under.
        name: String,
        /// The key by whose owner the node was chosen, printable and at most 64 characters of it; `None` if the node was chosen.
        key: Option<String>,
        /// How long the answer was waited for.
        waited: Duration,
        /// Why there is no answer.
        cause: NoAnswer,
    },
    /// No node could take the message within the timeout: no handler has seen it.
    #[error(
        "no owner of \"{key}\" has taken the message to {name:?} within {waited:?}{}: {cause}; it was not handled, so it may be sent again",
        sent_last(node.as_ref(), *epoch)
    )]
    NoOwner {
        /// The name that the actor was looked for under.
        name: String,
        /// The key, printable and at most 64 characters of it.
        key: String,
        /// The node that the message was sent to last, which has not handed it to an actor; `None` if it was sent to none.
        node: Option<NodeId>,
        /// The epoch of the view by which that node was chosen, or of the last view of this node.
        epoch: Option<Epoch>,
        /// How long an owner was waited for.
        waited: Duration,
        /// What was waited for last.
        cause: &'static str,
    },
    /// Too many calls wait for an owner already, on this node or at the one that keeps them until it owns the key. No handler has
    /// seen the message.
    #[error(
        "too many calls wait for an owner, so the one to {target} was not handled: {waiting} at `{limit}` = {max}; send it later, or \
         raise `{limit}` there"
    )]
    TooManyWaiting {
        /// Where the message was to go. The limit is that of its node.
        target: Target,
        /// The limit that was met.
        limit: WaitingLimit,
        /// How many calls wait, or how many bytes they would have with this one.
        waiting: u64,
        /// How many may.
        max: u64,
    },
    /// No actor has this name there. The message was not sent.
    #[error(
        "no actor is registered as {target}: that node has not registered it yet, or it has ended, so nothing was handled; \
         `ChildSpec::registered` starts one with the node, and again when it fails"
    )]
    NoActor {
        /// Where the message was to go.
        target: Target,
    },
    /// This node has no link to that one. The message was not sent.
    #[error("not linked, so nothing was sent to {target}; `/members` of this node says why")]
    NotLinked {
        /// Where the message was to go.
        target: Target,
    },
    /// The actor takes messages of another type, or of another release of it. No handler has seen the message.
    #[error("{target} cannot read {sent}: {cause}; it takes {expected}; run the same release on both nodes")]
    WrongMessage {
        /// Where the message was to go.
        target: Target,
        /// The type that was sent.
        sent: Box<str>,
        /// What the actor takes.
        expected: Box<str>,
        /// What it cannot read.
        cause: Box<str>,
    },
    /// The message cannot be encoded: its `Serialize` fails. The log of this node has the reason, too.
    #[error("{sent} to {target} cannot be encoded, and was not sent: {cause}; correct its `Serialize`")]
    NotEncodable {
        /// Where the message was to go.
        target: Target,
        /// The type that was sent.
        sent: Box<str>,
        /// What failed.
        cause: Box<str>,
    },
    /// The message would end the connection, so it was not sent.
    #[error(
        "the message to {target} has {len} bytes, over the limit of {max}, and was not sent: send it in parts"
    )]
    TooLarge {
        /// Where the message was to go.
        target: Target,
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// So much waits to be sent to the node that the message was not added.
    #[error(
        "{waiting} bytes wait to be sent to the node of {target}, over the limit of {max} with this message: it or the network is \
         slower than this node sends; send it later, or raise `limits.link_bytes`"
    )]
    Overloaded {
        /// Where the message was to go.
        target: Target,
        /// How many bytes wait.
        waiting: u64,
        /// How many may wait.
        max: u64,
    },
}

impl CallError {
    /// Whether the actor may have handled the message, in whole or in part: whether this is [`CallError::Uncertain`]. If not, it is safe to
    /// send it again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloister_core::{CallError, Cloister};
    /// # use cloister_core::ractor::RpcReplyPort;
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Count(RpcReplyPort<u64>),
    /// # }
    /// # async fn example(cloister: &Cloister) {
    /// match cloister.call("cart", "user:42", CartMessage::Count, Duration::from_secs(1)).await {
    ///     Ok(count) => println!("{count} in the cart"),
    ///     Err(error) if error.may_have_arrived() => eprintln!("perhaps: {error}"),
    ///     Err(error) => eprintln!("certainly not: {error}"),
    /// }
    /// # }
    /// ```
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        matches!(self, CallError::Uncertain { .. })
    }

    /// The kind in metrics, from a fixed set.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            CallError::Uncertain { cause, .. } => match cause {
                NoAnswer::TimedOut => "timed_out",
                NoAnswer::LinkLost => "link_lost",
                NoAnswer::Died => "died",
                NoAnswer::TooLarge { .. } => "answer_too_large",
                NoAnswer::Malformed(_) => "malformed",
            },
            CallError::NoOwner { .. } => "no_owner",
            CallError::TooManyWaiting { .. } => "too_many_waiting",
            CallError::NoActor { .. } => "no_actor",
            CallError::NotLinked { .. } => "not_linked",
            CallError::WrongMessage { .. } => "wrong_message",
            CallError::NotEncodable { .. } => "not_encodable",
            CallError::TooLarge { .. } => "too_large",
            CallError::Overloaded { .. } => "overloaded",
        }
    }
}

/// A message that was not sent, or a call without an answer, from [`Cloister::try_cast`](crate::Cloister::try_cast) and
/// [`Cloister::try_call`](crate::Cloister::try_call).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrySendError<T> {
    /// Why.
    pub error: CallError,
    /// What was given to be sent, if it was not encoded for another node yet. It always is there after an [`Overloaded`](CallError::Overloaded) or
    /// [`TooManyWaiting`](CallError::TooManyWaiting) that is known before anything is sent.
    pub message: Option<T>,
}

impl<T> TrySendError<T> {
    /// With what was given to be sent.
    pub(crate) fn returned(error: CallError, message: T) -> Self {
        Self { error, message: Some(message) }
    }
}

/// What was given to be sent is gone.
impl<T> From<CallError> for TrySendError<T> {
    fn from(error: CallError) -> Self {
        Self { error, message: None }
    }
}

/// The reason alone, for `?`.
impl<T> From<TrySendError<T>> for CallError {
    fn from(failed: TrySendError<T>) -> Self {
        failed.error
    }
}

// A message need not be `Debug`.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, message } = self;
        f.debug_struct("TrySendError").field("error", error).field("is_returned", &message.is_some()).finish()
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for TrySendError<T> {}

#[cfg(test)]
mod tests;
