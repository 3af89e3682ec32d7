//! The real tool with real processes: `fake_node`, and a tiny crate that cargo really builds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod build;
mod commands;
mod doctor;
mod doctor_peers;
mod run;
mod status;
mod test;
mod tool;
