//! Assembles [`ractor`] programs into a cluster.
//!
//! The same binary is one node on a laptop, with no socket opened. It is three nodes in `docker compose up --scale app=3`, which found each
//! other by the name of their service. It is the same in Kubernetes or on fixed hosts.
//!
//! ```no_run
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Reads `cloister.toml` and CLOISTER__*, joins the others, and waits until enough of them are there.
//!     let cloister = cloister::start().await?;
//!     println!("{} is up beside {:?}", cloister.node(), cloister.siblings());
//!     if cloister.is_mine("user:42") {
//!         println!("user:42 lives here");
//!     }
//!     // SIGTERM and Ctrl-C leave the cluster in order.
//!     println!("{}", cloister.wait_stopped().await);
//!     Ok(())
//! }
//! ```
//!
//! # What there is
//!
//! - [`start`], [`start_with`], [`start_with_arguments`]: join a cluster in one line. See [`config`] for what can be configured, and
//!   how.
//! - [`ManagerActor`]: the node as one actor, for a supervisor of your own, with actors of your own beside it ([`ChildSpec`]). The admin
//!   server and the handler of signals are then up to the program: [`admin::serve`], [`signals::leave_on_signal`].
//! - [`Cloister`]: the handle, cheap to clone.
//!   - the members: [`status`](Cloister::status), [`state`](Cloister::state), [`node`](Cloister::node),
//!     [`siblings`](Cloister::siblings), [`member_states`](Cloister::member_states);
//!   - is it up: [`wait_until_up`](Cloister::wait_until_up), [`readiness`](Cloister::readiness), [`peers`](Cloister::peers);
//!   - one for all: [`sentry`](Cloister::sentry), [`is_sentry`](Cloister::is_sentry);
//!   - one for each key: [`whois`](Cloister::whois), [`is_mine`](Cloister::is_mine), [`owners`](Cloister::owners),
//!     [`ring`](Cloister::ring), and [`epoch`](Cloister::epoch) to fence with;
//!   - sending: [`register`](Cloister::register), [`cast`](Cloister::cast) and [`call`](Cloister::call) by key,
//!     [`locate`](Cloister::locate), [`actor_on`](Cloister::actor_on), [`multicast`](Cloister::multicast),
//!     [`multicall`](Cloister::multicall);
//!   - the end: [`leave`](Cloister::leave), [`wait_stopped`](Cloister::wait_stopped), and [`signals`].
//! - [`StateChange`]: what [listener actors](Cloister::subscribe) hear, with a [`Hold`] for those that move data before a new
//!   view begins.
//! - [`Table`]: keyed data with copies on several nodes, which moves by itself when the members change.
//! - [`Entities`]: one object for each key on the node that owns it, with state that is kept so.
//! - [`admin`]: the HTTP server that shows it all. [`discovery`]: other ways to find nodes.
//!
//! # What it promises
//!
//! At any instant at most one node is the sentry, and no key is mine on two nodes; epochs rise with every view. Messages are handled at
//! most once. [Limits](guide::limits) names the exceptions and what is assumed. Between an answer and the act a process may
//! pause: give the [`epoch`](Cloister::epoch) to the store that is written to. One process is one node, since ractor's registries
//! belong to the process.
//!
//! The [guide] tells all of it: [concepts and glossary](guide::concepts), [configuration](guide::configuration),
//! [placement](guide::placement), [listeners](guide::listeners), [calls](guide::calls), [tables](guide::tables),
//! [entities](guide::entities), [splits](guide::splits), [deployment](guide::deployment), [security](guide::security), [operations](guide::operations),
//! [the tool](guide::tool) and [troubleshooting](guide::troubleshooting).
//!
//! # Features
//!
//! - `admin` (on): the [HTTP server](admin) that shows it all; it listens only where `admin.listen` says so.
//! - `entity` (on): [entities](entity), one object for each key that moves by itself when the members change. It brings `table`.
//! - `table` (on): [tables](table), keyed data with copies that moves by itself when the members change.
//! - `tls` (on): mutual TLS between the nodes, where the configuration has a section `[tls]`.
//! - `serde`: names, members, views, states and changes can be serialised and read back, obstacles be serialised.
//!
//! # Messages
//!
//! This crate switches on the feature `cluster` of ractor, and with it the blanket implementation of `ractor::Message` is
//! gone **in your whole build**. [`derive(Message)`](macro@Message) is for all messages: those that travel between nodes, with fields of
//! any type of serde, and with `#[message(local)]` those that stay in the process.
//!
//! ```
//! use cloister::Message;
//! use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
//! use std::time::Duration;
//!
//! struct Greeter;
//!
//! #[derive(Message)]
//! enum GreeterMessage {
//!     Greet(String, RpcReplyPort<String>),
//! }
//!
//! impl Actor for Greeter {
//!     type Msg = GreeterMessage;
//!     type State = ();
//!     type Arguments = ();
//!
//!     async fn pre_start(&self, _: ActorRef<GreeterMessage>, (): ()) -> Result<(), ActorProcessingErr> {
//!         Ok(())
//!     }
//!
//!     async fn handle(
//!         &self,
//!         _: ActorRef<GreeterMessage>,
//!         GreeterMessage::Greet(name, reply): GreeterMessage,
//!         (): &mut (),
//!     ) -> Result<(), ActorProcessingErr> {
//!         Ok(reply.send(format!("hello, {name}"))?)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cloister = cloister::start_with(cloister::Config::new("greeters")).await?;
//! let (greeter, _) = Actor::spawn(None, Greeter, ()).await?;
//! cloister.register("greeter", &greeter)?;
//!
//! // To the greeter of the node that owns the key …
//! let greeter = cloister.locate::<GreeterMessage>("greeter", "user:42").expect("this node has one");
//! let limit = Duration::from_secs(5);
//! let answer = greeter.call(|reply| GreeterMessage::Greet("you".into(), reply), Some(limit)).await?;
//! assert_eq!(answer.unwrap(), "hello, you");
//!
//! // … and to all of them.
//! let answers = cloister.multicall("greeter", |reply| GreeterMessage::Greet("all".into(), reply), limit).await;
//! assert_eq!(answers.ok, [(cloister.node(), "hello, all".to_owned())]);
//! assert!(answers.failed.is_empty());
//!
//! cloister.leave().await;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod signals;
mod start;

pub use cloister_core::{
    AbsentAddress, Address, AlreadyRunning, CallError, Change, ChildSpec, Claim, Cloister, ClusterState,
    Config, DefinitionError, Difference, DownReason, Epoch, ExitReason, Fatal, HOLD_GRACE, Hold, HoldEnd,
    Incarnation, ListenError, MAX_MESSAGE_LEN, ManagerActor, ManagerArguments, ManagerMessage, Member,
    MembershipObstacle, Message, MulticallReport, MulticastReport, NameError, NamedRing, NoAnswer, NodeId,
    NodeName, NodeSummary, NotUpError, Obstacle, Peer, PeerState, Readiness, RegisterError, Rejection,
    Replicas, RetryUncertain, Ring, RingDiff, SLOTS, SetupError, Slot, SlotTransfer, SplitPolicy,
    SplitReport, SplitWarning, StateChange, StateFault, StateFileError, Status, Target, Timing, TimingError,
    TrustRefusal, TrySendError, View, WaitingLimit, config, discovery, ractor, ractor_cluster,
    set_message_version, telemetry,
};
// What the code of `derive(Message)` refers to.
#[doc(hidden)]
pub use cloister_core::{message, serde};
// For tests and benchmarks of other crates.
#[cfg(feature = "test-support")]
pub use cloister_core::{Inbox, clock, enveloped, internal::runtime, links, placed};
#[cfg(feature = "entity")]
pub use cloister_entity::{
    self as entity, Context, DefineEntities, Durability, Entities, Entity, EntityError, EntityOptions,
    HandlerError, ReplyLater,
};
#[cfg(feature = "table")]
pub use cloister_table::{
    DefineTable, OnLoss, Table, TableError, TableEvent, TableOptions, Watch, WatchEvent,
};
pub use start::{StartError, start, start_with, start_with_arguments};

/// Keyed data with copies on several nodes, which moves by itself when the members change. The [guide](guide::tables) tells all of it.
#[cfg(feature = "table")]
pub mod table {
    #[cfg(feature = "test-support")]
    pub use cloister_table::Rule;
    pub use cloister_table::{
        DefineTable, MAX_KEY_BYTES, OnLoss, Table, TableError, TableEvent, TableOptions, TableStatistics,
        Watch, WatchEvent, statistics,
    };
}

/// The programs of the README, compiled with the examples of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
