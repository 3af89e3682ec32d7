//! The shell of Cloister: actors around the pure core.
//!
//! [`ManagerActor`] is what a program supervises, [`Cloister`] what it asks. Between them stands one actor that feeds
//! [`cloister_proto::Node`] with events and time; its decisions are performed in one place.
//!
//! Most programs use the crate `cloister`, which starts all of this in one line and re-exports what programs use. Where the examples say
//! `cloister`, they mean either.
//!
//! # Layout
//!
//! - [`Config`]: the configuration; all mistakes in it at once.
//! - [`ManagerArguments`], [`ManagerActor`], [`ChildSpec`]: what runs a node, and an actor of the program's under it.
//! - [`Cloister`]: the handle. Placement, calls, status.
//! - [`StateChange`], [`Hold`], [`RingDiff`]: what listeners hear.
//! - [`MulticallReport`], [`MulticastReport`], [`CallError`], [`NoAnswer`]: what became of messages to all.
//! - [`NotUpError`], [`Readiness`], [`Obstacle`], [`Peer`]: what is missing. [`SplitReport`]: what the cluster can lose. [`ExitReason`]: why it is over.
//! - [`discovery`]: where nodes are looked for. [`telemetry`]: what is logged and measured.
//! - [`internal`]: for the other crates of Cloister.

mod effects;
mod error;
mod handle;
pub mod internal;
mod listener;
mod manager;
#[doc(hidden)]
pub mod message;
mod messages;
mod monitor;
mod placement;
mod rpc;
#[cfg(feature = "serde")]
mod serialize;
mod state_file;
#[cfg(feature = "test-support")]
mod test_support;

pub use cloister_config as config;
pub use cloister_config::Config;
pub use cloister_discovery as discovery;
use cloister_net::recorded;
pub use cloister_net::telemetry;
#[cfg(feature = "test-support")]
pub use cloister_net::{clock, links};
pub use cloister_proto::{
    AbsentAddress, Address, Change, ClusterState, Difference, DownReason, Epoch, Fatal, Incarnation, Member,
    NameError, NodeId, NodeName, Obstacle as MembershipObstacle, Rejection, Replicas, Ring, SLOTS, Slot,
    SlotTransfer, SplitPolicy, SplitReport, SplitWarning, Status, Timing, TimingError, TrustRefusal, View,
};
pub use error::{
    AlreadyRunning, CallError, DefinitionError, ExitReason, ListenError, NoAnswer, RegisterError, SetupError,
    Target, TrySendError,
};
pub use handle::{
    Claim, Cloister, NamedRing, NotUpError, Obstacle, Peer, PeerState, Readiness, WaitingLimit,
};
pub use listener::{HOLD_GRACE, Hold, HoldEnd, RingDiff, StateChange};
pub use manager::{ChildSpec, ManagerActor, ManagerArguments};
pub use message::set_message_version;
pub use messages::ManagerMessage;
pub use rpc::{MAX_MESSAGE_LEN, MulticallReport, MulticastReport, NodeSummary, RetryUncertain};
pub use state_file::{StateFault, StateFileError};
#[cfg(feature = "test-support")]
pub use test_support::{Inbox, enveloped, placed};

pub use cloister_macros::Message;
pub use ractor;
pub use ractor_cluster;
// What the code of the macro refers to.
#[doc(hidden)]
pub use serde;
