//! What must hold for as long as a cluster runs: nothing happens that has no cause, and nothing is left over.
//!
//! These tests go on for minutes, so they run only where `CLOISTER_TEST_REQUIRE` lists `time`, and one after the other; with
//! `CLOISTER_TEST_LONG=1` for their full length.

mod churn;
mod soak;
mod strain;
