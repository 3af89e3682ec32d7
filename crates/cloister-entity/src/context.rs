//! What an entity sees of its surroundings while it handles a message.

use std::sync::Arc;
use std::time::Duration;

use cloister_core::{Cloister, Epoch};
use cloister_table::service::MessageId;

use crate::entity::{Entity, HandlerError};
use crate::later::{Awaited, HandlingId, Replies, ReplyLater};
use crate::timers::Timers;

/// What an entity sees of its surroundings while it handles a message.
///
/// ```
/// # extern crate cloister_core as cloister;
/// use std::time::Duration;
///
/// use cloister_entity::{Context, Entity, HandlerError, TimerId};
/// use serde::{Deserialize, Serialize};
///
/// /// Forgets its user after half an hour without a message.
/// #[derive(Default, Serialize, Deserialize)]
/// struct Session {
///     end: Option<TimerId>,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// enum SessionMessage {
///     Touch,
///     End,
/// }
///
/// impl Entity for Session {
///     const NAME: &'static str = "session";
///     type Message = SessionMessage;
///     type Reply = ();
///
///     async fn handle(&mut self, context: &mut Context<'_, Self>, message: SessionMessage) -> Result<(), HandlerError> {
///         if let Some(timer) = self.end.take() {
///             context.cancel(timer);
///         }
///         match message {
///             SessionMessage::Touch => {
///                 self.end = Some(context.schedule(Duration::from_secs(1800), &SessionMessage::End)?);
///             }
///             SessionMessage::End => {
///                 println!("{} ends, in epoch {}", context.key(), context.epoch());
///                 context.forget();
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub struct Context<'a, E> {
    pub(crate) key: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) cloister: &'a Cloister,
    /// The timers of the entity, and the present time.
    pub(crate) timers: &'a mut Timers,
    pub(crate) now: u64,
    pub(crate) is_forgotten: bool,
    /// The message that is handled, if its sender waits for a reply, and the place of a reply that is given later.
    pub(crate) message: Option<MessageId>,
    pub(crate) replies: &'a Arc<Replies>,
    pub(crate) later: Option<Later>,
    pub(crate) awaited: &'a mut Awaited,
    pub(crate) entity: std::marker::PhantomData<fn() -> E>,
}

/// The reply is given later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later {
    /// `None` if the sender does not wait for it.
    pub(crate) place: Option<HandlingId>,
}

/// Names a message that an entity sends to itself later. From [`Context::schedule`].
///
/// [`Context`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TimerId(pub(crate) u64);

impl<E> std::fmt::Debug for Context<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("key", &self.key).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl<E: Entity> Context<'_, E> {
    /// The key of this entity.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key
    }

    /// The epoch under which it handles the message. What acts outside of the cluster is fenced with it: a store that has seen a greater
    /// one refuses.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The cluster.
    #[must_use]
    pub fn cloister(&self) -> &Cloister {
        self.cloister
    }

    /// Sends the entity a message after a time, as long as it is not cancelled. Its answer is dropped.
    ///
    /// The timer is part of the state: it is written with it, moves with it, and is gone if the handler fails. The message is handled
    /// once, by the owner of that time, not before the time has passed by the wall clock of that node. If its handler fails, it is
    /// sent again after a second. Other timers go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] if the message cannot be encoded.
    pub fn schedule(&mut self, after: Duration, message: &E::Message) -> Result<TimerId, HandlerError> {
        let message = cloister_table::service::encode(message).map_err(HandlerError::new)?;
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Ok(self.timers.add(self.now, self.now.saturating_add(after), message.into()))
    }

    /// Cancels a timer; returns whether it was there.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.timers.remove(timer)
    }

    /// Lets the reply to this message be given after the handler has returned: by a task, or while a later message is handled. What the
    /// handler returns with `Ok` is dropped then; the state is written as ever. After an error it is as if this was not called.
    ///
    /// The entity handles other messages meanwhile. The caller waits until [`EntityOptions::timeout`](crate::EntityOptions::timeout). To a
    /// timer, or a message of [`cast`](crate::Entities::cast), the reply goes nowhere.
    ///
    /// ```
    /// # extern crate cloister_core as cloister;
    /// use cloister_entity::{Context, Entity, HandlerError, ReplyLater};
    /// use serde::{Deserialize, Serialize};
    ///
    /// /// Answers those that wait when it is opened.
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Gate {
    ///     is_open: bool,
    ///     #[serde(default)]
    ///     waiting: Vec<ReplyLater<Gate>>,
    /// }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum GateMessage {
    ///     Wait,
    ///     Open,
    /// }
    ///
    /// impl Entity for Gate {
    ///     const NAME: &'static str = "gate";
    ///     type Message = GateMessage;
    ///     type Reply = ();
    ///
    ///     async fn handle(&mut self, context: &mut Context<'_, Self>, message: GateMessage) -> Result<(), HandlerError> {
    ///         match message {
    ///             GateMessage::Wait if !self.is_open => self.waiting.push(context.reply_later()),
    ///             GateMessage::Wait => {}
    ///             GateMessage::Open => {
    ///                 self.is_open = true;
    ///                 for waiting in self.waiting.drain(..) {
    ///                     waiting.send(&())?;
    ///                 }
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn reply_later(&mut self) -> ReplyLater<E> {
        let place = self.message.map(|id| self.replies.open(id));
        self.later = Some(Later { place });
        ReplyLater::new(self.replies, place, self.awaited.add())
    }

    /// Removes the state and the timers when the handler returns `Ok`: the next message finds a new entity.
    pub fn forget(&mut self) {
        self.is_forgotten = true;
    }
}
