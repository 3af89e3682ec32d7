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
    /// As [`Cloister::call`], but it goes on where a node that may have handled the message gives no answer. The message may be handled more
    /// than once.
    ///
    /// | the node that has it | then the message goes |
    /// |---|---|
    /// | is killed, or hangs, so that the link to it is lost | to the next owner |
    /// | leaves without an answer within `timing.leave_timeout` | to the next owner |
    /// | has an actor that ends or drops the call | to the owner again, after 10 ms or the next change of this node, then after 100 ms. An actor of [`ChildSpec::registered`](crate::ChildSpec::registered) is waited for. The third such actor ends the call: what ends each actor that gets it must not end more of them |
    /// | takes as long as `timeout` | nowhere. A node that is linked is waited for, also if the key has another owner by then |
    /// | has answered, but with too many bytes, or with what is not understood here | nowhere: it was handled |
    ///
    /// It is encoded also for an actor of this node, so that it can be sent again. So it costs more there than [`Cloister::call`].
    ///
    /// # Errors
    ///
    /// Those of [`Cloister::call`]. Where none gives an answer it ends as [`CallError::Uncertain`], of a node that may have handled it.
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
