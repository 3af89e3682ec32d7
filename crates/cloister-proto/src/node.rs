//! The state machine: events and time in, actions out. `state` has its data, `step` the order of its conclusions, and the other
//! files one rule each.
//!
//! ```text
//!  Assembling ──promise──▶ Promised ──commit──▶ Installed ──lease──▶ (Up)
//!      ▲                     ▲   │                 │
//!      │                     └───┼─────promise─────┤
//!      └────────step down────────┴─────────────────┘         Leaving ──▶ Left
//! ```

mod aborted;
mod cluster_size;
mod deadlines;
mod goodbye;
mod heartbeat;
mod intent;
mod leave;
mod leavers_grants;
mod links;
mod memory;
mod notify;
mod promise;
mod promise_conditions;
mod reachability;
mod rejection;
mod report;
mod round;
mod state;
mod step;
mod succession;
mod wall_clock;

pub use report::PeerReport;
pub use state::{Node, Rejection};
