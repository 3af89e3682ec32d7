//! A message by key to the actor of this node.

use cloister_proto::{Epoch, Status, Time};
use ractor::{Message, MessagingErr};

use super::super::deliver::Destination;
use crate::error::{CallError, TrySendError};
use crate::handle::Cloister;

/// What came of a message for the actor of this node.
pub(super) enum Own<M> {
    /// The actor has it, by the view of this epoch, whose lease was held then.
    Sent { epoch: Option<Epoch>, at: Time },
    /// This node does not own the key now, its actor is being restarted, or the inbox has a message that came before.
    NotNow(M),
    /// With the message, unless the actor was ending. In a box, since it is large.
    Failed(Box<TrySendError<M>>),
}

/// Hands a message to the actor of this node, if this node owns the key and holds its lease. No id and no reference is cloned for it.
pub(super) fn send_to_own<M: Message>(cloister: &Cloister, name: &str, key: &[u8], message: M) -> Own<M> {
    let shared = cloister.shared();
    let (owned, epoch) = shared.look(|snapshot| {
        let is_up = snapshot.state().status == Status::Up;
        let owned = if is_up { snapshot.owned_at(None, key, shared.clock()) } else { None };
        (owned, snapshot.epoch())
    });
    let Some(at) = owned else {
        return Own::NotNow(message);
    };
    if shared.own_messages().has(name, key) {
        return Own::NotNow(message);
    }
    let failed = |error: &dyn Fn(Destination<'_>) -> CallError, message| {
        let node = cloister.node();
        let error = error(Destination { name, key: Some(key), node: &node, epoch, began: None });
        Own::Failed(Box::new(TrySendError { error, message }))
    };
    let no_actor =
        |message| failed(&|destination| CallError::NoActor { target: destination.target() }, message);
    shared.registered().with_named(name, |named| match named {
        None if cloister.is_restarting(name) => Own::NotNow(message),
        None => no_actor(Some(message)),
        Some(named) => match named.actor.is_message_type_of::<M>() {
            Some(true) => match named.actor.send_message(message) {
                Ok(()) => Own::Sent { epoch, at },
                // It has ended since.
                Err(MessagingErr::SendErr(message)) if cloister.is_restarting(name) => Own::NotNow(message),
                Err(MessagingErr::SendErr(message)) => no_actor(Some(message)),
                Err(_) => no_actor(None),
            },
            _ => failed(&|destination| destination.other_type::<M>(Some(named.takes.name)), Some(message)),
        },
    })
}
