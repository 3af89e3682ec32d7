//! Sending to the owner of a key, to one node, and to all.
//!
//! An actor is registered under a name; the cluster finds it on whichever node it is asked for. A reference to an actor of
//! another node ends with the connection and does not come back: look it up each time instead of keeping it.

mod call;
mod deliver;
mod envelope;
mod find;
mod groups;
mod idempotent;
mod in_progress;
mod inbox;
mod inbox_message;
mod keyed;
mod peer_actor;
mod registration;
mod report;
mod service;
mod unread;

use std::time::Duration;

use cloister_net::links::Links;
use cloister_proto::{Incarnation, NodeId, Status};
use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::time::Instant;

use self::deliver::{Destination, shown};
use self::groups::SCOPE;
use self::keyed::{KeyedCall, Limit};

use crate::error::{CallError, TrySendError};
use crate::handle::Cloister;

pub use cloister_net::MAX_MESSAGE_LEN;
pub use idempotent::RetryUncertain;
pub use in_progress::CallInProgress;
pub(crate) use in_progress::CallsInProgress;
pub(crate) use inbox::InboxActor;
#[cfg(feature = "test-support")]
pub(crate) use inbox::InboxState;
#[cfg(feature = "test-support")]
pub(crate) use keyed::enveloped;
pub use peer_actor::PeerActor;
pub(crate) use peer_actor::peer_actors;
pub(crate) use registration::monitor_registered;
pub use report::{MulticallReport, MulticastReport};
pub use service::NodeSummary;

impl Cloister {
    /// The actor that is registered under `name` on the owner of `key`. `None` before the first view, and when
    /// there is no such actor. On this node it is also `None` if that takes messages of another type than `M`; for another node the type is not
    /// compared, as in [`actor_on`](Cloister::actor_on).
    ///
    /// Messages to another node must stay below [`MAX_MESSAGE_LEN`]; [`cast`](Cloister::cast) and
    /// [`call`](Cloister::call) see to that.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloister_core::Cloister;
    /// # use cloister_core::ractor::RpcReplyPort;
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Add(String),
    /// #     Count(RpcReplyPort<u64>),
    /// # }
    /// # async fn example(cloister: &Cloister) -> Result<(), Box<dyn std::error::Error>> {
    /// // Looked up each time: a reference does not outlive its connection.
    /// if let Some(cart) = cloister.locate::<CartMessage>("cart", "user:42") {
    ///     cart.cast(CartMessage::Add("apple".into()))?;
    ///     let count = cart.call(CartMessage::Count, Some(Duration::from_secs(1))).await?;
    ///     println!("{count:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn locate<M: Message>(&self, name: &str, key: impl AsRef<[u8]>) -> Option<ActorRef<M>> {
        self.actor_on(name, &self.whois(key)?)
    }

    /// The actor that is registered under `name` on `node`. `None` when there is no such actor, or no link to that node. On this node it is also
    /// `None` if that takes messages of another type than `M`. For another node the type is not compared: the receiver decodes the bytes as its
    /// own type, so a message of ractor's own derive may become a wrong value. One of `#[derive(Message)]` is refused there.
    /// [`cast_on`](Cloister::cast_on) and [`call_on`](Cloister::call_on) compare the types.
    #[must_use]
    pub fn actor_on<M: Message>(&self, name: &str, node: &NodeId) -> Option<ActorRef<M>> {
        let destination = Destination::of_node(name, node, None);
        self.find::<M>(SCOPE, destination).ok().map(|found| ActorRef::from(found.actor))
    }

    /// Sends `message` to the actor that is registered under `name` on the owner of `key`. Does not wait for it to
    /// arrive: it does so once at most.
    ///
    /// The owner alone takes it: a node that does not own the key any more drops it, logs that and counts it. One that is about to own
    /// the key keeps it until then, for ten seconds at most.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why the message was not sent. [`CallError::NoOwner`]: this node is not up. [`CallError::TooLarge`]: also
    /// for a key over 32 KiB. [`CallError::Overloaded`]: too much waits to be sent to the owner.
    ///
    /// ```
    /// # use cloister_core::{CallError, Cloister};
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Add(String),
    /// # }
    /// # fn example(cloister: &Cloister) -> Result<(), CallError> {
    /// cloister.cast("cart", "user:42", CartMessage::Add("apple".into()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cast<M: Message>(&self, name: &str, key: impl AsRef<[u8]>, message: M) -> Result<(), CallError> {
        Ok(keyed::cast(self, name, key.as_ref(), message, Limit::Exact)?)
    }

    /// As [`cast`](Cloister::cast), but gives the message back if it was not sent.
    ///
    /// Whether there is room for it is asked before it is encoded. So one message of each thread that sends may pass `limits.link_bytes`,
    /// by its length at most.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] has the error of [`cast`](Cloister::cast), and the message: after [`CallError::NoOwner`], [`CallError::Overloaded`],
    /// [`CallError::NotLinked`], [`CallError::NoActor`] and [`CallError::WrongMessage`]. It is gone where it was encoded first: after [`CallError::TooLarge`],
    /// [`CallError::NotEncodable`], and if the link or the actor ended at this very moment.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloister_core::{CallError, Cloister};
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Add(String),
    /// # }
    /// # async fn example(cloister: &Cloister) -> Result<(), CallError> {
    /// let mut message = CartMessage::Add("apple".into());
    /// while let Err(failed) = cloister.try_cast("cart", "user:42", message) {
    ///     match (failed.error, failed.message) {
    ///         (CallError::Overloaded { .. }, Some(returned)) => message = returned,
    ///         (error, _) => return Err(error),
    ///     }
    ///     tokio::time::sleep(Duration::from_millis(10)).await;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_cast<M: Message>(
        &self,
        name: &str,
        key: impl AsRef<[u8]>,
        message: M,
    ) -> Result<(), TrySendError<M>> {
        keyed::cast(self, name, key.as_ref(), message, Limit::BeforeEncoding)
    }

    /// Asks the actor that is registered under `name` on the owner of `key`, and waits for the answer, for `timeout` at
    /// most.
    ///
    /// The owner alone takes the message: its node compares its claim right before the actor gets it. While no handler can have seen the
    /// message, the call waits for a view or a link, and goes to the next owner. What may have been handled is never sent again.
    ///
    /// A call to this node costs no more than one of ractor's and a look-up. One to another node is one message each way.
    ///
    /// # Errors
    ///
    /// [`CallError::Uncertain`], with node and epoch, if a handler may have seen the message and no answer has come. Either the time is
    /// over, the link was lost, or the actor has ended. All others say that no handler has seen it: [`CallError::NoOwner`] if no node
    /// handed it to an actor within `timeout`, and those of [`cast`](Cloister::cast).
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
    /// # async fn example(cloister: &Cloister) -> Result<(), CallError> {
    /// let count = cloister.call("cart", "user:42", CartMessage::Count, Duration::from_secs(1)).await?;
    /// println!("{count} in the cart");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<M, R>(
        &self,
        name: &str,
        key: impl AsRef<[u8]>,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> Result<R, CallError>
    where
        M: Message,
        R: Send + 'static,
    {
        KeyedCall::new(self, name, key.as_ref(), timeout).ask(message).await
    }

    /// As [`call`](Cloister::call), but gives `message` back, which was not run, if a limit of this node refuses the call when it begins, or this node
    /// has left.
    ///
    /// Whether there is room is asked before the message is made. So one call of each thread that sends may pass the limits, by its length at
    /// most.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] has the error of [`call`](Cloister::call). It has `message` after [`CallError::TooManyWaiting`], [`CallError::Overloaded`] and
    /// [`CallError::NoOwner`] that come at once. Where the call was let in, and has waited or was sent, `message` is gone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloister_core::{CallError, Cloister};
    /// # use cloister_core::ractor::RpcReplyPort;
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Add(String, RpcReplyPort<u64>),
    /// # }
    /// # async fn example(cloister: &Cloister, item: String) -> Result<u64, CallError> {
    /// let add = |reply| CartMessage::Add(item, reply);
    /// match cloister.try_call("cart", "user:42", add, Duration::from_secs(1)).await {
    ///     Ok(count) => Ok(count),
    ///     Err(failed) => match failed.message {
    ///         // Refused: later, with the same item.
    ///         Some(add) => {
    ///             tokio::time::sleep(Duration::from_secs(1)).await;
    ///             cloister.call("cart", "user:42", add, Duration::from_secs(1)).await
    ///         }
    ///         None => Err(failed.error),
    ///     },
    /// }
    /// # }
    /// ```
    pub async fn try_call<M, R, F>(
        &self,
        name: &str,
        key: impl AsRef<[u8]>,
        message: F,
        timeout: Duration,
    ) -> Result<R, TrySendError<F>>
    where
        M: Message,
        R: Send + 'static,
        F: FnOnce(RpcReplyPort<R>) -> M,
    {
        KeyedCall::new(self, name, key.as_ref(), timeout).try_ask(message).await
    }

    /// Sends `message` to the actor that is registered under `name` on `node`, as [`cast`](Cloister::cast) does to the owner of a key.
    ///
    /// # Errors
    ///
    /// Those of [`cast`](Cloister::cast), but for [`CallError::NoOwner`].
    pub fn cast_on<M: Message>(&self, name: &str, node: &NodeId, message: M) -> Result<(), CallError> {
        self.find::<M>(SCOPE, Destination::of_node(name, node, None))?.deliver(message)
    }

    /// Asks the actor that is registered under `name` on `node`, as [`call`](Cloister::call) does on the owner of a key.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Cloister::call), but for [`CallError::NoOwner`].
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
    /// # async fn example(cloister: &Cloister) -> Result<(), CallError> {
    /// for sibling in cloister.siblings() {
    ///     let count = cloister.call_on("cart", &sibling, CartMessage::Count, Duration::from_secs(1)).await?;
    ///     println!("{count} in the carts of {}", sibling.name());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_on<M, R>(
        &self,
        name: &str,
        node: &NodeId,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> Result<R, CallError>
    where
        M: Message,
        R: Send + 'static,
    {
        let began = Instant::now();
        self.ask(Destination::of_node(name, node, Some(began)), message, began, timeout).await
    }

    async fn ask<M, R>(
        &self,
        destination: Destination<'_>,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
        began: Instant,
        timeout: Duration,
    ) -> Result<R, CallError>
    where
        M: Message,
        R: Send + 'static,
    {
        let asked =
            self.find::<M>(SCOPE, destination).and_then(|recipient| call::ask(&recipient, message, timeout));
        call::answer(self, destination, asked, began, timeout).await
    }

    /// Sends `message` to the actor that is registered under `name` on each member, this node included. Does
    /// not wait for it to arrive: each node gets it once at most.
    ///
    /// ```standalone_crate
    /// # extern crate cloister_core as cloister;
    /// # use cloister::{Cloister, Message};
    /// #[derive(Clone, Message)]
    /// enum CacheMessage {
    ///     Forget(String),
    /// }
    ///
    /// # fn example(cloister: &Cloister) {
    /// let report = cloister.multicast("cache", CacheMessage::Forget("user:42".into()));
    /// for (node, failure) in report.failed {
    ///     eprintln!("{node} was not reached: {failure}");
    /// }
    /// # }
    /// ```
    pub fn multicast<M: Message + Clone>(&self, name: &str, message: M) -> MulticastReport {
        let mut result = MulticastReport::default();
        for (node, sent) in
            self.send_to_all::<M, ()>(SCOPE, name, None, |recipient| recipient.deliver(message.clone()))
        {
            match sent {
                Ok(()) => result.sent.push(node),
                Err(failure) => result.failed.push((node, failure)),
            }
        }
        result
    }

    /// Asks the actor that is registered under `name` on each member at once, this node included. Returns when all have
    /// answered or failed, or `timeout` is over. Never fails as a whole: every member is in the result, with its answer or
    /// the reason why there is none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloister_core::Cloister;
    /// # use cloister_core::ractor::RpcReplyPort;
    /// # #[derive(cloister_core::Message)]
    /// # #[message(crate = "cloister_core")]
    /// # enum CartMessage {
    /// #     Count(RpcReplyPort<u64>),
    /// # }
    /// # async fn example(cloister: &Cloister) {
    /// let counts = cloister.multicall("cart", CartMessage::Count, Duration::from_secs(1)).await;
    /// let sum: u64 = counts.ok.iter().map(|(_, count)| count).sum();
    /// println!("{sum} on {} nodes", counts.ok.len());
    /// for (node, failure) in counts.failed {
    ///     eprintln!("{node} did not answer: {failure}");
    /// }
    /// # }
    /// ```
    pub async fn multicall<M, R>(
        &self,
        name: &str,
        message: impl Fn(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> MulticallReport<R>
    where
        M: Message,
        R: Send + 'static,
    {
        self.call_all(SCOPE, name, message, timeout).await
    }

    /// The cluster as each member sees it, asked all at once, for `timeout` at most.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn example(cloister: &cloister_core::Cloister) {
    /// let states = cloister.member_states(Duration::from_secs(1)).await;
    /// let agreed = states.ok.iter().all(|(_, theirs)| theirs.epoch == cloister.epoch());
    /// println!("{} answered; all in one view: {agreed}", states.ok.len());
    /// # }
    /// ```
    pub async fn member_states(&self, timeout: Duration) -> MulticallReport<NodeSummary> {
        service::states(self, timeout).await
    }

    async fn call_all<M, R>(
        &self,
        scope: &str,
        name: &str,
        message: impl Fn(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> MulticallReport<R>
    where
        M: Message,
        R: Send + 'static,
    {
        let began = Instant::now();
        // All are asked before the first answer is waited for.
        let calls = self.send_to_all::<M, _>(scope, name, Some(began), |recipient| {
            call::ask(&recipient, &message, timeout)
        });
        call::gather(self, name, calls, began, timeout).await
    }

    /// The members that hear of what is sent to all.
    fn members(&self) -> Vec<NodeId> {
        self.state().members.iter().map(|member| member.id.clone()).collect()
    }

    /// Whether the actor of this name does not run now, and its manager starts it.
    fn is_restarting(&self, name: &str) -> bool {
        self.shared().registered().is_supervised(name)
    }

    /// Counts a call of this node to others until it is dropped, unless this node stops already.
    pub(crate) fn begin_own_call(&self) -> Option<CallInProgress> {
        let stops = || matches!(self.status(), Status::Stopping | Status::Stopped);
        self.shared().calls_in_progress().begin_own(stops)
    }

    /// The incarnation of this node.
    fn incarnation(&self) -> Incarnation {
        self.shared().look(|snapshot| snapshot.state().node.id.incarnation())
    }

    /// The number that ractor gave to the present connection to `node`.
    fn connection_to(&self, node: &NodeId) -> Option<u64> {
        self.shared().with_links(|links| links.remote_node(node)).flatten().map(|(number, _)| number)
    }

    /// How many bytes wait to be sent to the peer for which most do. Past `limits.link_bytes`, messages to it fail with
    /// [`CallError::Overloaded`].
    pub fn waiting_bytes(&self) -> u64 {
        self.shared().with_links(Links::waiting).unwrap_or(0)
    }
}
