//! What listener actors hear: every step of the cluster, from the present state on, without a gap.
//!
//! - The first message is the present state; each later one has the next `seq`.
//! - Changes are the difference of two states, so ups and downs of one incarnation alternate.
//! - A listener that is dead is dropped. A slow one delays no other, since mailboxes take messages without waiting. A round waits only for
//!   a listener that has taken its [`Hold`], for which it has a moment.

mod hold;
mod listeners;
mod state_change;

pub(crate) use hold::HoldToken;
pub use hold::{Hold, HoldEnd};
pub(crate) use listeners::{HoldMode, Listener, Listeners};
pub(crate) use state_change::Placement;
pub use state_change::{HOLD_GRACE, RingDiff, StateChange};
