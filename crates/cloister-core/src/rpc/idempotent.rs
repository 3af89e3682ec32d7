//! Calls whose messages may be handled more than once.

use std::time::Duration;

use ractor::{Message, RpcReplyPort};

use super::keyed::KeyedCall;
use crate::error::CallError;
use crate::handle::Cloister;

/// Calls for idempotent messages, from [`Cloister::retry_uncertain`].
#[derive(Clone, Copy, Debug)]
pub struct RetryUncertain<'a> {
    cloister: &'a Cloister,
}

impl Cloister {
    /// Calls that are sent again also where a handler may have seen the message: for messages that may be handled more than once.
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// # use std::time::Duration;
    /// # use cloister::{CallError, Cloister, Message};
    /// # use cloister::ractor::RpcReplyPort;
    /// # #[derive(Message)]
    /// # enum CartMessage {
    /// #     Count(RpcReplyPort<u64>),
    /// # }
    /// # async fn example(cloister: &Cloister) -> Result<(), CallError> {
    /// // Counting twice does no harm.
    /// let count =
    ///     cloister.retry_uncertain().call("cart", "user:42", CartMessage::Count, Duration::from_secs(5)).await?;
    /// println!("{count} in the cart");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retry_uncertain(&self) -> RetryUncertain<'_> {
        RetryUncertain { cloister: self }
    }
}

impl RetryUncertain<'_> {
    /// As [`Cloister::call`], but a call whose link was lost goes on to the next owner: so the owner's node may be killed, and the call
    /// is answered. The message may be handled more than once.
    ///
    /// # Errors
    ///
    /// Those of [`Cloister::call`]. A lost link ends it only at `timeout`, as [`CallError::Uncertain`] of a node that may have handled it.
    pub async fn call<M, R>(
        self,
        name: &str,
        key: impl AsRef<[u8]>,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> Result<R, CallError>
    where
        M: Message,
        R: Send + 'static,
    {
        KeyedCall::new(self.cloister, name, key.as_ref(), timeout).retry_uncertain().ask(message).await
    }
}
