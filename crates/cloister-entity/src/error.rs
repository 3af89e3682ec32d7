//! Why a message to an entity has no answer.

use std::fmt;
use std::time::Duration;

use cloister_core::{Epoch, NodeId};
use cloister_table::TableError;
use cloister_table::service::answered;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a message to an entity has no answer. After [`EntityError::may_be_done`] it may have been applied; after every other error it
/// was not.
///
/// ```
/// # extern crate cloister_core as cloister;
/// use cloister_entity::{EntityError, Failure};
///
/// fn status(error: &EntityError) -> u16 {
///     match error {
///         EntityError::Failed { failure: Failure::Error(_), .. } => 422,
///         error if error.may_be_done() => 500,
///         _ => 503, // nothing was done: send it again
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntityError {
    /// The handler returned an error, panicked or took too long. The state is what it was before.
    #[error(
        "the entity {entity:?} of the key {key:?} has no reply{}: {failure}{}",
        answered(node.as_ref(), *epoch, *waited),
        failure.remedy()
    )]
    Failed {
        /// The entity.
        entity: &'static str,
        /// The key.
        key: String,
        /// The node of the entity.
        node: Option<NodeId>,
        /// The epoch of the view by which the node was chosen.
        epoch: Option<Epoch>,
        /// How long the answer took.
        waited: Duration,
        /// What happened.
        failure: Failure,
    },
    /// The answer cannot be decoded: another release has sent it, or the types differ. The message was applied.
    #[error(
        "the answer of the entity {entity:?} of the key {key:?}{} cannot be decoded: {cause}; use the same types on all nodes, and \
         `#[serde(default)]` for added fields",
        answered(node.as_ref(), *epoch, *waited)
    )]
    NotDecodable {
        /// The entity.
        entity: &'static str,
        /// The key.
        key: String,
        /// The node of the entity.
        node: Option<NodeId>,
        /// The epoch of the view by which the node was chosen.
        epoch: Option<Epoch>,
        /// How long the answer took.
        waited: Duration,
        /// What failed.
        cause: String,
    },
    /// The table that keeps the states says why.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl EntityError {
    /// Whether the message may have been applied.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        match self {
            EntityError::NotDecodable { .. } => true,
            EntityError::Failed { failure, .. } => matches!(failure, Failure::NotSaved(_) | Failure::NoReply),
            EntityError::Table(error) => error.may_be_done(),
        }
    }
}

impl Failure {
    /// What to do, where the text of the failure does not say so.
    const fn remedy(&self) -> &'static str {
        match self {
            Failure::Error(_) => "; its state is what it was, so correct the message, or send it again later",
            Failure::Panicked(_) => "; its state is what it was: correct the handler",
            Failure::TimedOut(_) => "; its state is what it was: have the handler do less, or raise that",
            Failure::State(_) => "; run a release that can decode it",
            Failure::NotLoaded(_) => "; nothing was handled, so send it again when the store works",
            Failure::NotSaved(_) | Failure::NoReply => "; read the entity before it is sent again",
            Failure::NotWritable(_) => {
                "; its state is what it was: correct its `Serialize`, or answer in parts"
            }
            Failure::Message(_) | Failure::TooLarge { .. } | Failure::Full { .. } => "",
        }
    }
}

/// A message without an answer, from [`Entities::try_call`](crate::Entities::try_call) and [`Entities::try_cast`](crate::Entities::try_cast).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrySendError<M> {
    /// Why.
    pub error: EntityError,
    /// The message, unless it [may have been applied](EntityError::may_be_done).
    pub message: Option<M>,
}

impl<M> TrySendError<M> {
    pub(crate) fn new(error: EntityError, message: M) -> Self {
        let message = (!error.may_be_done()).then_some(message);
        Self { error, message }
    }
}

/// The reason alone, for `?`.
impl<M> From<TrySendError<M>> for EntityError {
    fn from(failed: TrySendError<M>) -> Self {
        failed.error
    }
}

// A message need not be `Debug`.
impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, message } = self;
        f.debug_struct("TrySendError").field("error", error).field("is_returned", &message.is_some()).finish()
    }
}

impl<M> fmt::Display for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M> std::error::Error for TrySendError<M> {}

/// What happened to a message at its entity. The state is what it was before, but perhaps after [`Failure::NotSaved`], and
/// [`Failure::NoReply`].
///
/// [`EntityError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The handler returned this error.
    #[error("{0}")]
    Error(String),
    /// The handler panicked, or what encodes the state or the reply, with this message.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// The handler did not end in time.
    #[error("its handler did not end within {0:?} (`EntityOptions::handler_timeout`)")]
    TimedOut(Duration),
    /// Its written state cannot be decoded. It is kept as it is, and every message fails until a release runs that can read it.
    #[error("its written state cannot be decoded, and is kept as it is: {0}")]
    State(String),
    /// The message cannot be decoded.
    #[error(
        "the message cannot be decoded there: {0}; use the same types on all nodes, and `#[serde(default)]` for added fields"
    )]
    Message(String),
    /// The store has not loaded the state.
    #[error("its state could not be loaded: {0}")]
    NotLoaded(String),
    /// The store failed while it saved the new state. It may have saved it.
    #[error("its store failed, and may have saved the new state: {0}")]
    NotSaved(String),
    /// The message was handled, and its reply was to be [given later](crate::Context::reply_later). It was not: the entity has dropped it,
    /// or it was on a node that is lost.
    #[error(
        "it was handled, but its reply was not given: the entity has dropped it, or the node that was to give it is lost"
    )]
    NoReply,
    /// The new state and the timers have too many bytes.
    #[error(
        "its new state and timers have {len} bytes, over the limit of {max}: keep less in one entity, or raise \
         `EntityOptions::max_state_bytes` on all nodes"
    )]
    TooLarge {
        /// How many bytes they have, encoded.
        len: usize,
        /// How many they may have.
        max: usize,
    },
    /// The tables and entities of the node have as many bytes as they may, and the new state needs more.
    #[error(
        "the tables and entities of its node have {bytes} bytes, and may have {max}: remove entries, add nodes, or raise \
         `limits.table_bytes`"
    )]
    Full {
        /// How many bytes they have, with copies.
        bytes: u64,
        /// How many they may have.
        max: u64,
    },
    /// The new state or the answer cannot be encoded, or the answer is too large.
    #[error("the new state or the answer cannot be written: {0}")]
    NotWritable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each failure, and what its text says to do.
    fn failures() -> Vec<(Failure, &'static str)> {
        let cause = || "it is so".to_owned();
        let all = [
            Failure::Error(cause()),
            Failure::Panicked(cause()),
            Failure::TimedOut(Duration::from_secs(3)),
            Failure::State(cause()),
            Failure::Message(cause()),
            Failure::NotLoaded(cause()),
            Failure::NotSaved(cause()),
            Failure::NoReply,
            Failure::TooLarge { len: 300, max: 200 },
            Failure::Full { bytes: 300, max: 200 },
            Failure::NotWritable(cause()),
        ];
        // A new variant does not compile unnoticed.
        let what_to_do = |failure: &Failure| match failure {
            Failure::Error(_) => "correct the message, or send it again later",
            Failure::Panicked(_) => "correct the handler",
            Failure::TimedOut(_) => "`EntityOptions::handler_timeout`",
            Failure::State(_) => "run a release that can decode it",
            Failure::Message(_) => "use the same types on all nodes",
            Failure::NotLoaded(_) => "send it again when the store works",
            Failure::NotSaved(_) | Failure::NoReply => "read the entity before it is sent again",
            Failure::TooLarge { .. } => "keep less in one entity",
            Failure::Full { .. } => "remove entries, add nodes",
            Failure::NotWritable(_) => "answer in parts",
        };
        all.into_iter().map(|failure| (failure.clone(), what_to_do(&failure))).collect()
    }

    #[test]
    fn each_error_says_entity_and_key_and_node_and_epoch_and_how_long_and_what_to_do() {
        let name = "shop@10.0.0.7:4370".parse().unwrap();
        let node = Some(NodeId::new(name, cloister_core::Incarnation(7), 7));
        let (entity, key, epoch) = ("cart", || "user:42".to_owned(), Some(Epoch::from_u64(9)));
        let waited = Duration::from_millis(1_234);
        let mut all: Vec<_> = failures()
            .into_iter()
            .map(|(failure, what_to_do)| {
                let node = node.clone();
                (EntityError::Failed { entity, key: key(), node, epoch, waited, failure }, what_to_do)
            })
            .collect();
        let cause = "it is so".to_owned();
        let not_decodable = EntityError::NotDecodable { entity, key: key(), node, epoch, waited, cause };
        all.push((not_decodable, "use the same types on all nodes"));
        for (error, what_to_do) in all {
            let text = error.to_string();
            for word in
                ["\"cart\"", "\"user:42\"", "shop@10.0.0.7:4370", "in the view 9", "after 1.2s", what_to_do]
            {
                assert!(text.contains(word), "{word:?} is missing: {text}");
            }
        }
    }
}
