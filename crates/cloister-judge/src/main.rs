//! `cloister-judge`: clients write to real nodes under faults, and checkers that others wrote judge what was answered.
//!
//! To come: this is where it begins.

fn main() {}
