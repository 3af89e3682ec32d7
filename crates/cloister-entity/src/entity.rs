//! What an entity is.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;

/// An object of which there is one for each key, on the node that owns the key. It is its state: what [`handle`](Entity::handle) leaves
/// in it is written down, and is there for the next message, on whatever node.
///
/// ```
/// # extern crate cloister_core as cloister;
/// use cloister_entity::{Context, Entity, HandlerError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     items: Vec<String>,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// enum CartMessage {
///     Add(String),
///     Items,
/// }
///
/// impl Entity for Cart {
///     const NAME: &'static str = "cart";
///     type Message = CartMessage;
///     type Reply = Vec<String>;
///
///     async fn handle(
///         &mut self,
///         _: &mut Context<'_, Self>,
///         message: CartMessage,
///     ) -> Result<Vec<String>, HandlerError> {
///         match message {
///             CartMessage::Add(item) => self.items.push(item),
///             CartMessage::Items => {}
///         }
///         Ok(self.items.clone())
///     }
/// }
/// ```
pub trait Entity: Default + Serialize + DeserializeOwned + Send + 'static {
    /// The name, 1 to 64 bytes, the same on all nodes. One that is changed is another entity, without the state of the former.
    const NAME: &'static str;

    /// What it is sent. Fields with a default may be added while old and new releases run; variants too, if they are sent only once all
    /// nodes know them.
    type Message: Serialize + DeserializeOwned + Send + 'static;

    /// What it answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Handles a message. Messages of one key are handled one after the other; those of other keys meanwhile.
    ///
    /// The state is written when it returns `Ok`, together with the answer. So an answer is seen only for what all copies have, and a
    /// message that is sent again because its answer was lost is not applied twice. Effects outside, such as a request to another service,
    /// may be repeated. This future is dropped when the node may not act for the key any more, and the message is handled again by the next
    /// owner. It runs on the runtime that the node was started on, whichever one the call comes from.
    ///
    /// # Errors
    ///
    /// The caller gets the error as [`EntityError::Failed`](crate::EntityError::Failed), and the state is what it was before. So it is
    /// after a panic.
    fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: Self::Message,
    ) -> impl Future<Output = Result<Self::Reply, HandlerError>> + Send;
}

/// Why a message was not handled, as text for its sender. It is made of any error by `?`.
///
/// ```
/// use cloister_entity::HandlerError;
///
/// fn amount(text: &str) -> Result<u32, HandlerError> {
///     match text.parse()? {
///         0 => Err(HandlerError::new("nothing to add")),
///         amount => Ok(amount),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError(String);

impl HandlerError {
    /// An error of this text.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
