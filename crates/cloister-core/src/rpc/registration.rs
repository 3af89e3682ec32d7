//! Registering actors under names.

use ractor::{ActorCell, ActorRef, Message, pg};

use super::groups::{SCOPE, TYPED_SCOPE, local};
use crate::error::RegisterError;
use crate::handle::{Cloister, MessageType};

impl Cloister {
    /// Lets every node find `actor` under `name`, until the actor ends or is [unregistered](Cloister::unregister).
    ///
    /// One actor per name and node; its messages must travel, so derive [`Message`](macro@crate::Message) for them.
    /// Registering the same actor again changes nothing.
    ///
    /// Register before the node joins, on the handle of [`ManagerArguments`](crate::ManagerArguments::handle). A node owns keys from its
    /// first view on. Calls for them end as [`CallError::NoActor`](crate::CallError::NoActor) until the actor is registered.
    ///
    /// # When the actor ends
    ///
    /// Its name is withdrawn on all nodes at once. Calls to this node end as [`CallError::NoActor`](crate::CallError::NoActor) from then on, and those that were in its
    /// mailbox as [`CallError::Uncertain`](crate::CallError::Uncertain). If it failed, the log has its name and its error.
    ///
    /// To have it started and registered again, make it a child of the manager:
    /// [`ChildSpec::registered`](crate::ChildSpec::registered). Calls by key wait for such an actor while it is restarted.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Unnamed`] if the name is empty, [`RegisterError::Taken`] if another actor of this node has the name, [`RegisterError::NotRemotable`] if the messages of the
    /// actor do not travel.
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// # use cloister::{Cloister, RegisterError};
    /// use cloister::ractor::{ActorRef, RpcReplyPort};
    /// use cloister::Message;
    ///
    /// #[derive(Message)]
    /// enum CartMessage {
    ///     Add(String),
    ///     Count(RpcReplyPort<u64>),
    /// }
    ///
    /// # fn example(cloister: &Cloister, cart: &ActorRef<CartMessage>) -> Result<(), RegisterError> {
    /// cloister.register("cart", cart)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register<M: Message>(&self, name: &str, actor: &ActorRef<M>) -> Result<(), RegisterError> {
        RegisterError::unless_remotable::<M>(name)?;
        let taken = |other: ActorCell| {
            let by = other.get_name().map(|name| format!(" ({name})")).unwrap_or_default();
            RegisterError::Taken { name: name.to_owned(), by }
        };
        match local(SCOPE, name) {
            Some(other) if other.get_id() != actor.get_id() => Err(taken(other)),
            Some(_) => Ok(()),
            None => {
                let shared = self.shared();
                let (cell, takes) = (actor.get_cell(), MessageType::of::<M>());
                let typed = takes.group(name);
                // Of two tasks that come this far at once, one has the name.
                shared.registered().add(name, cell, takes, shared.manager().as_ref()).map_err(taken)?;
                if let Some(typed) = typed {
                    pg::join_scoped(TYPED_SCOPE.to_owned(), typed, vec![actor.get_cell()]);
                }
                pg::join_scoped(SCOPE.to_owned(), name.to_owned(), vec![actor.get_cell()]);
                // What waits for an actor of this name goes to it.
                shared.turn();
                Ok(())
            }
        }
    }

    /// No node finds the actor of this node under `name` any more.
    pub fn unregister(&self, name: &str) {
        if let Some(actor) = local(SCOPE, name) {
            let shared = self.shared();
            let takes = shared.registered().named(name).map(|named| named.takes);
            shared.registered().remove(name, &actor, shared.manager().as_ref());
            if let Some(typed) = takes.and_then(|takes| takes.group(name)) {
                pg::leave_scoped(TYPED_SCOPE.to_owned(), typed, vec![actor.clone()]);
            }
            pg::leave_scoped(SCOPE.to_owned(), name.to_owned(), vec![actor]);
        }
    }
}

/// Notifies `actor` when an actor is registered on any node, or is not any more.
pub(crate) fn monitor_registered(actor: ActorCell) {
    pg::monitor_scope(SCOPE.to_owned(), actor);
}
