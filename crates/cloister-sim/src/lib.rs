//! A whole Cloister cluster in one thread. It has the real state machine of every node, and around it a world with seeded time, latency,
//! cuts, pauses, kills, restarts and skewed clocks. After every event the laws are checked.
//!
//! The same seed gives the same run. A run that breaks a law can be run again `traced`: then it records what happened,
//! line by line.

mod application;
mod host;
mod laws;
mod network;
mod scenario;
mod world;

pub use application::{Application, Context, Finished, HOLD_GRACE, Input, NoApplication};
pub use laws::Violation;
pub use scenario::{Adversary, Amnesia, Expectation, Fault, MS, Names, Scenario, Stale};
pub use world::{Notification, Outcome, Traffic, World};
