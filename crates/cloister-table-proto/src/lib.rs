//! The pure core of Cloister's tables: keyed data whose copies follow the views of a cluster.
//!
//! [`Table`] is a state machine without I/O, like [`cloister_proto::Node`]: the shell feeds it events, performs its actions, and
//! gives it [`Event::Tick`] a few times a second. It reads no clock and draws no random number.
//!
//! A table divides its keys over slots. In a view, a slot has an owner and further copies: the first members of the ring. The owner
//! serves reads and writes. A write is done when all complete copies have it.
//!
//! ```text
//!  promised(v)                       up(v)
//!      │ ask every member for labels   │ seal the last write at every member, then serve
//!      │ decide: the greatest label    │ a first write is sealed at every member
//!      │ relabel equal copies          │ other copies learn, then count
//!      │ tell members what was seen    │ what is left over is released
//!      ▼ fetch what is missing         ▼
//! ```

mod clients;
mod content;
mod knowledge;
mod label;
mod log;
mod membership;
mod message;
mod operation;
mod placement;
mod reports;
mod rows;
#[cfg_attr(not(feature = "test-support"), expect(unreachable_pub, dead_code))]
#[cfg(not(feature = "test-support"))]
mod rule;
#[cfg(feature = "test-support")]
pub mod rule;
mod settled;
mod shared_knowledge;
mod table;

pub use clients::Clients;
pub use content::Content;
pub use knowledge::Knowledge;
pub use label::{Label, Seen, Stamp};
pub use membership::Membership;
pub use message::{ChunkBody, Cursor, Message, Relabel, SlotReport, ViewMembers};
pub use operation::{Answers, Bytes, Decision, Operation, OperationId, Token, Uncertain};
pub use placement::Placement;
pub use reports::SlotReports;
pub use settled::Settled;
pub use table::{Action, Discarded, Event, OnLoss, Options, Refusal, SlotStatus, Table, ViewWait};
