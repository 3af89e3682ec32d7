//! A message for a key, and its sender.

use std::fmt;

use cloister_core::Epoch;
use cloister_table_proto::Bytes;

use crate::blob::Blob;
use crate::error::shown;
use crate::message::{Answer, Outcome, RequestId};
use crate::reply::Reply;

/// How often a message may be passed on before it is known by its last names alone.
pub(crate) const MAX_NAMES: usize = 8;

/// A message for a key, to be answered. One that is dropped is sent again by its client.
pub struct Delivery {
    /// The key, encoded.
    pub key: Bytes,
    /// The message.
    pub message: Bytes,
    /// Its sender waits only until the message is accepted.
    pub one_way: bool,
    pub(crate) id: Option<RequestId>,
    pub(crate) names: Vec<RequestId>,
    pub(crate) epoch: Epoch,
    pub(crate) reply: Reply,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("key", &shown(&self.key))
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Splits it into the message and the port of its answer. The sender of a one-way message gets its answer at once.
    #[must_use]
    pub fn accept(self) -> (Accepted, Option<ReplyTo>) {
        let Self { key, message, one_way, id, names, epoch, reply } = self;
        let accepted = Accepted { key, message, id, names, epoch, one_way };
        let reply = ReplyTo(reply);
        if one_way {
            reply.done(Bytes::default());
            (accepted, None)
        } else {
            (accepted, Some(reply))
        }
    }

    /// As [`accept`](Self::accept) of a one-way message, but its sender does not hear of it, as where a link is lost. For tests.
    #[cfg(feature = "test-support")]
    #[doc(hidden)]
    #[must_use]
    pub fn accept_unheard(self) -> Accepted {
        let Self { key, message, one_way, id, names, epoch, .. } = self;
        Accepted { key, message, id, names, epoch, one_way }
    }

    /// Too much waits for the key.
    pub fn busy(self) {
        ReplyTo(self.reply).send(Answer::Busy);
    }
}

/// A message that is being handled.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The key, encoded.
    pub key: Bytes,
    /// The message.
    pub message: Bytes,
    pub(crate) id: Option<RequestId>,
    /// What names it at those that have sent it before, its first sender first, if it was passed on.
    pub(crate) names: Vec<RequestId>,
    /// The view in which it came.
    pub(crate) epoch: Epoch,
    /// Its sender has been answered.
    pub(crate) one_way: bool,
}

/// What names a message at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// The incarnation of the sender.
    pub client: u64,
    /// Its number there.
    pub number: u64,
    /// The sender repeats no message below this number.
    pub settled: u64,
}

impl From<RequestId> for MessageId {
    fn from(RequestId { client, number, settled }: RequestId) -> Self {
        Self { client, number, settled }
    }
}

impl Accepted {
    /// What names it at its sender.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        self.id.map(MessageId::from)
    }

    /// What names it at each that has sent it, the first one first: a message that was passed on may come from several, and is the same.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.request_ids().map(MessageId::from)
    }

    pub(crate) fn request_ids(&self) -> impl Iterator<Item = RequestId> {
        self.names.iter().copied().chain(self.id)
    }

    /// The same message, whose sender has been answered: what it has left is written, also if the sender has gone on since.
    #[must_use]
    pub fn answered(self) -> Self {
        Self { one_way: true, ..self }
    }

    /// A message of this node's own.
    #[must_use]
    pub fn own(key: Bytes, message: Bytes) -> Self {
        Self { key, message, id: None, names: Vec::new(), epoch: Epoch::ZERO, one_way: true }
    }
}

/// The sender of a message, which waits.
#[derive(Debug)]
pub struct ReplyTo(Reply);

impl ReplyTo {
    /// It was done, and this is its answer.
    pub fn done(self, answer: Bytes) {
        self.send(Answer::Done(Outcome::Returned(Blob(answer))));
    }

    /// It was not begun: its client sends it again.
    pub fn again(self, cause: impl Into<String>) {
        self.send(Answer::Refused(cause.into()));
    }

    /// It may have been done: its client sends it again, under the same number.
    pub fn uncertain(self) {
        self.send(Answer::Uncertain);
    }

    fn send(self, answer: Answer) {
        self.0.send(answer);
    }
}

/// What is written for a message.
pub(crate) struct Commit {
    pub(crate) expected: Option<Bytes>,
    pub(crate) new: Option<Bytes>,
    pub(crate) answer: Bytes,
}
