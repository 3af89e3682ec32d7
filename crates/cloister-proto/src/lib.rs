//! The pure core of Cloister: membership, view rounds, ring, sentry and wire.
//!
//! [`Node`] is a state machine without I/O. The shell feeds it events and the time, performs its actions, and wakes it when it
//! asks. It reads no clock, opens no socket, spawns no task and draws no random number. So a whole cluster of nodes runs in one
//! test, faster than real time.
//!
//! ```text
//!            Event, Time                       Action
//!  shell  ───────────────▶  Node::handle  ───────────────▶  shell
//!                                │
//!      reachability ─▶ candidate ─▶ round ─▶ view ─▶ lease ─▶ ring, sentry
//! ```

pub mod action;
pub mod backoff;
mod candidate;
pub mod change;
mod common_settings;
pub mod event;
mod goodbye;
pub mod hello;
mod lease;
mod majority;
mod memory;
mod message;
pub mod name;
pub mod node;
mod obstacle;
mod peer;
pub mod ring;
#[cfg_attr(not(feature = "test-support"), expect(unreachable_pub, dead_code))]
#[cfg(not(feature = "test-support"))]
mod rule;
#[cfg(feature = "test-support")]
pub mod rule;
#[cfg(feature = "serde")]
mod serialize;
pub mod settings;
pub mod split;
pub mod status;
pub mod text;
pub mod time;
pub mod view;
pub mod wire;

pub use action::{Action, CloseReason, Fatal};
pub use change::{Change, ClusterState, DownReason, Held, Transition};
pub use common_settings::{CommonSettings, Difference, MAX_DEFINITIONS};
pub use event::{Event, LinkId};
pub use goodbye::Goodbye;
pub use hello::{Hello, PeerTerms, Refusal};
pub use memory::Memory;
pub use message::Message;
pub use name::{Address, Incarnation, NameError, NodeId, NodeName};
pub use node::{Node, PeerReport, Rejection};
pub use obstacle::{AbsentAddress, Obstacle};
pub use ring::{Replicas, Ring, SLOTS, Slot, SlotTransfer};
pub use settings::{Settings, Timing, TimingError, TrustRefusal};
pub use split::{SplitPolicy, SplitReport, SplitWarning};
pub use status::Status;
pub use time::Time;
pub use view::{Epoch, Member, View};
pub use wire::{NodeIdInterner, WireError};
