//! The state machine: events and time in, actions out.
//!
//! ```text
//!  Assembling ──promise──▶ Promised ──commit──▶ Bound ──lease──▶ (Up)
//!      ▲                     ▲   │                │
//!      │                     └───┼────promise─────┤
//!      └────────step down────────┴────────────────┘        Leaving ──▶ Left
//! ```

mod deadlines;
mod goodbye;
mod heartbeat;
mod leave;
mod links;
mod memory;
mod notify;
mod promise;
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
